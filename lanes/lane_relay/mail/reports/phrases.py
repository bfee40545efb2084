"""The words by which reports for people are known: where the returned mail begins, failure, delay, whose server.

Lists to be read and added to, most common first; case makes no difference. A phrase stands here because a server
writes it, and a shape in tests/lane_relay/mail/reports/shapes shows it.
"""

import re
from typing import Final

__all__ = ["DIALECTS", "FAILS", "GIVES_UP", "RETURNED", "SUBJECT_FAILS", "WAITS"]


def _any_of(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


_RETURNED_PHRASES: Final = "|".join(  # noqa: FLY002 -- a list is read and added to
    (
    r"below (?:this|the next) line is a copy",
    r"original message\b",
    r"the original message (?:follows|is attached)",
    r"this is a copy of (?:the|your) message",
    r"your message follows",
    r"returned (?:message|mail)",
    r"undelivered message",
    r"(?:unsent|returned) message (?:header|below|is below|follows|text)",
    r"message headers?(?: follows?|:)",
    r"enclosed (?:are|is)",
    r"forwarded message",
    r"the header of the original message",
    r"begin included message",
    r"included is a copy",
    r"headers? follow",
    r"copy of (?:your|the) message",
    r"mensaje original",
    r"message original",
    r"ursprüngliche nachricht",
)
)  # fmt: skip
RETURNED: Final = re.compile(rf"^[ \t>*|_=-]*(?:{_RETURNED_PHRASES})", re.IGNORECASE)
"""A line behind which the returned mail's own words begin."""

FAILS: Final = _any_of(
    r"could ?n[o']t (?:be )?(?:deliver|send)",
    r"could not (?:be (?:deliver|reach)|send)",
    r"can(?:not|'t) be delivered",
    r"(?:n't|not) (?:be |been )?delivered",
    r"unable to (?:deliver|be delivered|relay)",
    r"undeliver(?:able|ed)",
    r"deliver[yi]\w{0,10} (?:to the following \w+ )?(?:has )?fail",
    r"delivery (?:failure|error)",
    r"fail(?:ed|ure) (?:to deliver|delivery|notice|address|recipient)",
    r"returned mail",
    r"permanent(?:ly)? (?:error|fatal|fail|undeliverable)",
    r"did (?:not|n't) (?:reach|receive)",
    r"unknown user|user unknown|no such user|address not found",
    r"mailbox (?:is )?(?:full|unavailable|not found)",
    r"rejected your message",
    r"(?:has been|was automatically|was) rejected",
    r"over (?:disk )?quota",
    r"exceeded? (?:the )?maximum delivery",
    r"giving up on",
    r"delivery attempts",
    r"invalid (?:final delivery userid|mailbox|recipient|address)",
    r"pas pu (?:e|ê)tre d[eé]livr|n'a pu (?:e|ê)tre|non remis",
    r"konnte nicht (?:zugestellt|uebermittelt|übermittelt)|nicht zustellbar|unzustellbar",
    r"no (?:se )?(?:ha )?podido (?:ser )?entrega|no pudo ser entregado",
    r"impossibile recapitare",
    r"n[ãa]o (?:p[ôo]de|foi) (?:ser )?entreg",
    r"не (?:доставлено|удалось|может быть доставлено)|невозможно доставить",
    r"退信|退回|无法(?:发送|投递|送达)|配信できません",
)
WAITS: Final = _any_of(
    r"not yet been delivered",
    r"(?:message|delivery) (?:has been |is )?(?:delayed|postponed)",
    r"has been postponed",
    r"delayed \d+ ",
    r"still (?:being )?(?:trying|retrying|retried)",
    r"will (?:continue to|keep) (?:try|retry|be retried)",
    r"will retry for",
    r"delivery attempts will continue",
    r"could not be delivered for \d+",
    r"warning message only",
    r"do not need to resend",
    r"temporary problem",
    r"has not been delivered .{0,80}after more than",
    r"delivery incomplete",
    r"we will keep trying",
)
GIVES_UP: Final = _any_of(
    r"permanent", r"given up", r"giving up", r"not going to try again", r"in the queue too long",
    r"will not be retried", r"retry time ?out exceeded", r"expired",
)  # fmt: skip
"""The end of a delay, in the words of one."""
SUBJECT_FAILS: Final = _any_of(
    r"undeliver", r"fail", r"return(?:ed|ing)", r"delivery (?:status|problem|report)", r"error", r"rejected",
    r"unzustellbar", r"nicht zustell", r"bounce", r"non remis", r"退信|退回", r"mail system", r"not delivered",
)  # fmt: skip

DIALECTS: Final = (
    ("yahoo", _any_of(r"message from\s+yahoo\.", r"unable to deliver your message to the following address(?:es)?\.")),
    ("qmail", _any_of(r"qmail-send program", r"i'm afraid i wasn't able to deliver")),
    ("exim", _any_of(r"created automatically by mail delivery software")),
    ("postfix", _any_of(r"(?:postfix program|mail system) at host", r"i'm sorry to have to inform you")),
    ("sendmail", _any_of(
        r"addresses had (?:permanent|transient) (?:non-)?fatal errors", r"transcript of session follows"
    )),
    ("gmail", _any_of(
        r"delivery to the following recipients? (?:failed permanently|has been delayed)",
        r"googlemail\.com|support\.google\.com/mail",
    )),
    ("exchange", _any_of(
        r"did not reach (?:some or all of )?the (?:intended|following) recipient",
        r"delivery has failed to these recipients",
        r"could not be reached:",
        r"this is an automatically generated delivery status notification",
    )),
    ("domino", _any_of(r"was not delivered to:", r"not listed in (?:domino|public|name)")),
    ("groupwise", _any_of(r"message that you sent was undeliverable to the following")),
    ("mdaemon", _any_of(r"permanent fatal delivery errors", r"transient fatal")),
    ("imail", _any_of(r"undeliverable\s+to ", r"delivery failed \d+ attempts", r"unknown user:")),
    ("courier", _any_of(r"courier mail server")),
    ("communigate", _any_of(r"failed to deliver to '")),
    ("qq", _any_of(r"postmaster@(?:qq|foxmail|163|126|sina)\.", r"退信")),
)  # fmt: skip
"""Whose words they are, for the reading's name; the first that fits."""
