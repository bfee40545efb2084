"""Whether the DKIM selectors that we sign with can be found by those who verify.

Mail of a signing domain waits until `SELECTOR._domainkey.DOMAIN` answers with this very public key and a signature of
ours verifies with the record; signed earlier it would fail everywhere. Once live an outage of DNS keeps it live; only a
definite other answer takes that back.
Before it: configuration and `answers`. After it: the gate that `deliver` asks for each message, and `/v1`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lane_api.selector import SelectorFinding
from lane_relay.clock import Clock
from lane_relay.mail.dkim import Publication
from lane_relay.resolve.answers import Answer, Status

__all__ = ["AskTxt", "Prove", "SelectorState", "SelectorWatch", "judge_record"]

AskTxt = Callable[[str], Awaitable[Answer[str]]]
Prove = Callable[[Publication, str], Awaitable[str]]
"""(key, record) -> why a signature of ours does not verify with this record, or an empty string."""

_UNTIL_LIVE_S: Final = 15.0
_WHEN_LIVE_S: Final = 3600.0
_AT_ONCE: Final = 32
"""Names asked at once; of others those come first that were never looked at. A name whose servers are dead has its
place for some 12 s."""


class SelectorState(Struct, frozen=True):
    """What is known of one domain's selector."""

    domain: str
    name: str
    """Of the TXT record."""
    holds_mail: bool = True
    """The domain's mail waits for it."""
    live: bool = False
    finding: SelectorFinding = SelectorFinding.UNCHECKED
    detail: str = "not checked yet"
    checked_at: float = 0.0
    """Unix time, seconds; 0: never."""


def judge_record(answer: Answer[str], public_key: str) -> tuple[SelectorFinding, str, str]:
    """(what DNS holds, why it is that, the record that was found). `public_key`: base64, as in the record's `p=`.

    Two records at one selector are undefined (RFC 6376 section 3.6.2.2): a receiver may pick either.
    """
    if not answer.is_definite:
        return SelectorFinding.UNANSWERED, f"DNS does not answer ({answer.status})", ""
    if answer.status is not Status.FOUND:
        return SelectorFinding.ABSENT, "no TXT record is published", ""
    keys = {key: record for record in answer.records if (key := _published_key(record)) is not None}
    count = sum(_published_key(record) is not None for record in answer.records)
    if count > 1:
        return SelectorFinding.OTHER, f"{count} keys are published at one name, of which receivers take any", ""
    if public_key in keys:
        return SelectorFinding.PUBLISHED, "published", keys[public_key]
    if "" in keys:
        return SelectorFinding.OTHER, "the published key is revoked (an empty p=)", ""
    return SelectorFinding.OTHER, "another key is published" if keys else "the TXT record is no DKIM key", ""


def _published_key(record: str) -> str | None:
    """The `p=` of a key record (RFC 6376 section 3.6.1), white space dropped; None if there is none."""
    for tag in record.split(";"):
        name, equals, value = tag.partition("=")
        if equals and name.strip() == "p":
            return "".join(value.split())
    return None


def _is_same(known: Publication | None, wanted: Publication) -> bool:
    """One record with one key, whether mail waits for it or not yet: a key that comes to sign was looked at before."""
    if known is None:
        return False
    return (known.domain, known.record_name, known.public_half) == (
        wanted.domain,
        wanted.record_name,
        wanted.public_half,
    )


class SelectorWatch:
    """Watches the selectors of all keys in use. `txt` must ask past caches (`dns.ask_txt_afresh`)."""

    def __init__(self, txt: AskTxt, prove: Prove, clock: Clock, on_change: Callable[[str], None]) -> None:
        """`on_change(domain)` is called on the loop when one of the domain's keys may sign, or may not any more."""
        self._txt = txt
        self._prove = prove
        self._clock = clock
        self._on_change = on_change
        self._keys: dict[str, Publication] = {}
        """By record name."""
        self._states: dict[str, SelectorState] = {}
        self._due: dict[str, float] = {}
        self._asked: set[str] = set()
        """Names that are being looked at."""
        self._changed = asyncio.Event()

    def apply(self, publications: tuple[Publication, ...]) -> None:
        """The keys to watch; what is known of those that stay is kept."""
        keys = {one.record_name: one for one in publications}
        changed = {name for name, one in keys.items() if not _is_same(self._keys.get(name), one)}
        self._keys = keys
        self._states = {
            name: SelectorState(one.domain, name, one.holds_mail)
            if name in changed
            else replace(self._states[name], holds_mail=one.holds_mail)
            for name, one in keys.items()
        }
        self._due = {name: 0.0 if name in changed else self._due[name] for name in keys}
        self._changed.set()

    def is_live(self, record_name: str) -> bool:
        """Mail may leave with a signature for which the world looks here."""
        state = self._states.get(record_name)
        return state is not None and state.live

    def states(self) -> tuple[SelectorState, ...]:
        """All that is known, for `/v1`."""
        return tuple(self._states.values())

    async def run(self) -> None:
        """Checks for ever, each name in its own time, so that one whose DNS is dead keeps none waiting; ends by
        cancellation."""
        async with asyncio.TaskGroup() as checks:
            while True:
                self._changed.clear()
                now = self._clock.monotonic()
                idle = [name for name in sorted(self._due, key=self._due.__getitem__) if name not in self._asked]
                due = [name for name in idle if self._due[name] <= now][: _AT_ONCE - len(self._asked)]
                for name in due:
                    self._asked.add(name)
                    checks.create_task(self._check(name))
                later = idle[len(due) :] if len(self._asked) < _AT_ONCE else []  # a place that comes free wakes it
                await self._sleep_until(self._due[later[0]] if later else now + _WHEN_LIVE_S)

    async def _check(self, name: str) -> None:
        try:
            if name in self._keys:
                await self.check(name)
        finally:
            self._asked.discard(name)
            self._changed.set()

    async def check(self, name: str) -> None:
        """Looks once."""
        wanted = self._keys[name]
        finding, detail, record = judge_record(await self._txt(name), wanted.public_half)
        if finding is SelectorFinding.PUBLISHED:
            problem = await self._prove(wanted, record)
            if problem:
                finding, detail = SelectorFinding.OTHER, problem
        current = self._keys.get(name)
        if current is None or not _is_same(current, wanted):
            return  # changed while we asked; the new one is due at once
        wanted = current
        before = self._states[name].live
        after = before if finding is SelectorFinding.UNANSWERED else finding is SelectorFinding.PUBLISHED
        self._states[name] = SelectorState(
            wanted.domain, name, wanted.holds_mail, after, finding, detail, self._clock.now()
        )
        self._due[name] = self._clock.monotonic() + (_WHEN_LIVE_S if after else _UNTIL_LIVE_S)
        if after is not before:
            self._on_change(wanted.domain)

    async def _sleep_until(self, due: float) -> None:
        try:
            async with asyncio.timeout(max(due - self._clock.monotonic(), 0.0)):
                await self._changed.wait()
        except TimeoutError:
            return
