"""Sites that are left alone and for which no mail waits here, packed: some 400 bytes instead of 2 kB and a half.

The long tail of a list is very many small domains, of which some are gone and refuse every connection. Their mail goes
back to the schedule; what is left of each is what the next try has to know: until when its hosts are left alone, how
often they failed in a row and with what, and which addresses are passed over.
Before it: `known_sites`, which asks whether a site may be packed. After it: the same site, once mail comes for it.
Invariants: what was packed comes back as it was; nothing is packed whose limits, orders or connections bind.
"""

from collections.abc import Iterator
from struct import Struct as Layout
from typing import Final

import msgspec
from msgspec import Struct

from lane_api.isppolicy import Stage
from lane_relay.deliver.ready_queue import Destination, Failure, ReadyQueue, SiteLimits
from lane_relay.records import Hop, Reply, Route, TlsResult, Verdict

__all__ = ["ParkedSites", "may_be_packed"]

_MOST: Final = 50_000
"""Sites, some 20 MB; beyond, the one that was packed first is forgotten, which costs one connection attempt."""
_MOST_VERDICTS: Final = 1000
"""Different ones; a table of replies has some hundreds."""
_UNTIL: Final = Layout("<d")


class _Said(Struct, frozen=True, gc=False, array_like=True):
    """A Failure; the verdict by its number."""

    stage: Stage
    reply: Reply
    verdict: int
    tls: TlsResult | None
    ours: bool
    own_words: bool


class _Hosts(Struct, frozen=True, gc=False, array_like=True):
    """What lasts of a Destination; its route without what is the site's."""

    hops: tuple[Hop, ...]
    way: tuple[int, str, str, str, tuple[str, ...]]
    """port, tls, auth_dir, demands, without."""
    pause: tuple[float, float, int]
    """parked_at, parked_until, delivered_before."""
    failures: int
    fruitless: int
    bad: dict[str, float]
    refused: tuple[str, ...]
    hopeful: _Said | None
    seven_bit: bool
    unsure: bool


class _Kept(Struct, frozen=True, gc=False, array_like=True):
    """What lasts of a ReadyQueue."""

    answers: bool
    attempts: int
    delivered: int
    failed: _Said | None
    hosts: tuple[_Hosts, ...]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Kept).decode


def may_be_packed(site: ReadyQueue, now: float) -> bool:
    """Nothing of it is under way or waits, no limit that it has used up binds, and something is to be remembered."""
    if site.policy or site.connections or site.stands_for or site.suspended is not None:
        return False
    if site.body_bytes or site.lacks_room or site.line.length or site.token_line.length:
        return False
    if site.pacing is not None and not site.pacing.is_at_rest(now):
        return False
    hosts = site.destinations.values()
    return all(_is_idle(one) for one in hosts) and any(one.knows_more(now) for one in hosts)


def _is_idle(one: Destination) -> bool:
    busy = one.waiting or one.sessions or one.stands_for or one.looking or one.given_up
    return not busy and one.blame is None


class ParkedSites:
    """By name, the first to be packed first."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._packed: dict[str, bytes] = {}
        """Of each, when its last pause ends, and a _Kept."""
        self._verdicts: dict[Verdict, int] = {}
        self._by_number: list[Verdict] = []
        self._slowed: tuple[Verdict, str, float] | None = None
        """The last reply that slowed every site down, and when."""

    def __len__(self) -> int:
        return len(self._packed)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._packed)

    @property
    def size(self) -> int:
        """Bytes of what is packed, without names and the table's own."""
        return sum(map(len, self._packed.values()))

    def put(self, site: ReadyQueue) -> bool:
        """Takes a site that may be packed; False: it has to stay as it is."""
        if len(self._by_number) >= _MOST_VERDICTS:
            return False
        hosts = tuple([self._hosts(one) for one in site.destinations.values()])
        until = max(max(one.pause[1], *one.bad.values(), 0.0) for one in hosts)
        kept = _Kept(site.answers, site.attempts, site.delivered, self._said(site.last_failure), hosts)
        self._packed.pop(site.name, None)
        if len(self._packed) >= self._most:
            del self._packed[next(iter(self._packed))]
        self._packed[site.name] = _UNTIL.pack(until) + _encode(kept)
        return True

    def take(self, name: str, limits: SiteLimits) -> ReadyQueue | None:
        """The site as it was, which is whole from now on; None: it is not here."""
        site = self.look(name, limits)
        self._packed.pop(name, None)
        return site

    def look(self, name: str, limits: SiteLimits) -> ReadyQueue | None:
        """The site as it would be; it stays packed."""
        packed = self._packed.get(name)
        if packed is None:
            return None
        kept = _decode(memoryview(packed)[_UNTIL.size :])
        site = ReadyQueue(name, "", limits)
        site.answers, site.attempts, site.delivered = kept.answers, kept.attempts, kept.delivered
        site.last_failure = self._failure(kept.failed)
        for one in kept.hosts:
            self._unpack(site, one)
        parked_at = max((one.pause[0] for one in kept.hosts), default=0.0)
        if self._slowed is not None and self._slowed[2] >= parked_at:
            site.slow_down(*self._slowed)
        return site

    def slow_down(self, verdict: Verdict, reason: str, now: float) -> None:
        """A reply slows every site down: also these, once they have mail."""
        self._slowed = verdict, reason, now

    def clear(self) -> None:
        """Other routes: nothing that is known is about them."""
        self._packed.clear()

    def forget(self, now: float, stride: int = 1000) -> Iterator[int]:
        """Drops those whose pause is over; yields how many it looked at, between two looks."""
        names = self.names
        for start in range(0, len(names), stride):
            for name in names[start : start + stride]:
                packed = self._packed.get(name)
                if packed is not None and _UNTIL.unpack_from(packed)[0] <= now:
                    del self._packed[name]
            yield min(stride, len(names) - start)
        if not self._packed:
            self._verdicts.clear()
            self._by_number.clear()

    # -- inside

    def _hosts(self, one: Destination) -> _Hosts:
        route = one.route
        return _Hosts(
            route.hops,
            (route.port, route.tls, route.auth_dir, route.demands, route.without),
            (one.parked_at, one.parked_until, one.delivered_before),
            one.failures,
            one.fruitless,
            one.bad,
            tuple(one.refused),
            self._said(one.hopeful),
            one.seven_bit,
            one.unsure,
        )

    def _unpack(self, site: ReadyQueue, kept: _Hosts) -> None:
        port, tls, auth_dir, demands, without = kept.way
        one = site.destination(Route(site.name, "", kept.hops, port, tls, auth_dir, demands, without))
        one.parked_at, one.parked_until, one.delivered_before = kept.pause
        one.failures, one.fruitless = kept.failures, kept.fruitless
        one.bad, one.refused = kept.bad, frozenset(kept.refused)
        one.hopeful = self._failure(kept.hopeful)
        one.seven_bit, one.unsure = kept.seven_bit, kept.unsure

    def _said(self, failure: Failure | None) -> _Said | None:
        if failure is None:
            return None
        number = self._verdicts.get(failure.verdict)
        if number is None:
            number = self._verdicts[failure.verdict] = len(self._by_number)
            self._by_number.append(failure.verdict)
        return _Said(failure.stage, failure.reply, number, failure.tls, failure.ours, failure.own_words)

    def _failure(self, said: _Said | None) -> Failure | None:
        if said is None:
            return None
        return Failure(said.stage, said.reply, self._by_number[said.verdict], said.tls, said.ours, said.own_words)
