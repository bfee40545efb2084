"""kill -9 at random instants: two slots under mixed traffic, each killed while it delivers.

An instant is drawn when the slot that is to die has at least `IN_FLIGHT` connections open; whether it had so many
deliveries in flight when it died is then counted from the ISPs' records, and only such kills count.
The disk is memory with syncs of `SYNC_MS`: kill -9 keeps the page cache anyway, and how many copies a kill may explain
must not depend on how busy the machine's disk is (power loss is the business of `tests/lane_relay/spool`).
Before: `__main__`. After: `judge`, `census`.
"""

import random
import shutil
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Final

from e2e.internet.policy import Capabilities, Fault, Policy, RecipientRule, Reply, Stage
from e2e.internet.records import Connection, Message, Record
from e2e.load.ledger import Kill
from tests.chaos.census import owned
from tests.chaos.ground import small_volume
from tests.chaos.internet import ChaosInternet
from tests.chaos.judge import LANE_DOMAIN, Findings, Key, TakenOver, TimedKill, in_flight, judge
from tests.chaos.lane import SHARED, ChaosLane
from tests.chaos.last_act import LastWrite, last_write, spread
from tests.chaos.lateness import Lateness
from tests.chaos.layer import Layer
from tests.chaos.mutants import NONE
from tests.chaos.slots import Slot, nursery_of
from tests.chaos.traffic import DOMAINS, HELD, LOOP, Traffic
from tests.lane_relay.running import eventually
from tests.lane_relay.whole.test_feedback import DSN

IN_FLIGHT: Final = 8
SYNC_MS: Final = 5
BASE_BYTES: Final = 60 * 2**20 + 64 * 2**20 + 40 * 10**6
"""60 MiB of an empty relay (bench/NOTES.md), activeBytes, and 200 connections and as many sessions of 100 KB."""
_CENSUS_EVERY: Final = 25
_STUCK_S: Final = 90.0
"""The queue is as long as before: what it has does not leave. The longest pause between two tries is 2 s."""
_MUTANT_STUCK_S: Final = 10.0
"""One that lost count of its queue never says that it is empty."""
_ENDS_WITHIN_S: Final = 120.0
_QUIET_LOOKS: Final = 3
"""While one slot is looked at, the other may hand over to the one that was looked at before."""
_HOLD: Final = b'{"action":"hold","queue":"held.test","owner":"chaos","reason":"a hold outlives kills"}'
_GONE: Final = RecipientRule(match="gone*", reply=Reply(code=550, text="5.1.1 No such user here"))
_DEFER: Final = RecipientRule(match="defer*", reply=Reply(code=450, text="4.2.0 Come back later"), times=1)


@dataclass
class KillsReport:
    """What the campaign found, with its denominators."""

    kills: list[TimedKill] = field(default_factory=list)
    counted: int = 0
    """Of them those with enough deliveries in flight."""
    findings: Findings = field(default_factory=Findings)
    two_owners: list[str] = field(default_factory=list)
    owned: int = 0
    """Recipients that the censuses looked at."""
    handed_over: int = 0
    shared: dict[str, int] = field(default_factory=dict)
    """Messages at the ISPs that both slots send for, by the slot that brought them."""
    reports_taken: int = 0
    reports_lost: list[str] = field(default_factory=list)
    orders_broken: list[str] = field(default_factory=list)
    at: dict[str, int] = field(default_factory=dict)
    """Kills by what the relay did last: accept, commit, send, settle."""
    pushes: int = 0
    repeated: int = 0
    memory_samples: int = 0
    memory_most: int = 0
    memory_exceeded: int = 0
    seconds: float = 0.0

    def told(self) -> str:
        """One line."""
        found = self.findings
        examples = [
            *found.lost[:2],
            *found.stranded[:2],
            *found.unexplained[:2],
            *self.two_owners[:2],
            *self.orders_broken[:2],
        ]
        return (
            f"{len(self.kills)} kills, {self.counted} with {IN_FLIGHT} deliveries in flight; of {found.accepted} "
            f"accepted {len(found.lost)} lost, {len(found.stranded)} stranded; {found.duplicates} repeated, "
            f"{len(found.unexplained)} of them unexplained, {found.moved} by the other slot after a hand-over; "
            f"{len(self.two_owners)} with two owners of {self.owned} counted and of "
            f"{' + '.join(map(str, self.shared.values()))} at ISPs that both slots send for; "
            f"at {', '.join(f'{one} {count}' for one, count in self.at.items())}; "
            f"{self.handed_over} handed over, {len(self.reports_lost)} of {self.reports_taken} reports lost, "
            f"{len(self.orders_broken)} orders broken; memory {self.memory_most / 1e6:.0f} MB at most, "
            f"{self.memory_exceeded} of {self.memory_samples} over; {self.seconds:.0f} s"
            + "".join(f"\n    {one}" for one in examples)
        )


def policies() -> dict[str, Policy]:
    """The ISPs: they defer, refuse, break off and ask for TLS, each a little."""
    plain = Capabilities(starttls=False)
    found = {
        domain: Policy(domains=(domain,), recipients=(_GONE, _DEFER), capabilities=plain)
        for domain in (*DOMAINS, HELD, LOOP)
    }
    busy = Fault(action="reply", reply=Reply(code=451, text="4.3.2 Busy"), every=23)
    found[DOMAINS[0]] = found[DOMAINS[0]].model_copy(update={"faults": {Stage.END_OF_DATA: busy}})
    found[DOMAINS[1]] = found[DOMAINS[1]].model_copy(update={"faults": {Stage.MAIL: Fault(action="drop", every=41)}})
    found[DOMAINS[2]] = found[DOMAINS[2]].model_copy(update={"capabilities": Capabilities()})
    found[LANE_DOMAIN] = Policy(domains=(LANE_DOMAIN,), capabilities=plain)
    return found


class Killing:
    """One campaign."""

    def __init__(self, folder: Path, mutant: str, kills: int, seed: int, say: Callable[[str], None]) -> None:
        """Nothing runs yet."""
        self._folder, self._mutant, self._wanted, self._say = folder, mutant, kills, say
        self._chance = random.Random(seed)
        self._brought: Counter[str] = Counter()
        """How often a bounce of a sender's mail was handed in, for all that one knows."""
        self._seed = seed
        self._syncs: list[float] = []
        self._writes: list[LastWrite] = []
        self.report = KillsReport()

    def run(self) -> KillsReport:
        """Kills, drains, and judges."""
        began = time.monotonic()
        with ExitStack() as stack:
            self._internet = stack.enter_context(ChaosInternet(self._folder, policies()))
            self._layer = Layer(self._folder)
            self._layer.steer(delay_ms=SYNC_MS)
            nursery = nursery_of(self._mutant, self._layer)
            stack.callback(nursery.close)
            stack.enter_context(small_volume(self._folder / "volume", "8g"))
            self._lane = ChaosLane(self._folder / "volume", nursery)
            for slot in self._lane.slots:
                stack.callback(slot.stop)
                slot.start()
            for slot in self._lane.slots:
                slot.wait_ready()
                self._lane.insist(slot, "POST", "/v1/actions", _HOLD, 201)
            self._late = {slot.source: stack.enter_context(self._lateness(slot)) for slot in self._lane.slots}
            traffic = Traffic(self._lane.slots, smtp=10, http=2, pause_s=0.09, seed=self._seed)
            over = threading.Event()
            reporter = threading.Thread(target=self._bring_reports, args=(over,))
            reporter.start()
            try:
                with traffic:
                    self._kill_all()
            finally:
                over.set()
                reporter.join(60)
            self.report.repeated = traffic.repeated
            queued = self._drain()
            records = self._internet.records()
            self._judge(traffic, records, queued)
            self._tell()
        self.report.seconds = time.monotonic() - began
        return self.report

    # killing

    def _lateness(self, slot: Slot) -> Lateness:
        """Of a slot, whatever process it has, and of the ISPs: either's is time that an answer takes to the disk."""
        return Lateness(lambda: [self._internet.pid, *([slot.process.pid] if slot.process is not None else [])])

    def _kill_all(self) -> None:
        for number in range(1, self._wanted + 1):
            slot = self._chance.choice(self._lane.slots)
            self._await_deliveries(slot)
            time.sleep(self._chance.uniform(0, 0.3))
            self._await_deliveries(slot)
            self._measure(slot)
            self._kill(slot)
            if number % _CENSUS_EVERY == 0 or number == self._wanted:
                (other,) = (one for one in self._lane.slots if one is not slot)
                self._measure(other)
                self._kill(other)
                self._census()
                other.start()
            slot.start()
            if number % 7 == 0:
                self._push(self._chance.choice(self._lane.slots))
            if number % 50 == 0 or number == self._wanted:
                self._say(f"{number} of {self._wanted} kills; {self._room()}")

    def _tell(self) -> None:
        for one in self.report.findings.details[:10]:
            self._say(f"unexplained: {one}")

    def _await_deliveries(self, slot: Slot) -> None:
        eventually(
            lambda: self._internet.connections_from(slot.source) >= IN_FLIGHT or slot.has_ended(),
            f"{slot.folder.name} delivers; log: {slot.log()[-2000:]}",
        )
        assert not slot.has_ended(), (
            f"ended with {slot.process and slot.process.poll()}; {self._room()}; {slot.log()[-2000:]}"
        )

    def _room(self) -> str:
        free = shutil.disk_usage(self._folder / "volume").free
        return f"{free / 1e6:.0f} MB free"

    def _kill(self, slot: Slot) -> None:
        waits = self._late[slot.source].until_now()
        at = time.time()
        slot.kill()
        took = time.time() - at
        self._syncs = [*self._syncs[-1:], max(self._layer.longest_sync_s(), SYNC_MS / 1e3)]
        # the longest since the kill before the last: of two kills at once the second has seen no sync
        self.report.kills.append(TimedKill(at, slot.source, max(self._syncs), took, waits))
        self._writes.append(last_write(slot.folder, slot.source, at))

    def _measure(self, slot: Slot) -> None:
        resident = slot.resident_bytes()
        self.report.memory_samples += 1
        self.report.memory_most = max(self.report.memory_most, resident)
        self.report.memory_exceeded += resident > BASE_BYTES

    def _push(self, slot: Slot) -> None:
        """Another configuration: the same limits, another number; by the file, as Kubernetes brings it."""
        slot.generation += 1
        slot.write(slot.overrides)
        self.report.pushes += 1

    def _census(self) -> None:
        first, second = (owned(slot.folder) for slot in self._lane.slots)
        self.report.owned += sum(len(one.mine) + len(one.leaving) for one in (first, second))
        self.report.two_owners += [
            f"{key} in both spools" for key in (first.mine & second.mine) | (first.leaving & second.leaving)
        ]

    # reports that come back

    def _bring_reports(self, over: threading.Event) -> None:
        """A bounce for each message that the ISP `loop.test` took, to whichever slot answers."""
        done: set[str] = set()
        while not over.wait(1.0):
            for one in self._internet.records(LOOP):
                if isinstance(one, Message) and one.sender not in done and self._bring(one):
                    done.add(one.sender)
        self._reported = done

    def _bring(self, message: Message) -> bool:
        slot = self._chance.choice(self._lane.slots)
        try:
            with smtplib.SMTP("127.0.0.1", slot.feedback_port, timeout=20) as peer:
                content = DSN.format(to=message.sender, recipient=message.recipients[0])
                peer.ehlo()
                for code, said in (peer.mail(""), peer.rcpt(message.sender)):
                    if code != 250:
                        raise smtplib.SMTPResponseException(code, said)
                self._brought[message.sender] += 1  # from here on it may be taken and the answer lost
                code, said = peer.data(content.replace("\n", "\r\n").encode())
                if code != 250:
                    raise smtplib.SMTPResponseException(code, said)
        except (OSError, smtplib.SMTPException):
            return False
        self.report.reports_taken += 1
        return True

    # the end

    def _drain(self) -> frozenset[Key]:
        """Lets everything out, and says what is left in the spools."""
        early = [one for one in self._internet.records(HELD) if isinstance(one, Message)]
        self.report.orders_broken += [f"{one.recipients} left under a hold" for one in early]
        for slot in self._lane.slots:
            slot.wait_ready(300)
            orders = self._lane.insist(slot, "GET", "/v1/actions", None, 200)["actions"]
            if [one["action"] for one in orders] != ["hold"]:
                self.report.orders_broken.append(f"{slot.folder.name} knows of {orders}")
            for order in orders:
                path = f"/v1/actions/{order['id']}?owner=chaos&reason=over"
                self._lane.insist(slot, "DELETE", path, None, 200, 404)
        self._await_empty(_STUCK_S if self._mutant == NONE else _MUTANT_STUCK_S)
        for slot in self._lane.slots:
            slot.terminate(_ENDS_WITHIN_S)
        return frozenset(key for slot in self._lane.slots for key in owned(slot.folder).keys)

    def _await_empty(self, patience_s: float) -> None:
        """Returns when the queues are empty, or have got no shorter for so long: how fast is up to the machine."""
        fewest, since, quiet = inf, time.monotonic(), 0
        while quiet < _QUIET_LOOKS and time.monotonic() - since < patience_s:
            waiting = sum(self._waiting(one) for one in self._lane.slots)
            quiet = 0 if waiting else quiet + 1
            if waiting < fewest:
                fewest, since = waiting, time.monotonic()
            time.sleep(0.2)

    @staticmethod
    def _waiting(slot: Slot) -> float:
        """Messages that it has, infinite if it does not say; a relay that ends by itself is a failure."""
        if slot.has_ended():
            raise AssertionError(f"{slot.folder.name} ended: {slot.log()[-3000:]}")
        try:
            return slot.metric("queue_messages")
        except OSError:  # it is too busy to answer in time
            return inf

    def _judge(self, traffic: Traffic, records: list[Record], queued: frozenset[Key]) -> None:
        report = self.report
        own = {slot.source: slot.records() for slot in self._lane.slots}
        report.findings = judge(traffic.offers, records, report.kills, queued, _taken_over(own), self._brought)
        report.two_owners += report.findings.two_owners
        at_shared = [one.source_ip for one in records if isinstance(one, Message) and one.isp in SHARED]
        report.shared = {slot.folder.name: at_shared.count(slot.source) for slot in self._lane.slots}
        report.counted = sum(
            in_flight(_near(records, kill), kill.source_ip, kill.at) >= IN_FLIGHT for kill in report.kills
        )
        report.at = spread(self._writes, records)
        said = [record for records in own.values() for record in records]
        report.handed_over = sum(one["type"] == "HandOver" for one in said)
        known = {recipient for one in said if one["type"] == "OOB" for recipient in _recipients(one)}
        complained = {one.recipients[0] for one in records if isinstance(one, Message) and one.sender in self._reported}
        report.reports_lost = sorted(complained - known)


def _taken_over(own: dict[str, list[dict[str, Any]]]) -> Iterator[TakenOver]:
    """By each slot's records; `own`: its address -> these. The lane has two slots."""
    for to_ip, records in own.items():
        (from_ip,) = own.keys() - {to_ip}
        for one in records:
            if one.get("reception_protocol") == "HandOver":
                for recipient in _recipients(one):
                    yield TakenOver(recipient, from_ip, to_ip, float(one["timestamp"]))


def _recipients(record: dict[str, Any]) -> list[str]:
    found = record.get("recipient", [])
    return [found] if isinstance(found, str) else list(found)


def _near(records: list[Record], kill: Kill) -> list[Record]:
    """What was open or said around a kill."""
    return [
        one
        for one in records
        if one.source_ip == kill.source_ip
        and (
            one.opened <= kill.at and (one.closed is None or one.closed >= kill.at - 1)
            if isinstance(one, Connection)
            else abs(one.at - kill.at) < 1
        )
    ]
