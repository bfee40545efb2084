"""Delivery status notifications: RFC 3464, RFC 6533 for UTF-8, and the liberties that servers take with them."""

import re
from typing import Final

from lane_relay.mail.reports.parts import Block, Mail, unfolded
from lane_relay.mail.reports.reading import Failure, Kind, Reading

__all__ = ["codes_in", "one_line", "read_status"]

_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_CODE = re.compile(r"(?<![\d.#])([45]\d\d)(?=[ -]|$|[:;,)\]])")
_NEAR = re.compile(r"(?<![\d.])([45]\d\d)[ -]?#?(?:[45]\.\d{1,3}\.\d{1,3})")
_HEX = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_WORD = re.compile(r"([^\s<>;,\"]+)([>;,]?(?:\s|$))?")
"""A word, and what may stand behind an address. Each is gone through once: whoever brings a report chooses it."""
_KINDS: Final = {
    "failed": Kind.BOUNCE,
    "failure": Kind.BOUNCE,  # Lotus Domino and others
    "fail": Kind.BOUNCE,
    "delayed": Kind.DELAY,
    "delay": Kind.DELAY,
    "delivered": Kind.SUCCESS,
    "relayed": Kind.SUCCESS,
    "expanded": Kind.SUCCESS,
}
_BY_CLASS: Final = {"5": Kind.BOUNCE, "4": Kind.DELAY, "2": Kind.SUCCESS}
_LONGEST: Final = 1000


def read_status(mail: Mail) -> Reading | None:
    """What the mail's delivery report says; None if there is none in it."""
    text = next((part.text for part in mail.parts if part.kind.endswith("delivery-status")), None)
    dialect = "rfc3464"
    if text is None:
        # Some send the report under another type: it is known by the two fields that it must have.
        text = next((part.text for part in mail.parts if _looks_like_one(part.text)), None)
        dialect = "rfc3464-mislabelled"
        if text is None:
            return None
    blocks = unfolded(text)
    of_message = blocks[0] if blocks and not _is_recipient(blocks[0]) else {}
    recipients = [block for block in blocks if _is_recipient(block)]
    if not recipients:
        return None
    kinds = [_kind(block) for block in recipients]
    # One recipient a transaction: where a report has several, the worst is told and with it those that share it.
    for kind in (Kind.BOUNCE, Kind.DELAY, Kind.SUCCESS):
        failures = tuple(_failure(block) for block, one in zip(recipients, kinds, strict=True) if one is kind)
        if failures:
            return Reading(kind, dialect, failures, reporter=_without_type(of_message.get("reporting-mta", "")))
    return None


def _looks_like_one(text: str) -> bool:
    lower = text[:8192].lower()
    return "final-recipient:" in lower and ("\naction:" in lower or "\nstatus:" in lower)


def _is_recipient(block: Block) -> bool:
    return "final-recipient" in block or "original-recipient" in block or ("action" in block and "status" in block)


def _kind(block: Block) -> Kind | None:
    """What became of the recipient: the action says it, and where it is missing or unheard of, the status."""
    action = block.get("action", "").partition("(")[0].strip().lower()
    if action in _KINDS:
        return _KINDS[action]
    status = _STATUS.search(block.get("status", "") + " " + block.get("diagnostic-code", ""))
    return _BY_CLASS[status[1]] if status else None


def _failure(block: Block) -> Failure:
    diagnostic = block.get("diagnostic-code", "")
    text = _without_type(diagnostic) or block.get("x-display-name", "")
    status = _STATUS.search(block.get("status", ""))
    code, in_text = codes_in(text)
    enhanced = f"{status[1]}.{status[2]}.{status[3]}" if status else in_text
    if enhanced.endswith(".0.0") and in_text:  # "5.0.0" is what servers write that did not look; the text knows better
        enhanced = in_text
    return Failure(
        _address(block.get("final-recipient", "")),
        _address(block.get("original-recipient", "")),
        enhanced,
        code,
        one_line(text),
        _without_type(block.get("remote-mta", "")).split(" ")[0],
    )


def codes_in(text: str) -> tuple[int, str]:
    """The first SMTP reply code and the first enhanced code of a server's words; 0 and empty where there is none."""
    found = _NEAR.search(text) or _CODE.search(text)
    enhanced = _STATUS.search(text)
    return (
        int(found[1]) if found else 0,
        f"{enhanced[1]}.{enhanced[2]}.{enhanced[3]}" if enhanced and enhanced[1] != "2" else "",
    )


def one_line(text: str) -> str:
    """Words of a peer for a record: one line, printable, bounded."""
    joined = " ".join(text.split())[:_LONGEST]
    return joined if joined.isprintable() else "".join(one if one.isprintable() else " " for one in joined)


def _without_type(value: str) -> str:
    """`smtp; 550 no` without its type; a value without one as it is."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and " " not in kind.strip() else value.strip()


def _address(value: str) -> str:
    """The mailbox in `rfc822; <a@b>`, with RFC 6533's escapes undone; empty where there is none."""
    plain = _HEX.sub(_character, _without_type(value))
    words = _WORD.finditer(plain.replace("mailto:", ""))
    address = next((word[1].removesuffix(".") for word in words if word[2] is not None and _has_both(word[1])), "")
    return one_line(address)[:254]


def _has_both(word: str) -> bool:
    """Something stands on either side of an at sign."""
    return "@" in word.removesuffix(".")[1:-1]


def _character(matched: re.Match[str]) -> str:
    number = int(matched[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else ""
