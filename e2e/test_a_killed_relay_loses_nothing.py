"""Twenty times `kill -9` of a relay's process under load: all that got 250 arrives, and every second copy is explained.

Explained is judged from the ISPs' log and the times of the kills alone: a kill accounts for at most as many second
copies as the slot had connections open, each first copy at most 1 s old. Kills come in turn while a client is in the
middle of its message (accept), just after its last octet (commit), amid deliveries (send) and just after an ISP said
250 (settle). kill -9 keeps the page cache: what a power loss leaves is tests/lane_relay/spool/test_power_loss.py.
The same judgement finds a record that was taken away and copies that were added. Engine: Multus.
"""

import asyncio
import hashlib
import itertools
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, pool
from e2e.internet import addresses
from e2e.internet.counting import open_at
from e2e.internet.internet import Load
from e2e.internet.policy import Stage
from e2e.internet.records import Connection, Message, Record
from e2e.load.ledger import Comparison, Entry, Kill, compare
from e2e.outbound import Outbound, record_e2e, sending_lane

pytestmark = [pytest.mark.cluster, pytest.mark.quiet, pytest.mark.timeout(400)]

LANE = "killed"
ADDRESSES = ("203.0.113.170", "203.0.113.171")
KILLS = 20
IN_FLIGHT = 8
DOMAINS = ("gmail-like.example", "yahoo-like.example", "gmx-like.example", "freemail.example")
ISPS = (addresses.GMAIL, addresses.YAHOO, addresses.GMX, addresses.FREEMAIL)
CONNECTIONS = 4  # to each ISP: 16 a slot
END_OF_DATA_S = 0.6  # most of a delivery's time, so that most connections are in one
CHUNK, CHUNK_RATE = 400, 40.0  # to each slot, more than it passes on; a generator after the other until the end
MOMENTS = ("accept", "commit", "send", "settle")
SENDER = f"news@{LANE}.example.com"


@pytest.fixture(scope="module")
def killed(sending_namespace: Installation) -> str:
    """The lane, with two slots."""
    here = sending_namespace
    here.apply(
        pool("killed", here.namespace, *ADDRESSES),
        sending_lane(LANE, here.namespace, "killed", replicas=2, limits={"connectionsPerIP": CONNECTIONS}),
    )
    here.wait_ready(LANE)
    return LANE


@dataclass
class Victim:
    """One slot and the process that it runs at present."""

    pod: str
    host: str
    port: int
    address: str
    pid: int = 0
    kills: int = 0
    loads: list[Load] = field(default_factory=list)


@dataclass
class Assault:
    """What was done, and what clients were told meanwhile."""

    outbound: Outbound
    kills: list[Kill] = field(default_factory=list)
    moments: Counter[str] = field(default_factory=Counter)
    entries: list[Entry] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)  # message ids whose last octet was never sent

    async def kill(self, victim: Victim, moment: str) -> None:
        """Kills the relay of a slot that has enough under way, at this moment of its work."""
        here = self.outbound.here
        victim.pid = eventually(lambda: self._next_process(victim), f"{victim.pod} runs again", every=0.1)
        await self._until(lambda: self._busy(victim), f"{victim.pod} has {IN_FLIGHT} deliveries under way")
        strike: dict[str, Callable[[Victim], Awaitable[None]]] = {
            "accept": self._amid_a_message,
            "commit": self._after_the_last_octet,
            "send": self._now,
            "settle": self._after_a_delivery,
        }
        await strike[moment](victim)
        victim.kills += 1
        self.moments[moment] += 1
        assert here.is_there("pod", victim.pod)

    async def feed(self, victim: Victim) -> None:
        """Goes on submitting to the slot itself: a Service's clients would all move to the slot that lives."""
        if victim.loads and victim.loads[-1].running():
            return
        stream = f"{victim.pod}-{len(victim.loads)}"
        door = (victim.host, victim.port)
        victim.loads.append(await self.outbound.load(stream, LANE, door, DOMAINS, CHUNK, CHUNK_RATE))

    def _next_process(self, victim: Victim) -> int:
        pid = self.outbound.here.cluster.container_pid(self.outbound.here.namespace, victim.pod, "relay")
        return pid if pid != victim.pid else 0

    async def _busy(self, victim: Victim) -> bool:
        await self.feed(victim)
        counts = await self.outbound.isps.counts()
        return sum(isp.get(victim.address, {}).get("connections_now", 0) for isp in counts.values()) >= IN_FLIGHT + 4

    async def _until(self, condition: Callable[[], Awaitable[bool]], what: str, every: float = 0.1) -> None:
        deadline = time.monotonic() + 60
        while not await condition():
            assert time.monotonic() < deadline, f"not within 60 s: {what}"
            await asyncio.sleep(every)

    async def _now(self, victim: Victim) -> None:
        self.kills.append(Kill(time.time(), victim.address))
        os.kill(victim.pid, signal.SIGKILL)

    async def _amid_a_message(self, victim: Victim) -> None:
        reader, writer, entry = await self._begin_message(victim)
        self.unfinished.append(entry.message_id)
        await self._now(victim)
        assert await _last_words(reader) == b""
        writer.close()

    async def _after_the_last_octet(self, victim: Victim) -> None:
        """The end of data, and the kill 0 to 4 ms after it: before, within and after the commit."""
        reader, writer, entry = await self._begin_message(victim)
        writer.write(b".\r\n")
        await writer.drain()
        await asyncio.sleep(0.001 * (self.moments["commit"] % 5))
        await self._now(victim)
        said = await _last_words(reader)
        outcome = "accepted" if said.startswith(b"250") else "in-doubt"
        self.entries.append(msgspec.structs.replace(entry, outcome=outcome, text=said.decode(), replied=time.time()))
        writer.close()

    async def _after_a_delivery(self, victim: Victim) -> None:
        async def delivered() -> int:
            counts = await self.outbound.isps.counts()
            return sum(isp.get(victim.address, {}).get("messages", 0) for isp in counts.values())

        before = await delivered()

        async def more() -> bool:
            return await delivered() > before

        await self._until(more, f"{victim.pod} delivers", every=0.0)
        await self._now(victim)

    async def _begin_message(self, victim: Victim) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Entry]:
        """A session of our own that has sent all of a message but the end of data."""
        place = self.outbound.internet.place
        reader, writer = await place.open_connection(victim.host, victim.port, source=addresses.CLIENT)  # type: ignore[attr-defined]  # the cluster's place, not the protocol's least
        number = f"probe{len(self.kills)}.{secrets.token_hex(4)}"
        recipient = f"{number}@{DOMAINS[0]}"
        dialogue = (
            (b"", b"220"),
            (b"EHLO probe.example.net\r\n", b"250 "),
            (f"MAIL FROM:<{SENDER}>\r\n".encode(), b"250"),
            (f"RCPT TO:<{recipient}>\r\n".encode(), b"250"),
            (b"DATA\r\n", b"354"),
        )
        for command, wanted in dialogue:
            writer.write(command)
            while not (line := await reader.readline()).startswith(wanted):
                assert line[3:4] == b"-", line
        message_id, now = f"<{number}@{LANE}.example.com>", time.time()
        head = f"From: <{SENDER}>\r\nTo: <{recipient}>\r\nMessage-ID: {message_id}\r\nSubject: probe\r\n"
        body = b"a probe\r\n"
        writer.write(f"{head}Date: Mon, 23 Nov 2026 08:00:00 +0000\r\n\r\n".encode() + body)
        await writer.drain()
        digest = hashlib.sha256(body).hexdigest()
        entry = Entry("probe", message_id, "", SENDER, recipient, digest, now, now, now, "in-doubt", 0, "", 1)
        return reader, writer, entry


async def _last_words(reader: asyncio.StreamReader) -> bytes:
    """What a relay that was killed still said."""
    try:
        return await reader.read(200)
    except ConnectionResetError:
        return b""


async def _assail(outbound: Outbound, victims: list[Victim]) -> Assault:
    """All kills under load; the last generators may still send."""
    assault = Assault(outbound)
    for victim in victims:
        await assault.feed(victim)
    # a slot is killed at every moment in turn: two slots, four moments
    for number, victim in zip(range(KILLS), itertools.cycle(victims), strict=False):
        await assault.kill(victim, MOMENTS[number // 2 % len(MOMENTS)])
    return assault


def _in_flight(records: list[Record], of_slot: list[Entry], kill: Kill) -> int:
    """Deliveries under way at the kill: open connections, each with one of the messages that waited for one."""
    arrived: dict[str, float] = {}
    for one in records:
        if isinstance(one, Message):
            arrived[one.message_id] = min(one.at, arrived.get(one.message_id, one.at))
    waiting = sum(one.replied <= kill.at < arrived.get(one.message_id, kill.at) for one in of_slot)
    return min(_open(records, kill), waiting)


def _open(records: list[Record], kill: Kill) -> int:
    spans = [
        (one.opened, one.closed) for one in records if isinstance(one, Connection) and one.source_ip == kill.source_ip
    ]
    return open_at(spans, kill.at)


@pytest.mark.long("tests/chaos/test_kills.py")
async def test_twenty_kills_lose_nothing_and_explain_every_copy(outbound: Outbound, killed: str) -> None:
    for isp in ISPS:
        await outbound.policy(isp, delays={Stage.END_OF_DATA: END_OF_DATA_S})
    ips = [slot["ip"] for slot in outbound.here.get("sendinglane", LANE)["status"]["slots"]]
    victims = [Victim(slot.pod, slot.host, slot.port, ip) for slot, ip in zip(outbound.slots(LANE), ips, strict=True)]
    assault = await _assail(outbound, victims)

    entries = list(assault.entries)
    for load in (load for victim in victims for load in victim.loads):
        entries += await load.done(90)
    for isp in ISPS:
        await outbound.policy(isp, round_trip_s=0.0)
    await outbound.arrivals([one for one in entries if one.outcome == "accepted"], within=120)
    records = await outbound.internet.records([isp.name for isp in ISPS])

    expected = {stream: frozenset(ADDRESSES) for stream in {one.stream for one in entries}}
    found = compare(entries, records, expected, assault.kills)
    accepted = {
        one.address: [e for e in entries if e.stream.startswith(one.pod) and e.outcome == "accepted"] for one in victims
    }
    in_flight = [_in_flight(records, accepted[kill.source_ip], kill) for kill in assault.kills]
    _record(found, assault, in_flight)
    assert found.accepted > 1000
    assert (found.lost, found.unexplained) == ([], [])
    assert (found.altered, found.misdirected, found.wrong_ip, found.refused) == ([], [], [], 0)
    assert len(in_flight) == KILLS
    assert min(in_flight) >= IN_FLIGHT, in_flight
    assert set(assault.moments) == set(MOMENTS)
    assert min(assault.moments.values()) >= KILLS // len(MOMENTS) - 1
    assert {slot.pod: slot.restarts for slot in outbound.slots(LANE)} == {one.pod: one.kills for one in victims}
    arrived = {one.message_id for one in records if isinstance(one, Message)}
    assert arrived.isdisjoint(assault.unfinished)
    _judge_finds_seeded_faults(entries, records, expected, assault.kills)


def _record(found: Comparison, assault: Assault, in_flight: list[int]) -> None:
    record_e2e("kill_lost", len(found.lost), "messages")
    record_e2e("kill_unexplained_duplicates", len(found.unexplained), "messages")
    record_e2e("kill_accepted", found.accepted, "messages", None)
    record_e2e("kill_duplicates", sum(found.duplicated.values()), "copies", None)
    record_e2e("kill_kills", len(assault.kills), "kills", None)
    record_e2e("kill_in_flight_least", min(in_flight), "deliveries", None)


def _judge_finds_seeded_faults(
    entries: list[Entry], records: list[Record], expected: dict[str, frozenset[str]], kills: list[Kill]
) -> None:
    """The comparison of this run with a message taken away, a copy without a kill, and more copies than connections."""
    copies = Counter(one.message_id for one in records if isinstance(one, Message))
    taken = next(one.message_id for one in entries if one.outcome == "accepted")
    fewer = [one for one in records if not (isinstance(one, Message) and one.message_id == taken)]
    lost = compare(entries, fewer, expected, kills).lost
    record_e2e("kill_lost_seeded", len(lost), "messages", None)
    assert lost == [taken]

    single = [one for one in records if isinstance(one, Message) and copies[one.message_id] == 1]
    last = max(single, key=lambda one: one.at)
    quiet = max(kill.at for kill in kills) + 2.0
    assert last.connection_opened > quiet or last.at > quiet
    again = msgspec.structs.replace(last, at=last.at + 1.0)
    assert compare(entries, [*records, again], expected, kills).unexplained == [last.message_id]

    kill = kills[-1]
    before = [one for one in single if one.source_ip == kill.source_ip][: _open(records, kill) + 1]
    assert len(before) > _open(records, kill)
    # as if each had just been answered, over a connection that was opened in the killed process's life
    cut = [msgspec.structs.replace(one, at=kill.at, connection_opened=kill.at - 0.01) for one in before]
    resent = [msgspec.structs.replace(one, at=kill.at + 5.0, connection_opened=kill.at + 4.0) for one in before]
    ids = {one.message_id for one in before}
    others = [one for one in records if not (isinstance(one, Message) and one.message_id in ids)]
    too_many = compare(entries, [*others, *cut, *resent], expected, kills).unexplained
    record_e2e("kill_unexplained_duplicates_seeded", len(too_many) + 1, "messages", None)
    assert too_many
