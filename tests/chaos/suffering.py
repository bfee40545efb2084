"""One fault from beginning to end, beside an ISP that has nothing to do with it.

The fault with mail for the faulty ISPs and for the control ISP, the end of the fault, and everything out. A twin that
the fault does not touch sends the same mail for the control ISP in the same seconds, so that what the machine does to
both is no difference. Control mail is sent at a fixed rate; its latency runs from the scheduled time, and is infinite
where it was refused or did not arrive.
Before: `__main__`. After: `faults`, which inflicts, and `e2e.load.ledger`, which judges.
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

from e2e.internet.policy import Capabilities, Policy
from e2e.internet.records import Message
from e2e.load.generate import LoadConfig
from e2e.load.ledger import Comparison, Entry, compare, latencies, percentile, read
from tests.chaos.faults import SOURCE, Fault, Setting
from tests.chaos.ground import CHECKOUT, NETWORK, small_volume
from tests.chaos.internet import RESOLVER, ChaosInternet
from tests.chaos.judge import LANE_DOMAIN
from tests.chaos.layer import Layer
from tests.chaos.mutants import NONE
from tests.chaos.slots import Slot, nursery_of
from tests.lane_relay.forked import Nursery
from tests.lane_relay.running import eventually

CONTROL: Final = "control.test"
TWIN: Final = f"{NETWORK}.2"
_STREAMS: Final = ("warm", "warm-twin", "warm-faulty", "quiet", "faulty", "control")
_PER_SESSION: Final = 10
"""Control mail's clients come anew after so many messages: a door that is shut is felt."""
RATE: Final = 50.0
"""Control messages a second, so that either phase has a thousand; the faulty ISPs' come twice as fast if small."""
_DRAINED_WITHIN_S: Final = 240.0
BASE_BYTES: Final = 60 * 2**20 + 64 * 2**20
"""An empty relay (bench/NOTES.md) and activeBytes as it is without a word; the whole bound adds what follows for each
session, connection and queued message."""
SESSION_BYTES: Final = 64 * 1024
CONNECTIONS: Final = 200
"""To peers, as `delivery.totalConnections` has it without a word."""
CLIENTS: Final = 24
"""Sessions of either stream: enough that a slow disk's group commit, not they, is what mail waits for."""
QUEUED_BYTES: Final = 300
_ASKED_EVERY_S: Final = 2.0
"""Metrics, of both relays: written four times a second, by one relay alone, they were a fault that only it felt."""


@dataclass
class FaultReport:
    """What one fault did, with its denominators."""

    name: str
    accepted: int = 0
    refused: int = 0
    refused_for_good: list[str] = field(default_factory=list)
    """A fault of ours is no fault of the message: nobody may be told 5xx."""
    lost: list[str] = field(default_factory=list)
    repeated: int = 0
    unexplained: list[str] = field(default_factory=list)
    quiet: int = 0
    quiet_p99: float = 0.0
    """Of the twin's control mail."""
    under_fault: int = 0
    fault_p99: float = 0.0
    isolates: bool = True
    """The p99 of the control ISP is to be the twin's."""
    memory_most: int = 0
    memory_bound: int = 0
    memory_samples: int = 0
    memory_exceeded: int = 0
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ratio(self) -> float:
        """The control ISP's p99 under the fault, to the twin's; infinite if either lacks some mail."""
        return self.fault_p99 / self.quiet_p99 if 0 < self.quiet_p99 < inf else inf

    def told(self) -> str:
        """One line."""
        beside = f"{self.fault_p99 * 1e3:.0f} ms of {self.under_fault}"
        apart = "" if self.isolates else " (all mail stands on this disk)"
        return (
            f"{self.name}: of {self.accepted} accepted {len(self.lost)} lost; {self.refused} refused, "
            f"{len(self.refused_for_good)} for good; {self.repeated} repeated, {len(self.unexplained)} of them "
            f"unexplained; control p99 {beside}, its twin's {self.quiet_p99 * 1e3:.0f} ms of {self.quiet}: "
            f"{self.ratio:.2f} x{apart}; memory {self.memory_most / 1e6:.0f} MB of {self.memory_bound / 1e6:.0f}, "
            f"{self.memory_exceeded} of {self.memory_samples} samples over; {'; '.join(self.notes)}; "
            f"{self.seconds:.0f} s"
        )


class Suffering:
    """One fault from beginning to end."""

    def __init__(self, folder: Path, fault: Fault, mutant: str = NONE, *, seconds: float = 20.0) -> None:
        """`seconds` of either phase."""
        self._folder, self._fault, self._mutant, self._seconds = folder, fault, mutant, seconds
        self.report = FaultReport(fault.name, isolates=not fault.stops_everything)
        self._ask_at = self._queued = 0.0

    def run(self) -> FaultReport:
        """Inflicts it and judges."""
        began = time.monotonic()
        plain = Capabilities(starttls=False)
        policies = {
            one: Policy(domains=(one, f"*.{one}"), capabilities=plain) for one in (CONTROL, *self._fault.faulty)
        }
        with ExitStack() as stack:
            internet = stack.enter_context(ChaosInternet(self._folder, policies))
            if self._fault.volume:
                stack.enter_context(small_volume(self._folder / "volume", self._fault.volume))
            home = self._folder / ("volume" if self._fault.volume else "disk")
            layer, slot = self._begin(stack, self._folder, home, SOURCE)
            _, self._twin = self._begin(stack, self._folder / "twin", self._folder / "twin", TWIN)
            setting = Setting(internet, layer, slot, self._fault.faulty)
            self._warm_up(stack, slot)
            with self._fault.inflict(setting):
                faulty = self._load(stack, slot, "faulty", self._fault.faulty, 1.0 if self._fault.size > 9999 else 2.0)
                beside = [self._load(stack, slot, "control"), self._load(stack, self._twin, "quiet")]
                for one in beside:
                    self._wait(slot, one)
            assert setting.met, f"{self._fault.name}: the relay did not meet it; {setting.notes}"
            self._wait(slot, faulty, within_s=300)
            self._drain(slot)
            self._drain(self._twin)
            self._judge(setting)
        self.report.seconds = time.monotonic() - began
        return self.report

    def _begin(self, stack: ExitStack, folder: Path, home: Path, source: str) -> tuple[Layer, Slot]:
        """A relay that runs on a layer of its own, with its disk at `home`."""
        folder.mkdir(parents=True, exist_ok=True)
        layer = Layer(folder)
        nursery = nursery_of(self._mutant, layer)
        stack.callback(nursery.close)
        slot = _slot(folder, home, nursery, self._fault, source)
        stack.callback(slot.stop)
        slot.start(ready=True)
        return layer, slot

    def _warm_up(self, stack: ExitStack, slot: Slot) -> None:
        """Everything that happens once has happened: connections, imports, the certificate.

        The control ISP gets from both what it gets later: a relay with fewer connections open at the start of the
        phase is the slower of the two until it has opened them.
        """
        beside = [
            self._load(stack, slot, "warm", messages=40),
            self._load(stack, self._twin, "warm-twin", messages=40),
        ]
        if not self._fault.of_names:
            beside.append(self._load(stack, slot, "warm-faulty", self._fault.faulty, messages=40))
        for one in beside:
            self._wait(slot, one)

    def _load(
        self,
        stack: ExitStack,
        slot: Slot,
        stream: str,
        domains: Sequence[str] = (CONTROL,),
        times: float = 1.0,
        messages: int = 0,
    ) -> "subprocess.Popen[bytes]":
        is_faulty, anew = stream == "faulty", self._fault.of_names
        most = int(1.5 * RATE * times * self._seconds)
        config = LoadConfig(
            stream=stream,
            host="127.0.0.1",
            port=slot.port,
            sender=f"otp@{LANE_DOMAIN}",
            domains=tuple(f"{stream}{{n}}.{CONTROL}" if one == CONTROL and anew else one for one in domains),
            distinct=10_000 if anew else 1,
            messages=messages or (min(self._fault.messages, most) if is_faulty else int(RATE * self._seconds)),
            rate=RATE * times,
            size=self._fault.size if is_faulty else 4096,
            sessions=CLIENTS,
            per_session=0 if is_faulty else _PER_SESSION,
            tries=1 if self._fault.stops_everything else 50,  # what is refused for as long as it lasts is refused
            ledger=self._folder / f"{stream}.jsonl",
        )
        file = self._folder / f"{stream}.json"
        file.write_text(config.model_dump_json())
        command = [sys.executable, "-m", "e2e.load.generate", "--config", str(file)]
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(_end, process)
        return process

    def _wait(self, slot: Slot, process: "subprocess.Popen[bytes]", within_s: float = 150.0) -> None:
        deadline = time.monotonic() + within_s
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self._fault.name}: mail cannot be handed in; {slot.log()[-2000:]}")
            self._measure(slot)
            time.sleep(0.25)

    def _measure(self, slot: Slot) -> None:
        report, resident = self.report, slot.resident_bytes()
        if time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + _ASKED_EVERY_S
            with suppress(OSError, ValueError):
                self._queued = slot.metric("queue_messages")
            with suppress(OSError, ValueError):
                self._twin.metric("queue_messages")
        # sessions of clients and connections to peers alike
        peers = self._fault.sessions + CONNECTIONS + 2 * CLIENTS
        received = 2 * CLIENTS * (self._fault.size + 4096)  # each client's message, as it came and made ready
        bound = BASE_BYTES + QUEUED_BYTES * int(self._queued) + SESSION_BYTES * peers + received
        report.memory_samples += 1
        if resident > report.memory_most:
            report.memory_most, report.memory_bound = resident, bound
        report.memory_exceeded += resident > bound

    def _drain(self, slot: Slot) -> None:
        eventually(
            lambda: slot.metric("queue_messages") == 0,
            f"{self._fault.name}: an empty queue; {slot.log()[-2000:]}",
            _DRAINED_WITHIN_S,
        )

    def _judge(self, setting: Setting) -> None:
        report = self.report
        records = setting.internet.records()
        entries = {one: read(self._folder / f"{one}.jsonl") for one in _STREAMS}
        everything = [entry for one in entries.values() for entry in one]
        found: Comparison = compare(everything, records, {}, setting.kills)
        report.accepted, report.refused, report.lost = found.accepted, found.refused, found.lost
        report.repeated, report.unexplained = len(found.duplicated), found.unexplained
        arrived = {
            one.message_id: [one]
            for one in sorted(records, key=lambda record: getattr(record, "at", 0.0), reverse=True)
            if isinstance(one, Message)
        }
        report.quiet, report.quiet_p99 = len(entries["quiet"]), p99_of(entries["quiet"], arrived)
        report.under_fault, report.fault_p99 = len(entries["control"]), p99_of(entries["control"], arrived)
        refused = [entry for entry in everything if entry.outcome == "refused"]
        report.refused_for_good = [entry.message_id for entry in refused if entry.code >= 500]
        report.notes = [*setting.notes, *_most_said(refused)]


def p99_of(entries: Sequence[Entry], arrived: Mapping[str, Sequence[Message]]) -> float:
    """Of all that was offered, in seconds from when it was due; infinite if more than one in a hundred never came."""
    return percentile(latencies(entries, arrived), 0.99)


def _most_said(refused: Sequence[Entry]) -> list[str]:
    """What most of those who were refused were told."""
    said = Counter(f"{one.code} {one.text}" for one in refused)
    return [f"{count} times {text!r}" for text, count in said.most_common(2)]


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait(60)


def _slot(folder: Path, home: Path, nursery: Nursery, fault: Fault, source: str) -> Slot:
    overrides = {
        "intake": {"clients": ["127.0.0.0/8"], "senders": [f"@{LANE_DOMAIN}"], "limits": fault.limits},
        "spool": {"path": str(home / "spool")},
        "records": {"path": str(home / "records")},
        "egress": {"source": source},
        "delivery": {"resolvers": [f"{RESOLVER}:53"], "retry": {"first": "1s", "factor": 1, "max": "2s"}},
    }
    return Slot(folder / "otp-0", overrides, nursery=nursery, source=source)
