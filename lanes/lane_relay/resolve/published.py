"""What DNS answers for the records that a slot's mail is judged by beside its keys: SPF, MX, DMARC, MTA-STS, TLS-RPT.

Receivers hold SPF of the return path against the address that mail comes from, and ask for DMARC of the From domain;
bounces come to the return path's MX. Each is looked up once an hour while it is right, else once a minute, and at once
when a key, a return path or the address has changed, past every cache of this process. It only tells: no mail waits.
Invariant: an outage of DNS changes nothing; only an answer of the name's own servers does.
Before it: configuration, `spf` and `answers`. After it: `/v1` and the figures.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from lane_api.dnsrecords import RecordFinding, RecordPurpose
from lane_api.relayconfig import Egress
from lane_api.relaysigning import SigningDomain
from lane_relay.clock import Clock
from lane_relay.resolve.answers import Answer, Lookups, MxRecord
from lane_relay.resolve.dns import WireResolver
from lane_relay.resolve.due import keep_looking
from lane_relay.resolve.spf import SpfResult, check_host

__all__ = ["Asked", "PublishedWatch", "RecordState", "look_up"]

_UNTIL_RIGHT_S: Final = 60.0
_WHEN_RIGHT_S: Final = 3600.0
_SHOWN: Final = 256
"""Characters of a record that are told."""
_MOST_UP: Final = 8
"""Names at which DMARC is looked for (RFC 9989 section 4.10)."""
_OF_SPF: Final = {
    SpfResult.PASS: RecordFinding.RIGHT,
    SpfResult.NONE: RecordFinding.ABSENT,
    SpfResult.TEMPERROR: RecordFinding.UNANSWERED,
    SpfResult.UNJUDGED: RecordFinding.UNJUDGED,
}
_WORST_FIRST: Final = (
    RecordFinding.ABSENT,
    RecordFinding.OTHER,
    RecordFinding.UNANSWERED,
    RecordFinding.UNJUDGED,
    RecordFinding.RIGHT,
)
_STS_ID: Final = re.compile(r"\s*id\s*=\s*[A-Za-z0-9]{1,32}\s*")
_REPORTS: Final = re.compile(r"\s*rua\s*=\s*(mailto:|https:).+")
_POLICY: Final = re.compile(r"\s*p\s*=\s*(none|quarantine|reject)\s*", re.IGNORECASE)
_WANTS_REPORTS: Final = re.compile(r"\s*rua\s*=.+", re.IGNORECASE)


class Asked(Struct, frozen=True):
    """What to look up for one From domain."""

    domain: str
    selector: str
    """Which key signs: at a turn of keys all is looked up again."""
    back: str
    """Domain of the return path; empty: the sender's own goes out, and nobody knows which."""
    addresses: tuple[str, ...]
    """That mail leaves from; empty: shared, nobody knows which."""


class RecordState(Struct, frozen=True):
    """What is known of one record."""

    purpose: RecordPurpose
    name: str
    finding: RecordFinding
    detail: str
    """For people: what is so."""
    found: str = ""
    """The record; of several MX their hosts with preference."""
    checked_at: float = 0.0
    """Unix time of the last answer, seconds; 0: never."""


AskRecords = Callable[[Asked], Awaitable[tuple[RecordState, ...]]]


class PublishedWatch:
    """Looks up each From domain's records in turn; `run` is its only task. `ask` must go past caches."""

    def __init__(self, ask: AskRecords, clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._states: dict[str, tuple[RecordState, ...]] = {}
        self._asked: dict[str, Asked] = {}
        self._due: dict[str, float] = {}
        self._changed = asyncio.Event()

    @classmethod
    def over(cls, servers: Callable[[], Sequence[str]], clock: Clock) -> Self:
        """Asks these resolvers, each time by a channel of its own, as `dns.ask_txt_afresh` does."""

        async def ask(asked: Asked) -> tuple[RecordState, ...]:
            resolver = WireResolver(servers())
            try:
                return await look_up(asked, resolver)
            finally:
                await resolver.close()

        return cls(ask, clock)

    def apply(self, domains: Iterable[SigningDomain], egress: Egress) -> None:
        """What to look up; what is known of a domain with the same return path and addresses is kept."""
        both = (egress.address, egress.second.address if egress.second is not None else None)
        addresses = tuple(str(one) for one in both if one is not None)
        asked = {one.name: _asked(one, addresses) for one in domains}
        before, self._asked = self._asked, asked
        same = {name for name, one in asked.items() if name in before and _is_about_same(before[name], one)}
        self._states = {name: self._states.get(name, ()) if name in same else () for name in asked}
        self._due = {name: self._due[name] if one == before.get(name) else 0.0 for name, one in asked.items()}
        self._changed.set()

    def states(self, domain: str) -> tuple[RecordState, ...]:
        """What is known of a From domain's records; none before they were looked at."""
        return self._states.get(domain, ())

    def wrong(self) -> dict[str, float]:
        """How many records are absent, or not as they must be, by purpose."""
        counts = dict.fromkeys((one.value for one in RecordPurpose), 0.0)
        for state in (state for states in self._states.values() for state in states):
            counts[state.purpose.value] += state.finding in (RecordFinding.ABSENT, RecordFinding.OTHER)
        return counts

    async def run(self) -> None:
        """Looks for ever; ends by cancellation."""
        await keep_looking(lambda: self._due, self._changed, self._clock.monotonic, self.look, _WHEN_RIGHT_S)

    async def look(self, domain: str) -> None:
        """Looks once."""
        asked = self._asked[domain]
        found = await self._ask(asked)
        if self._asked.get(domain) != asked:
            return  # changed while we asked; the new one is due at once
        known = {one.purpose: one for one in self._states[domain]}
        self._states[domain] = tuple(self._after(known.get(one.purpose), one) for one in found)
        right = all(one.finding in (RecordFinding.RIGHT, RecordFinding.UNJUDGED) for one in found)
        self._due[domain] = self._clock.monotonic() + (_WHEN_RIGHT_S if right else _UNTIL_RIGHT_S)

    def _after(self, before: RecordState | None, found: RecordState) -> RecordState:
        if found.finding is not RecordFinding.UNANSWERED:
            return replace(found, checked_at=self._clock.now())
        return before if before is not None and before.checked_at else found


def _asked(domain: SigningDomain, addresses: tuple[str, ...]) -> Asked:
    back = domain.return_path
    return Asked(
        domain.name, domain.selector, back.domain if back is not None and back.mode == "Rewrite" else "", addresses
    )


def _is_about_same(one: Asked, other: Asked) -> bool:
    return (one.back, one.addresses) == (other.back, other.addresses)


async def look_up(asked: Asked, lookups: Lookups) -> tuple[RecordState, ...]:
    """Each record once; MTA-STS and TLS-RPT only where they are published."""
    states = [await _dmarc(asked.domain, lookups)]
    if not asked.back:
        return tuple(states)
    states.append(await _mx(asked.back, lookups))
    if asked.addresses:
        verdicts = [await _spf(one, asked.back, lookups) for one in asked.addresses]
        states.append(min(verdicts, key=lambda one: _WORST_FIRST.index(one.finding)))
    states += _if_published(
        RecordPurpose.MTA_STS, f"_mta-sts.{asked.back}", await lookups.txt(f"_mta-sts.{asked.back}"), "STSv1", _STS_ID
    )
    states += _if_published(
        RecordPurpose.TLS_RPT, f"_smtp._tls.{asked.back}", await lookups.txt(f"_smtp._tls.{asked.back}"), "TLSRPTv1",
        _REPORTS,
    )  # fmt: skip
    return tuple(states)


async def _spf(address: str, back: str, lookups: Lookups) -> RecordState:
    verdict = await check_host(address, back, lookups)
    finding = _OF_SPF.get(verdict.result, RecordFinding.OTHER)
    detail = verdict.why
    if verdict.record and finding is not RecordFinding.UNANSWERED:
        detail = f"for {address} SPF of {back} comes to {verdict.result} ({verdict.why})"
    return RecordState(RecordPurpose.SPF, back, finding, detail, verdict.record[:_SHOWN])


async def _mx(back: str, lookups: Lookups) -> RecordState:
    answer = await lookups.mx(back)
    if not answer.is_definite:
        return _unanswered(RecordPurpose.MX, back, answer)
    found = ", ".join(f"{one.preference} {one.host or '.'}" for one in sorted(answer.records, key=_by_preference))
    if not answer.records:
        return RecordState(RecordPurpose.MX, back, RecordFinding.ABSENT, f"{back} has no MX record")
    if not any(one.host for one in answer.records):
        detail = f"the MX of {back} says that it takes no mail"
        return RecordState(RecordPurpose.MX, back, RecordFinding.OTHER, detail, found)
    return RecordState(RecordPurpose.MX, back, RecordFinding.RIGHT, f"MX {back} = {found}", found[:_SHOWN])


def _by_preference(one: MxRecord) -> tuple[int, str]:
    return (one.preference, one.host)


async def _dmarc(domain: str, lookups: Lookups) -> RecordState:
    """The first that is found on the way up; a name with two has none (RFC 7489 section 6.6.3)."""
    labels, own = domain.split("."), f"_dmarc.{domain}"
    ups = [".".join(labels[at:]) for at in range(len(labels) - 1)][-_MOST_UP:]
    for name in dict.fromkeys((domain, *ups)):
        answer = await lookups.txt(f"_dmarc.{name}")
        if not answer.is_definite:
            return _unanswered(RecordPurpose.DMARC, f"_dmarc.{name}", answer)
        texts = _of_version(answer, "DMARC1")
        if len(texts) > 1:
            detail = f"_dmarc.{name} has {len(texts)} DMARC records, of which receivers take none"
            return RecordState(RecordPurpose.DMARC, own, RecordFinding.OTHER, detail, texts[0][:_SHOWN])
        if texts:
            tags = texts[0].split(";")[1:]
            says = any(_POLICY.fullmatch(tag) for tag in tags) or any(_WANTS_REPORTS.fullmatch(tag) for tag in tags)
            finding = RecordFinding.RIGHT if says else RecordFinding.OTHER
            detail = f"_dmarc.{name} {'has a policy' if says else 'names no policy: p=none, quarantine or reject'}"
            return RecordState(RecordPurpose.DMARC, own, finding, detail, texts[0][:_SHOWN])
    return RecordState(RecordPurpose.DMARC, own, RecordFinding.ABSENT, f"{domain} has no DMARC record, nor one above")


def _if_published(
    purpose: RecordPurpose, name: str, answer: Answer[str], version: str, needed: re.Pattern[str]
) -> list[RecordState]:
    """Nothing where there is none: nobody has to publish it."""
    texts = _of_version(answer, version)
    if not texts:
        return []
    found = texts[0][:_SHOWN]
    if len(texts) > 1:
        detail = f"{name} has {len(texts)} records of {version}, of which senders take none"
        return [RecordState(purpose, name, RecordFinding.OTHER, detail, found)]
    if not any(needed.fullmatch(tag) for tag in texts[0].split(";")[1:]):
        lacks = "id" if purpose is RecordPurpose.MTA_STS else "rua"
        return [RecordState(purpose, name, RecordFinding.OTHER, f"{name} has no {lacks} that can be read", found)]
    return [RecordState(purpose, name, RecordFinding.RIGHT, f"{name} is as it must be", found)]


def _of_version(answer: Answer[str], version: str) -> list[str]:
    """Records that begin with `v=VERSION`, sorted: servers give them in any order."""
    head = re.compile(rf"v\s*=\s*{version}\s*(;.*)?", re.DOTALL)
    return sorted(text for text in answer.records if head.fullmatch(text))


def _unanswered(purpose: RecordPurpose, name: str, answer: Answer[str] | Answer[MxRecord]) -> RecordState:
    said = f"DNS does not answer for {purpose.record_type} {name} ({answer.status})"
    return RecordState(purpose, name, RecordFinding.UNANSWERED, said)
