"""Who reports: whether a complaint is from somebody who may report it, by the DKIM signature over all of it.

A token proves that the mail was ours, not that whoever reports is the ISP: each forwarder and list has it, too. So what
counts towards rates comes from a reporter whom the ISP's policy names. The signature's domain is that of From or one
above it, and it covers the whole body and every field that is then read: what others may have added is not looked at.
Before it: the desk has a complaint with a token. After it: DNS is asked for the key, and the signed part is read again.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from msgspec import Struct

from lane_relay.feedback.readers import Readers
from lane_relay.mail.dkim_check import Signature, fields_named, signatures, signed_part, verify_problem
from lane_relay.mail.reports.read import read_report
from lane_relay.mail.reports.reading import Kind, Reading
from lane_relay.resolve.answers import Answer, Status

__all__ = ["AskTxt", "Claim", "Unknown", "Vouched", "claim_of", "is_named", "vouched"]

AskTxt = Callable[[str], Awaitable[Answer[str]]]
_LARGEST: Final = 2**20
"""Octets of a report that are hashed; loops send the header of a mail or cut it."""
_ADDRESS: Final = r"([a-z0-9._=+-]{1,64}@[a-z0-9.-]{1,253})"
_FROM: Final = re.compile(rf'{_ADDRESS}|(?:"[^"\\<>@]{{0,200}}" ?|[^"\\<>@,;:()]{{0,200}})<{_ADDRESS}>')


class Claim(Struct, frozen=True):
    """Whom a mail says that it is from, and what may prove it."""

    reporter: str
    """The only address of its only From, in lower case."""
    signatures: tuple[Signature, ...]


class Vouched(Struct, frozen=True):
    """Proved."""

    reporter: str
    reading: Reading
    """Of what is signed, and nothing else."""


class Unknown(Struct, frozen=True):
    """It could not be found out now: DNS does not answer."""


def is_named(reporter: str, named: Iterable[str]) -> bool:
    """A mailbox is named by itself or by its domain."""
    return any(one in (reporter, reporter.rpartition("@")[2]) for one in named)


def claim_of(content: bytes, may_report: Callable[[str], bool]) -> Claim | None:
    """What the mail of one who may report would be proved by; None: it is not from one, or has nothing that could."""
    if len(content) > _LARGEST:
        return None
    senders = fields_named(content, "from")  # of one, whoever wrote it is who signed it
    if len(senders) != 1:
        return None
    found = _FROM.fullmatch(" ".join(senders[0].split()).lower())
    reporter = (found[1] or found[2]) if found is not None else ""
    if not reporter or not may_report(reporter):
        return None
    domain = reporter.rpartition("@")[2]
    aligned = tuple(one for one in signatures(content) if _is_above(one.domain, domain))
    return Claim(reporter, aligned) if aligned else None


def _is_above(signing: str, domain: str) -> bool:
    """The domain itself, or one above it that is no top-level one."""
    return signing == domain or ("." in signing and domain.endswith(f".{signing}"))


async def vouched(
    readers: Readers, ask: AskTxt, peer: str, content: bytes, may_report: Callable[[str], bool], now: float
) -> Vouched | Unknown | None:
    """Who of those who may report vouches for this mail; None: nobody does. `may_report` is asked in a thread."""
    claim = await readers.work(peer, partial(claim_of, content, may_report))
    if claim is None:
        return None
    answers = {name: await ask(name) for name in dict.fromkeys(one.record_name for one in claim.signatures)}
    keys = {
        name: answer.records[0]
        for name, answer in answers.items()
        if answer.status is Status.FOUND and len(answer.records) == 1
    }
    reading = await readers.work(peer, partial(_read, content, claim.signatures, keys, now)) if keys else None
    if reading is not None:
        return Vouched(claim.reporter, reading)
    return None if all(answer.is_definite for answer in answers.values()) else Unknown()


def _read(content: bytes, signed_by: tuple[Signature, ...], keys: dict[str, str], now: float) -> Reading | None:
    """What a signature that verifies covers, if that is a complaint."""
    for signature in signed_by:
        record = keys.get(signature.record_name)
        if record is not None and not verify_problem(content, signature, record, now):
            reading = read_report(signed_part(content, signature))
            if reading.kind is Kind.COMPLAINT:
                return reading
    return None
