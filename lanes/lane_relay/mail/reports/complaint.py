"""Complaints: ARF (RFC 5965, 6430, 6591), the shortened forms that ISPs send, and CFBL (RFC 9477), which is ARF.

A complaint counts only with a token of ours; the fields that may carry one are looked for here, whether it is one is
proved by who has the key. ISPs take out addresses, and each takes out others: so several fields carry it.
"""

import re
from typing import Final

from lane_relay.mail.reports.parts import Block, Mail, unfolded
from lane_relay.mail.reports.reading import Kind, Reading

__all__ = ["message_id_in", "read_complaint", "tokens_in"]

_TOKEN = re.compile(r"(?<![a-z2-7])([a-z2-7]{60})(?![a-z2-7])", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<[^\s<>]{1,996}>")
_MOST_TOKENS: Final = 8
_CARRIERS: Final = (
    "original-mail-from",
    "return-path",
    "x-original-return-path",
    "cfbl-feedback-id",
    "list-unsubscribe",
    "original-envelope-id",
    "x-hmxmroriginalrecipient",
    "x-envelope-from",
    "envelope-from",
    "received-spf",
    "authentication-results",
    "errors-to",
)
"""In the order in which they are believed; the first that checks is taken."""
_NO_COMPLAINT: Final = ("not-spam", "auth-failure", "dmarc")


def read_complaint(mail: Mail) -> Reading | None:
    """What the mail's feedback report says; None if there is none in it."""
    text = next((part.text for part in mail.parts if part.kind == "message/feedback-report"), None)
    dialect = "arf"
    if text is None:
        text = next((part.text for part in mail.parts if _looks_like_one(part.text)), None)
        dialect = "arf-mislabelled"
        if text is None:
            return _unlabelled(mail)
    fields = _merged(unfolded(text))
    kind = fields.get("feedback-type", "abuse").partition("(")[0].strip().lower()
    returned = _merged(unfolded(mail.returned.decode("utf-8", "replace")))
    return Reading(
        Kind.NOT_SPAM if kind in _NO_COMPLAINT else Kind.COMPLAINT,
        dialect,
        feedback_type=kind[:40],
        reporter=fields.get("reporting-mta") or fields.get("user-agent", ""),
        tokens=tokens_in(fields, returned),
        message_id=message_id_in(returned),
    )


def _looks_like_one(text: str) -> bool:
    lower = text[:4096].lower()
    return "feedback-type:" in lower and ("user-agent:" in lower or "version:" in lower)


def _unlabelled(mail: Mail) -> Reading | None:
    """A complaint without a report: the mail itself, forwarded by the loop (JMRP before ARF, and its like)."""
    sender = mail.fields.get("from", "").lower()
    is_loop = any(
        name in mail.fields for name in ("x-hmxmroriginalrecipient", "x-complaint-type", "x-loop-feedback")
    ) or ("staff@hotmail.com" in sender or "feedbackloop" in sender or sender.startswith("fbl"))
    if not is_loop or not mail.returned:
        return None
    returned = _merged(unfolded(mail.returned.decode("utf-8", "replace")))
    return Reading(
        Kind.COMPLAINT,
        "forwarded",
        feedback_type="abuse",
        reporter=mail.fields.get("from", "")[:200],
        tokens=tokens_in(mail.fields, returned),
        message_id=message_id_in(returned),
    )


def _merged(blocks: list[Block]) -> Block:
    """Of all groups; the first of a name stands."""
    merged: Block = {}
    for block in blocks:
        for name, value in block.items():
            merged.setdefault(name, value)
    return merged


def tokens_in(*groups: Block) -> tuple[str, ...]:
    """What may be tokens, the most believed field's first, each once."""
    found: dict[str, None] = {}
    for carrier in _CARRIERS:
        for group in groups:
            for one in _TOKEN.findall(group.get(carrier, "").replace(" ", "")):
                found[one.lower()] = None
    return tuple(found)[:_MOST_TOKENS]


def message_id_in(fields: Block) -> str:
    """The Message-ID of these fields, or empty."""
    found = _MESSAGE_ID.search(fields.get("message-id", ""))
    return found[0] if found else ""
