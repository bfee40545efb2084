"""Who reports: whether a complaint is from somebody whom an ISP's policy names, by the DKIM signature over all of it.

A token proves that the mail was ours, not that whoever reports is the ISP: each forwarder and list has it, too. So what
counts towards rates comes from a named reporter. The signature's domain is that of From or one above it, covers the
whole body and every field that is then read: what others may have added is not looked at.
Before it: the desk has a complaint with a token. After it: DNS is asked for the key, and the signed part is read again.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from msgspec import Struct

from lane_relay.feedback.readers import Readers
from lane_relay.mail.dkim_check import Signature, signatures, signed_part, verify_problem
from lane_relay.mail.reports.read import read_report
from lane_relay.mail.reports.reading import Kind, Reading
from lane_relay.resolve.answers import Answer, Status

__all__ = ["AskTxt", "Claim", "Unknown", "Vouched", "claim_of", "is_named", "vouched"]

AskTxt = Callable[[str], Awaitable[Answer[str]]]
_LARGEST: Final = 4 * 2**20
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


def claim_of(content: bytes, named: Iterable[str]) -> Claim | None:
    """What a named reporter's mail would be proved by; None: it is not from one, or carries nothing that could."""
    if len(content) > _LARGEST:
        return None
    head = content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    senders = [line for line in re.split(r"\r\n(?![ \t])", head) if line[:5].lower() == "from:"]
    if len(senders) != 1:
        return None
    found = _FROM.fullmatch(" ".join(senders[0][5:].split()).lower())
    reporter = (found[1] or found[2]) if found is not None else ""
    if not is_named(reporter, named):
        return None
    domain = reporter.rpartition("@")[2]
    aligned = tuple(one for one in signatures(content) if _is_above(one.domain, domain))
    return Claim(reporter, aligned) if aligned else None


def _is_above(signing: str, domain: str) -> bool:
    """The domain itself, or one above it that is no top-level one."""
    return signing == domain or ("." in signing and domain.endswith(f".{signing}"))


async def vouched(
    readers: Readers, ask: AskTxt, peer: str, content: bytes, named: tuple[str, ...], now: float
) -> Vouched | Unknown | None:
    """Who of the named reporters vouches for this mail; None: nobody does."""
    claim = await readers.work(peer, partial(claim_of, content, named))
    unknown: Unknown | None = None
    for signature in claim.signatures if claim is not None else ():
        answer = await ask(signature.record_name)
        if not answer.is_definite:
            unknown = Unknown()
        if claim is None or answer.status is not Status.FOUND or len(answer.records) != 1:
            continue
        record = answer.records[0]
        reading = await readers.work(peer, partial(_read, content, signature, record, now))
        if reading is not None:
            return Vouched(claim.reporter, reading)
    return unknown


def _read(content: bytes, signature: Signature, record: str, now: float) -> Reading | None:
    """What is signed, if it is and is a complaint."""
    if verify_problem(content, signature, record, now):
        return None
    reading = read_report(signed_part(content, signature))
    return reading if reading.kind is Kind.COMPLAINT else None
