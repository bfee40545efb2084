"""What a piece of returned mail comes to: pure, from the reading and what its token proves.

Before it: `mail.reports` has read it, `addresses` knows whom it came for. After it: `desk` keeps the records and the
suppressions. Invariants: nobody is suppressed without a token of ours, and by a bounce only if the report is about the
very mailbox that the token is about: what a forwarder's target says is no word about the mailbox that we wrote to. An
address is told to nobody unless it has the token's digest.
"""

import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from lane_api.isppolicy import Action, Category, Stage
from lane_relay.account.records import RecordType
from lane_relay.feedback.suppressions import Reason
from lane_relay.mail.reports.reading import Failure, Kind, Reading
from lane_relay.mail.token import Token
from lane_relay.records import Reply, Verdict

__all__ = ["Finding", "judge_report", "proved"]

_SUPPRESSED_FOR: Final = {
    "opt-out": Reason.UNSUBSCRIBE,
    "opt-out-list": Reason.UNSUBSCRIBE,
    "abuse": Reason.COMPLAINT,
    "fraud": Reason.COMPLAINT,
    "miscategorized": Reason.COMPLAINT,
    "complaint": Reason.COMPLAINT,
    "": Reason.COMPLAINT,
}
"""By Feedback-Type (RFC 5965 section 7.3); virus and other say nothing of the recipient's wishes."""
_ACTIONS: Final = {Kind.BOUNCE: "failed", Kind.DELAY: "delayed", Kind.SUCCESS: "delivered"}
_FOR_WHOM: Final = re.compile(
    r"^(?:to|cc|delivered-to|x-original-to|original-recipient):[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE
)
_ADDRESS: Final = re.compile(r"[^\s<>()\[\];:,\"@]{1,64}@[^\s<>()\[\];:,\"@]{1,255}")
_MOST_LOOKED_AT: Final = 50
_GENERIC: Final = {"5": 550, "4": 450, "2": 250}


class Finding(Struct, frozen=True, gc=False):
    """What is to be done."""

    label: str
    """For counters: the reading's kind, or `unproved` where no token of ours is in it."""
    record: RecordType | None = None
    recipient: str = ""
    """The address that the token is about, where the report or the header that it returns names it."""
    reply: Reply | None = None
    category: Category | None = None
    rule: str = ""
    remote: str = ""
    meta: dict[str, str] = {}
    suppress: Reason | None = None
    keep_sample: bool = False
    is_bounce: bool = False
    """For good, and ours: whoever sent the message may be told."""


def proved(reading: Reading, addressed: Token | None, read: Callable[[str], Token | None]) -> Token | None:
    """The token that a report comes with: of the address that it was sent to, else the first in it that is ours."""
    if addressed is not None:
        return addressed
    return next((token for text in reading.tokens if (token := read(text)) is not None), None)


def judge_report(
    reading: Reading,
    token: Token | None,
    digest_of: Callable[[str], bytes],
    judge_reply: Callable[[str, Stage, Reply], Verdict],
) -> Finding:
    """The finding; `digest_of` gives an address's digest as tokens have it, `judge_reply` is the reply table's."""
    kind = reading.kind
    if kind is Kind.NOT_UNDERSTOOD:
        return Finding(kind.value, keep_sample=True)
    if kind is Kind.AUTOMATIC or kind is Kind.NOT_SPAM:
        return Finding(kind.value)
    if token is None:
        return Finding("unproved", keep_sample=True)
    if kind is Kind.COMPLAINT:
        return _complaint(reading, token)
    return _delivery_report(reading, token, digest_of, judge_reply)


def _complaint(reading: Reading, token: Token) -> Finding:
    reason = _SUPPRESSED_FOR.get(reading.feedback_type)
    meta = {"feedback_type": reading.feedback_type or "abuse", "dialect": reading.dialect}
    if reading.reporter:
        meta["reporter"] = reading.reporter
    return Finding(
        Kind.COMPLAINT.value,
        RecordType.FEEDBACK,
        meta=meta,
        suppress=reason if token.names_recipient else None,
    )


def _delivery_report(
    reading: Reading,
    token: Token,
    digest_of: Callable[[str], bytes],
    judge_reply: Callable[[str, Stage, Reply], Verdict],
) -> Finding:
    failure, is_same = _failure_of(reading, token, digest_of)
    reply = _reply(reading.kind, failure)
    verdict = judge_reply("", Stage.END_OF_DATA, reply) if reply.code >= 400 else None
    meta = {"action": _ACTIONS[reading.kind], "dialect": reading.dialect}
    if failure.recipient and not is_same:
        meta["reported_recipient"] = failure.recipient
    if reading.reporter:
        meta["reporter"] = reading.reporter
    category = verdict.category if verdict is not None else None
    is_bounce = reading.kind is Kind.BOUNCE
    is_hard = (
        is_bounce
        and verdict is not None
        and verdict.action is Action.BOUNCE
        and category is Category.BAD_MAILBOX
        and token.names_recipient
        and (is_same or not failure.recipient)
    )
    named = failure.original if failure.original and digest_of(failure.original) == token.digest else failure.recipient
    if not is_same:
        named = _returned_to(reading.returned, token, digest_of)
    return Finding(
        reading.kind.value,
        RecordType.OOB,
        named,
        reply,
        category,
        verdict.rule if verdict is not None else "",
        failure.remote,
        meta,
        Reason.HARD_BOUNCE if is_hard else None,
        is_bounce=is_bounce,
    )


def _failure_of(reading: Reading, token: Token, digest_of: Callable[[str], bytes]) -> tuple[Failure, bool]:
    """The recipient of the report that the token is about, and whether the report names it by its address."""
    for failure in reading.failures:
        for address in (failure.original, failure.recipient):
            if address and digest_of(address) == token.digest:
                return failure, True
    return (reading.failures[0] if reading.failures else Failure()), False


def _returned_to(header: bytes, token: Token, digest_of: Callable[[str], bytes]) -> str:
    """The address that the token is about, where the returned header says whom the mail was for; else empty."""
    if not token.names_recipient:
        return ""
    text = header.decode("utf-8", "replace")
    fields = [matched[0] for matched in _FOR_WHOM.finditer(text)]
    found = [matched[0] for matched in _ADDRESS.finditer(" ".join(fields))]
    for address in list(dict.fromkeys(found))[:_MOST_LOOKED_AT]:
        if digest_of(address) == token.digest:
            return address
    return ""


def _reply(kind: Kind, failure: Failure) -> Reply:
    """The reply that the report tells of, as far as it does."""
    code = failure.code or _GENERIC.get(failure.status[:1], 0)
    if not code:
        code = {Kind.BOUNCE: 550, Kind.DELAY: 450, Kind.SUCCESS: 250}[kind]
    text = failure.text
    for known in (str(failure.code), failure.status):  # they stand in the reply's own fields
        if known and known != "0" and text.startswith(known):
            text = text[len(known) :].lstrip(" -:")
    enhanced = failure.status
    return Reply(code, (f"{enhanced} {text}".strip(),))
