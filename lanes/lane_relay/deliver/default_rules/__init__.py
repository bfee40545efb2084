"""What replies mean where a policy says nothing: our own table, after the policy's rules.

Written from the providers' published codes and RFC 3463, 5321, 7504, 7505. Three principles order it: a refusal of the
source never bounces a recipient; what names the mailbox is about the mailbox alone; an enhanced code decides only
together with its class. `tests/lane_relay/deliver/test_rules.py` holds each row to its examples.
Before it: `rules`. Invariant: the last rows of both tables take every 4yz and 5yz.
"""

from typing import Final

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_relay.deliver.default_rules.mailbox import ABOUT_THE_MAILBOX, PLAINLY_THE_MAILBOX
from lane_relay.deliver.default_rules.message import ABOUT_THE_MESSAGE
from lane_relay.deliver.default_rules.row import HOUR, rule
from lane_relay.deliver.default_rules.source import ABOUT_THE_SOURCE, RATES

__all__ = ["CLOSING_RULES", "GREETING_RULES", "MESSAGE_RULES"]

_CLOSING: Final = rule(
    "closing",
    r"^421",
    Category.BAD_CONNECTION,
    Action.RETRY,
    Scope.SITE,
    "421 4.3.0 Service not available, closing transmission channel",
)
_TEMPORARY: Final = rule(
    "temporary",
    r"^4",
    Category.OTHER,
    Action.RETRY,
    Scope.RECIPIENT,
    "451 4.3.0 Local error in processing",
)

_REFUSED_BEFORE_THE_MESSAGE: Final = (
    rule(
        "accepts-no-mail",
        r"^521",  # RFC 7504 section 3
        Category.ROUTING_ERRORS,
        Action.BOUNCE,
        Scope.SITE,
        "521 mail.example.com does not accept mail",
        stage=Stage.CONNECT,
    ),
    rule(
        "refused-at-greeting",
        r"^5",  # before a word about the message was said, it can only be about the source
        Category.POLICY_RELATED,
        Action.BACKOFF,
        Scope.SITE,
        "554 mail.example.com ESMTP not accepting messages",
        again=HOUR / 4,
    ),
)

_BY_CLASS: Final = (
    rule(
        "syntax",
        r"(?i)^50[0-4]|^5.*(\b5\.5\.[0-9]|protocol violation)",
        Category.PROTOCOL_ERRORS,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "501 5.5.4 Invalid arguments",
        "554 5.5.1 Error: no valid recipients",
    ),
    rule(
        "refused-by-policy",
        r"^5[0-9][0-9][ -]5\.7\.[0-9]+",
        Category.POLICY_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 5.7.1 Delivery not authorized, message refused",
        "550 5.7.1 [CS01] Message rejected due to local policy.",
    ),
    rule(
        "policy-in-words",
        r"(?i)^5.*(polic(y|ies)|by recipients?\b|by destination|prohibit|no permit|auth failed|local user only|"
        r"denied|blocked|spoof|refused|filtered|not "
        r"allowed|"
        r"restricted|authenticat)",
        Category.POLICY_RELATED,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "550 Denied by policy",
        "550 Mail is rejected by recipients",
        "550 rejecting spoofed message",
    ),
    rule(
        "permanent",
        r"^5",
        Category.OTHER,
        Action.BOUNCE,
        Scope.RECIPIENT,
        "554 Transaction failed",
    ),
)

GREETING_RULES: Final = (
    *[one for one in (*ABOUT_THE_SOURCE, *RATES) if one.action is not Action.BOUNCE],
    *_REFUSED_BEFORE_THE_MESSAGE,
    _CLOSING,
    _TEMPORARY,
)
"""At Connect and Ehlo, where nothing was said about a message yet: none is given up for its link or sender."""
MESSAGE_RULES: Final = (
    *PLAINLY_THE_MAILBOX,
    *ABOUT_THE_SOURCE,
    *RATES,
    *ABOUT_THE_MAILBOX,
    *ABOUT_THE_MESSAGE,
    _CLOSING,
    _TEMPORARY,
    *_BY_CLASS,
)
"""From MAIL on. In both the first that matches decides."""
CLOSING_RULES: Final = frozenset({f"default/{_CLOSING.id}", "default/timed-out"})
"""A 421 that says nothing of us."""
