"""Commands of the receiving side (RFC 5321 section 4.1): one line in, its verb and arguments out.

Invariant: what does not parse is a value (None), never an exception. Before it: lines cut by `smtp.server`.
"""

import re
from typing import Final

from msgspec import Struct

__all__ = [
    "FIXED_REPLIES",
    "FOREIGN_VERBS",
    "MAX_COMMAND_LINE",
    "MAX_SASL_LINE",
    "NO_PARAMETERS",
    "UNIMPLEMENTED_VERBS",
    "MailParameters",
    "Path",
    "parse_path",
    "read_parameters",
]

MAX_COMMAND_LINE: Final = 512 + 26 + 17 + 10 + 500
"""RFC 5321 section 4.5.3.1.4, and what SIZE (RFC 1870), 8BITMIME (6152), SMTPUTF8 (6531), AUTH (4954) add to MAIL."""
MAX_SASL_LINE: Final = 12288
"""RFC 4954 section 4."""

FIXED_REPLIES: Final = {
    "NOOP": b"250 2.0.0 Ok\r\n",
    "HELP": b"214 2.0.0 RFC 5321\r\n",
    "VRFY": b"252 2.0.0 Not verified; send mail and see\r\n",
}
"""Commands whose answer depends on nothing."""
UNIMPLEMENTED_VERBS: Final = frozenset({"EXPN", "TURN", "SEND", "SOML", "SAML", "ETRN", "BDAT"})
FOREIGN_VERBS: Final = frozenset({"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "HOST:", "USER-AGENT:"})
"""Words of HTTP: a browser or proxy was made to talk to us (cross-protocol attack); nothing it sends may be mail."""

_PATH = re.compile(r'(FROM|TO): *<(?:@[^:<>"\s]*:)?((?:"(?:[^"\\]|\\.)*"|[^"<>\s])*)>(?: +(.*))?', re.IGNORECASE)
"""A source route (`@a,@b:`) is accepted and ignored (RFC 5321 section 4.1.1.3); a blank after the colon is common."""


class Path(Struct, frozen=True, gc=False):
    """The argument of MAIL or RCPT."""

    address: str
    """Between the angle brackets; may be empty."""
    parameters: str


class MailParameters(Struct, frozen=True, gc=False):
    """The parameters of MAIL that we offer."""

    size: int = 0
    eight_bit: bool = False
    smtp_utf8: bool = False


NO_PARAMETERS: Final = MailParameters()


def parse_path(keyword: str, argument: str) -> Path | None:
    """The path after `MAIL ` (keyword FROM) or `RCPT ` (keyword TO)."""
    matched = _PATH.fullmatch(argument)
    if matched is None or matched[1].upper() != keyword:
        return None
    return Path(matched[2], (matched[3] or "").strip())


def read_parameters(text: str) -> MailParameters | str:
    """The parameters of MAIL, or the one that is unknown or malformed."""
    if not text:
        return NO_PARAMETERS
    size, eight_bit, smtp_utf8 = 0, False, False
    for word in text.split():
        name, _, value = word.partition("=")
        match name.upper(), value.upper():
            case "SIZE", digits if digits.isascii() and digits.isdigit() and len(digits) <= 20:
                size = int(digits)
            case "BODY", "7BIT":
                eight_bit = False
            case "BODY", "8BITMIME":
                eight_bit = True
            case "SMTPUTF8", "":
                smtp_utf8 = True
            case "AUTH", identity if identity:
                # RFC 4954 section 5: offered with AUTH, and treated as `AUTH=<>` by whoever does not trust the client.
                pass
            case _:
                return word
    return MailParameters(size, eight_bit, smtp_utf8)
