"""kill -9 at each step of the hand-over protocol: two real relays, a door before each, and one owner at each instant.

The giver is being emptied, the receiver holds what it takes. In each case mail for three domains goes from one to the
other until the step; the victims die there, everybody's disk is read as it is at this instant, the victims come back,
and the disks are read again when all is with the receiver. At the end both deliver, and the ISP is asked what came.
Before: `__main__`. After: `steps`, `crossing`, `census`.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.census import copies
from tests.chaos.crossing import Door, Stop
from tests.chaos.layer import Layer
from tests.chaos.mutants import NONE
from tests.chaos.pairs import PairsReport
from tests.chaos.slots import Slot, nursery_of
from tests.chaos.steps import BOOK, SEGMENTS, Case, Side
from tests.lane_relay.running import Sink, eventually, letter
from tests.lane_relay.whole.test_handover import Lane

_ISP: Final = "127.0.0.79"
_DOMAINS: Final = ("one.test", "two.test", "three.test")
_NAMES: Final[dict[Side, str]] = {"giver": "otp-0", "receiver": "otp-1"}
_COUNTED: Final = (BOOK, SEGMENTS)
"""Files that a step of the protocol waits for; records and removed segments are synced whenever somebody tidies up."""
_HANGS_MS: Final = 3_600_000
_WITHIN_S: Final = 60.0
_MUTANT_WITHIN_S: Final = 20.0
_SAID_EVERY: Final = 40
_LOOKS_S: Final = 0.05
"""How long a receiver that hangs is watched for an answer that it must not give."""
_MUTANT_LOOKS_S: Final = 3.0


@dataclass
class StepsReport:
    """What was found, with its denominators."""

    planned: int = 0
    killed: int = 0
    """Cases in which the step was reached and the victims died there."""
    missed: list[str] = field(default_factory=list)
    """Steps that were not reached."""
    submitted: int = 0
    owned: int = 0
    """Recipients that were looked at on both disks, each time."""
    lost: list[str] = field(default_factory=list)
    two_owners: list[str] = field(default_factory=list)
    """On the disks, at one instant."""
    stranded: list[str] = field(default_factory=list)
    """What did not come to its end after the victims were back."""
    arrived: int = 0
    repeated: list[str] = field(default_factory=list)
    """What the ISP got more than once."""
    early: list[str] = field(default_factory=list)
    """Answers that left before the receiver's disk had what they say."""
    offered_again: list[str] = field(default_factory=list)
    paired: PairsReport = field(default_factory=PairsReport)
    """The same on simulated disks."""
    seconds: float = 0.0

    @property
    def findings(self) -> list[str]:
        """All that must not be."""
        return [*self.lost, *self.two_owners, *self.stranded, *self.repeated, *self.early, *self.offered_again]

    def told(self) -> str:
        """One line, and examples."""
        return (
            f"{self.killed} of {self.planned} steps of a hand-over killed; of {self.submitted} recipients "
            f"{len(self.lost)} lost, {len(self.stranded)} stranded, {len(self.repeated)} of {self.arrived} at the ISP "
            f"twice; {len(self.two_owners)} with two owners of {self.owned} looked at; {len(self.early)} answers "
            f"before the disk, {len(self.offered_again)} offers repeated; {self.seconds:.0f} s"
            + "".join(f"\n    {one}" for one in [*self.missed[:6], *self.findings[:6]])
        )


class Stepping:
    """One campaign."""

    def __init__(
        self, folder: Path, mutant: str, cases: Iterable[Case], say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Nothing runs yet; `folder` must be there. `say` hears now and then how far it is."""
        self._say = say
        self._folder, self._mutant, self._cases = folder, mutant, list(cases)
        self.report = StepsReport(planned=len(self._cases))
        self._within_s = _WITHIN_S if mutant == NONE else _MUTANT_WITHIN_S
        self._sent: list[str] = []
        self._told: set[str] = set()

    def run(self) -> StepsReport:
        """Each case, then the delivery of all."""
        began = time.monotonic()
        with ExitStack() as stack:
            self._sink = stack.enter_context(Sink(_ISP))
            self._begin(stack)
            for number, case in enumerate(self._cases, start=1):
                self._run(case)
                if number % _SAID_EVERY == 0:
                    self._say(f"{number} of {len(self._cases)} steps, {time.monotonic() - began:.0f} s")
                if self._mutant != NONE and self.report.findings:
                    break
            else:
                self._deliver()
        self.report.seconds = time.monotonic() - began
        return self.report

    # both slots, and the doors between

    def _begin(self, stack: ExitStack) -> None:
        lane = Lane(self._folder)
        lane.certify("door", ("localhost",))
        self._doors: dict[Side, Door] = {}
        self._slots: dict[Side, Slot] = {}
        self._layers: dict[Side, Layer] = {}
        for side, name in _NAMES.items():
            self._doors[side] = stack.enter_context(Door(self._folder, lane.ports[name]))
        for side, name in _NAMES.items():
            other: Side = "receiver" if side == "giver" else "giver"
            own = self._folder / side
            own.mkdir()
            layer = self._layers[side] = Layer(own, _COUNTED)
            nursery = nursery_of(self._mutant, layer)
            stack.callback(nursery.close)
            state = "TransferringSuspended" if side == "giver" else "Held"
            door = {"port": self._doors[other].port}
            slot = Slot(own / "slot", lane.slot(name, self._sink, state, **door), nursery=nursery)
            self._slots[side] = slot.start()
            stack.callback(slot.stop)
        for slot in self._slots.values():
            slot.wait_ready()

    # one case

    def _run(self, case: Case) -> None:
        stop = self._come_to(case)
        if stop is None:
            self.report.missed.append(str(case))
        else:
            for side in case.victims:
                self._slots[side].kill()
            self.report.killed += 1
            self._census(str(case))
        self._come_back(stop, case)
        self._await_the_end(str(case))
        if stop is not None and case.step.is_brought:
            stop.go_on()
            stop.over.wait(self._within_s)
        self._census(f"in the end, {case}")

    def _come_to(self, case: Case) -> Stop | None:
        """Mail goes so far; None if the step is not reached."""
        step, door = case.step, self._doors["giver" if case.step.asks_back else "receiver"]
        if step.at[0] == "connect":
            door.hang_up()
        self._doors["receiver"].cuts = step.cuts
        if step.asks_back:
            self._submit()
            self._within(self._is_settled)
            self._slots["receiver"].kill()
            stop = door.stop_at(*step.at, times=step.times)
            self._slots["receiver"].start()
        else:
            stop = door.stop_at(*step.at, times=step.times)
            self._submit()
        if not stop.reached.wait(self._within_s):
            door.forget(stop)
            return None
        if step.finds_more:
            self._submit()
        if step.hangs is not None and not self._hangs(case, stop.go_on):
            return None
        return stop

    def _hangs(self, case: Case, go_on: Callable[[], None]) -> bool:
        """Whether the side comes to its sync, and to nothing that must wait for it."""
        step = case.step
        assert step.hangs is not None
        layer, door = self._layers[step.hangs], self._doors["receiver"]
        met, said = layer.met, door.seen[step.not_yet] if step.not_yet else 0
        layer.steer(delay_ms=_HANGS_MS, only=step.sync, word=step.word)
        go_on()
        hangs = self._within(lambda: layer.met > met)
        if hangs and step.not_yet is not None:
            looks_until = time.monotonic() + (_LOOKS_S if self._mutant == NONE else _MUTANT_LOOKS_S)
            while time.monotonic() < looks_until and door.seen[step.not_yet] == said:
                time.sleep(0.005)
            if door.seen[step.not_yet] > said:
                self.report.early.append(f"{' '.join(step.not_yet)} while the disk hung: {case}")
        return hangs

    def _submit(self) -> None:
        """One message to three domains: three parcels of one transfer."""
        number = len(self._sent) // len(_DOMAINS)
        recipients = [f"letter{number}@{domain}" for domain in _DOMAINS]
        message = letter(number, recipient=recipients[0])
        message.set_content("A line of a letter that is long enough to be cut in two.\r\n" * 100)
        with self._slots["giver"].session() as client:
            client.send_message(message, to_addrs=recipients)
        self._sent += recipients
        self.report.submitted += len(recipients)

    def _come_back(self, stop: Stop | None, case: Case) -> None:
        """The victims live again; what was stopped breaks before that, or after."""
        for layer in self._layers.values():
            layer.steer()
        for door in self._doors.values():
            door.cuts = frozenset()
        if stop is not None and case.hears_first and not case.step.is_brought:
            stop.cut()
        for side in reversed(case.victims):  # the receiver first: a giver that finds it asks at once
            slot = self._slots[side]
            if slot.has_ended():
                slot.start()
            slot.wait_ready()
        if stop is not None and not case.step.is_brought:
            stop.cut()

    def _await_the_end(self, what: str) -> None:
        """All mail is with the receiver, and nothing in doubt."""
        if not self._within(self._is_settled):
            self.report.stranded.append(f"{self._state()}: {what}")

    def _is_settled(self) -> bool:
        giver, receiver = (slot.metrics() for slot in self._slots.values())
        left = giver["queue_messages"] + giver.get("handover_in_doubt", 0)
        noted = list((self._slots["giver"].folder / "spool" / "handover").glob("given-*"))
        return not left and not noted and receiver["queue_messages"] >= len(self._sent)

    def _state(self) -> str:
        asked = ("queue_messages", "handover_in_doubt", "handover_owed")
        return ", ".join(
            f"{side}: {' '.join(f'{one} {slot.metric(one):.0f}' for one in asked)}"
            for side, slot in self._slots.items()
        )

    def _within(self, look: Callable[[], object]) -> bool:
        """Whether it comes true in time; a relay that ends by itself is a failure."""
        until = time.monotonic() + self._within_s
        while not look():
            for slot in self._slots.values():
                assert not slot.has_ended(), f"{slot.folder} ended: {slot.log()[-3000:]}"
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    # who owns what

    def _census(self, what: str) -> None:
        with self._still():
            (mine, leaving), (theirs, others) = (copies(slot.folder) for slot in self._slots.values())
        by = [Counter({key[1]: count for (key, _), count in one.items()}) for one in (mine, leaving, theirs + others)]
        for recipient in self._sent:
            given, under_way, taken = (one[recipient] for one in by)
            owners = given + taken + (0 if taken else under_way)  # noted and taken: it is the receiver's
            if owners != 1 and recipient not in self._told:
                self._told.add(recipient)
                said = f"{recipient}: giver {given}, under way {under_way}, receiver {taken}: {what}"
                (self.report.two_owners if owners else self.report.lost).append(said)
        self.report.owned += len(self._sent)

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Whoever lives stands still: its disk is what a crash at this instant would leave."""
        alive = [slot.process for slot in self._slots.values() if not slot.has_ended() and slot.process is not None]
        for one in alive:
            one.send_signal(signal.SIGSTOP)
        try:
            for one in alive:
                eventually(lambda pid=one.pid: _stands_still(pid), f"{one.pid} stands still")  # type: ignore[misc]
            yield
        finally:
            for one in alive:
                one.send_signal(signal.SIGCONT)

    # the end

    def _deliver(self) -> None:
        """Both die once more and come back, owe nothing, and deliver what they have."""
        for slot in self._slots.values():
            slot.kill()
        for slot in self._slots.values():
            slot.start()
        for slot in self._slots.values():
            slot.wait_ready()
        if not self._within(lambda: not self._slots["receiver"].metric("handover_owed")):
            self.report.stranded.append(f"owed for ever: {self._state()}")
        for slot in self._slots.values():
            slot.change(delivery={"state": "Running"})
        if not self._within(lambda: not any(slot.metric("queue_messages") for slot in self._slots.values())):
            self.report.stranded.append(f"not delivered: {self._state()}")
        arrived = Counter(one for message in self._sink.arrived for one in message.recipients)
        self.report.arrived = len(arrived)
        self.report.repeated = [f"{one} came {count} times" for one, count in arrived.items() if count > 1]
        self.report.lost += [one for one in self._sent if not arrived[one] and one not in self._told]
        offered = [one for door in self._doors.values() for one, times in door.offers.items() if times > 1]
        self.report.offered_again = [f"transfer {one}" for one in offered]


def _stands_still(pid: int) -> bool:
    """Every thread of the process."""
    tasks = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(one.read_text().rpartition(")")[2].split()[0] in "TtZX" for one in tasks)
