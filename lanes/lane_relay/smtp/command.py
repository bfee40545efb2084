"""Commands of the receiving side (RFC 5321 section 4.1): one line in, its verb and arguments out.

Invariant: what does not parse is a value (None), never an exception. Before it: lines cut by `smtp.server`.
"""

import re
from typing import Final

from lane_relay.records import Notify, RecipientOptions, Record, Reply

__all__ = [
    "BLANKS",
    "FIXED_REPLIES",
    "MAX_COMMAND_LINE",
    "MAX_SASL_LINE",
    "NO_OPTIONS",
    "NO_PARAMETERS",
    "MailParameters",
    "Path",
    "broken_line",
    "no_command",
    "parse_path",
    "read_mail_parameters",
    "read_recipient_parameters",
]

MAX_COMMAND_LINE: Final = 512 + 26 + 17 + 10 + 500 + 116 + 17
"""RFC 5321 section 4.5.3.1.4, and what SIZE (RFC 1870), 8BITMIME (6152), SMTPUTF8 (6531), AUTH (4954), RET and ENVID
(3461) and BY (2852) add to MAIL; what NOTIFY and ORCPT add to RCPT is less."""
_MAX_ENVID: Final = 100
_MAX_ORCPT: Final = 500
"""Characters (RFC 3461 sections 4.4 and 4.2)."""
MAX_SASL_LINE: Final = 12288
"""RFC 4954 section 4."""

BLANKS: Final = " \t"
"""What may stand around and between words (RFC 5321 section 4.1.1); Python takes control characters for them too."""

FIXED_REPLIES: Final = {
    "NOOP": b"250 2.0.0 Ok\r\n",
    "HELP": b"214 2.0.0 RFC 5321\r\n",
    "VRFY": b"252 2.0.0 Not verified; send mail and see\r\n",
}
"""Commands whose answer depends on nothing."""
_UNIMPLEMENTED: Final = frozenset({"EXPN", "TURN", "SEND", "SOML", "SAML", "ETRN"})
_FOREIGN: Final = frozenset({"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "HOST:", "USER-AGENT:"})
"""Words of HTTP: a browser or proxy was made to talk to us (cross-protocol attack); nothing it sends may be mail."""
_PROXY: Final = frozenset({"\0", "PROXY"})
"""How headers of the PROXY protocol begin, read as lines; where they may stand, they never come so far."""

_PATH = re.compile(r'(FROM|TO): *<(?:@[^:<>"\s]*:)?((?:"(?:[^"\\]|\\.)*"|[^"<>\s])*)>(?: +(.*))?', re.IGNORECASE)
"""A source route (`@a,@b:`) is accepted and ignored (RFC 5321 section 4.1.1.3); a blank after the colon is common."""

_WORD = re.compile(r"[^ \t]+")
_BY = re.compile(r"([+-]?[0-9]{1,9});([RN])")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+(?:[2-6][0-9A-F]|7[0-9A-E]))+")
_HIDDEN_OCTETS = re.compile(rb"(?:[!-*,-<>-~]|\+[2-9A-F][0-9A-F])+")
_HIDDEN = re.compile(rb"\+([0-9A-F]{2})")
_UNITEXT = re.compile(r"[^\s=+\\]+")
_TWICE: Final = Reply(501, ("5.5.4 Each parameter may stand once",))
_NOTIFY: Final = {"SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}


class Path(Record, frozen=True, gc=False):
    """The argument of MAIL or RCPT."""

    address: str
    """Between the angle brackets; may be empty."""
    parameters: str


class MailParameters(Record, frozen=True, gc=False):
    """The parameters of MAIL that we offer."""

    size: int = 0
    eight_bit: bool = False
    smtp_utf8: bool = False
    ret: str = ""
    envid: str = ""
    by_time: int = 0
    """Seconds; negative: it is late already."""
    by_mode: str = ""
    """R or N (RFC 2852 section 4); empty: BY was not given."""


NO_PARAMETERS: Final = MailParameters()
NO_OPTIONS: Final = RecipientOptions()


def no_command(verb: str) -> Reply:
    """What is said to a verb that is none of ours; 421 ends the session."""
    if verb in _PROXY:
        where = "submission.clients.proxies, or for reports in feedback.proxies"
        return Reply(421, (f"4.7.0 The PROXY protocol is for peers named in {where}",))
    if verb in _FOREIGN:
        return Reply(421, ("4.7.0 This is an SMTP server",))
    if verb in _UNIMPLEMENTED:
        return Reply(502, ("5.5.1 Command not implemented",))
    return Reply(500, ("5.5.1 Command not recognised",))


def broken_line(raw: bytes, *, is_sasl: bool) -> Reply | None:
    """Why a session cannot go on behind this line: it is too long, or what follows it may not be a command."""
    limit = MAX_SASL_LINE if is_sasl or raw[:5].upper() == b"AUTH " else MAX_COMMAND_LINE
    if len(raw) >= limit:
        return Reply(500, (f"5.5.6 The line is longer than {limit} octets",))
    if raw[-2:] != b"\r\n" or raw.find(b"\r") != len(raw) - 2:
        return Reply(500, ("5.5.2 Lines end with CRLF; a lone CR or LF is not accepted",))
    return None


def parse_path(keyword: str, argument: str) -> Path | None:
    """The path after `MAIL ` (keyword FROM) or `RCPT ` (keyword TO)."""
    matched = _PATH.fullmatch(argument)
    if matched is None or matched[1].upper() != keyword:
        return None
    return Path(matched[2], (matched[3] or "").strip(BLANKS))


def read_mail_parameters(text: str) -> MailParameters | Reply:
    """The parameters of MAIL, or what is wrong with one."""
    if not text:
        return NO_PARAMETERS
    size, eight_bit, smtp_utf8, ret, envid, by_time, by_mode = 0, False, False, "", "", 0, ""
    words = [word.partition("=") for word in _WORD.findall(text)]
    if len({name.upper() for name, _, _ in words}) != len(words):
        return _TWICE
    for name, equals, value in words:
        match name.upper(), value.upper():
            case "SIZE", digits if digits.isascii() and digits.isdigit() and len(digits) <= 20:
                size = int(digits)
            case "BODY", "7BIT":
                eight_bit = False
            case "BODY", "8BITMIME":
                eight_bit = True
            case "BODY", _:
                return _wrong("BODY is 7BIT or 8BITMIME: encode binary parts (base64)")
            case "SMTPUTF8", "" if not equals:
                smtp_utf8 = True
            case "AUTH", identity if identity:
                # RFC 4954 section 5: offered with AUTH, and treated as `AUTH=<>` by whoever does not trust the client.
                pass
            case "RET", "FULL" | "HDRS" as ret:
                pass
            case "RET", _:
                return _wrong("RET is FULL or HDRS")
            case "ENVID", _ if _is_xtext(value) and len(value) <= _MAX_ENVID:
                envid = value
            case "ENVID", _:
                return _wrong(f"ENVID is xtext of at most {_MAX_ENVID} characters (RFC 3461 section 4.4)")
            case "BY", limit:
                matched = _BY.fullmatch(limit)
                if matched is None or (matched[2] == "R" and int(matched[1]) <= 0):
                    return _wrong("BY is seconds;R above 0, or seconds;N (RFC 2852); a trace (T) is not made")
                by_time, by_mode = int(matched[1]), matched[2]
            case _:
                return _unknown(name, equals, value)
    return MailParameters(size, eight_bit, smtp_utf8, ret, envid, by_time, by_mode)


def read_recipient_parameters(text: str) -> RecipientOptions | Reply:
    """The parameters of RCPT, or what is wrong with one (RFC 3461 sections 4.1 and 4.2)."""
    if not text:
        return NO_OPTIONS
    notify, orcpt = Notify.DEFAULT, ""
    words = [word.partition("=") for word in _WORD.findall(text)]
    if len({name.upper() for name, _, _ in words}) != len(words):
        return _TWICE
    for name, equals, value in words:
        match name.upper():
            case "NOTIFY":
                wanted = _notify(value.upper())
                if wanted is None:
                    return _wrong("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
                notify = wanted
            case "ORCPT":
                if not _is_original_recipient(value):
                    return _wrong(f"ORCPT is a type, ; and xtext, of at most {_MAX_ORCPT} characters (RFC 3461)")
                orcpt = value
            case _:
                return _unknown(name, equals, value)
    return RecipientOptions(notify, orcpt)


def _notify(value: str) -> Notify | None:
    if value == "NEVER":
        return Notify.NEVER
    wanted = Notify.NEVER
    for word in value.split(","):
        if word not in _NOTIFY:
            return None
        wanted |= _NOTIFY[word]
    return wanted


def _is_original_recipient(value: str) -> bool:
    kind, semicolon, address = value.partition(";")
    if not semicolon or not _ATOM.fullmatch(kind) or len(value) > _MAX_ORCPT:
        return False
    # RFC 6533 section 3: addresses of type utf-8 may stand as they are.
    return (
        _is_xtext(address)
        or _hides_utf8(address)
        or (kind.lower() == "utf-8" and bool(_UNITEXT.fullmatch(address)) and address.isprintable())
    )


def _hides_utf8(value: str) -> bool:
    """xtext of the octets of an address in UTF-8, whatever its type: what Postfix 3.7 sends of such an address."""
    octets = value.encode("utf-8", "surrogateescape")
    if not _HIDDEN_OCTETS.fullmatch(octets):
        return False
    try:
        return _HIDDEN.sub(lambda found: bytes([int(found[1], 16)]), octets).decode().isprintable()
    except UnicodeDecodeError:
        return False


def _is_xtext(value: str) -> bool:
    """RFC 3461 section 4; what it hides is printable, too, for it is written into reports."""
    return bool(_XTEXT.fullmatch(value))


def _wrong(text: str) -> Reply:
    return Reply(501, (f"5.5.4 {text}",))


def _unknown(name: str, equals: str, value: str) -> Reply:
    return Reply(555, (f"5.5.4 Parameter {name}{equals}{value} is not supported",))
