"""The faults of disk, clock, resolver, peers and clients that a relay has to live with: each a context manager.

`Setting` is what a fault may touch; `FAULTS` is the list. Before: `suffering`, which inflicts each by itself beside an
ISP that has nothing to do with it. After: `layer`, `resolver`, `ground`, the ISPs' policies.
"""

import errno
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from e2e.internet.policy import Fault as IspFault
from e2e.internet.policy import RecipientRule, Reply, Stage
from e2e.load.ledger import Kill
from lane_api.intake import IntakeLimits
from tests.chaos.crowd import SilentCrowd
from tests.chaos.ground import NETWORK, STRANGERS, cut
from tests.chaos.internet import ChaosInternet
from tests.chaos.layer import Layer
from tests.chaos.resolver import Fault as DnsFault
from tests.chaos.slots import Slot
from tests.lane_relay.running import eventually

SOURCE: Final = f"{NETWORK}.1"
IDLE: Final = 5000
FEW: Final = 4
"""Addresses: two may have all sessions that there are."""
SHIPPED: Final = IntakeLimits()
"""What a lane has that says nothing of its intake's limits."""
_WAITING: Final = 20
"""Messages that wait for another try when the clock is set."""
LATE_S: Final = 8.0
"""An ISP takes so long to answer a whole message."""


@dataclass
class Setting:
    """What a fault may touch."""

    internet: ChaosInternet
    layer: Layer
    slot: Slot
    faulty: tuple[str, ...]
    kills: list[Kill] = field(default_factory=list)
    """Instants at which the fault itself cut what was in flight."""
    notes: list[str] = field(default_factory=list)
    met: int = 0
    """How often the relay met the fault; a campaign in which it did not has shown nothing."""

    def meet(self, count: int, of_what: str) -> None:
        """Notes so many meetings."""
        self.met += count
        self.notes.append(f"{count} {of_what}")

    def cut_now(self) -> None:
        """Notes that from here replies may be lost."""
        self.kills.append(Kill(time.time(), SOURCE))


@dataclass(frozen=True)
class Fault:
    """One campaign."""

    name: str
    inflict: Callable[[Setting], AbstractContextManager[None]]
    """A context manager: the fault is on inside it."""
    faulty: tuple[str, ...] = ("faulty.test",)
    size: int = 4096
    messages: int = 1500
    sessions: int = 0
    """Clients beyond those that send, for the bound of memory."""
    limits: dict[str, Any] = field(default_factory=dict)
    """Of intake, where they are others than those shipped."""
    volume: str = ""
    """The spool has a volume of its own, of this size."""
    stops_everything: bool = False
    """The disk is what all mail stands on: control mail waits, too, and its p99 says nothing of isolation."""
    of_names: bool = False
    """Names are what fails: nothing is known of the faulty domains before, and each control message has a new one."""


# disk


@contextmanager
def _full_volume(setting: Setting) -> Iterator[None]:
    """The faulty ISP takes nothing until the volume is full, and after the control mail takes all."""
    setting.internet.change("faulty.test", unavailable=Reply(code=421, text="4.3.2 Not now"))
    _disconnect(setting, "faulty.test")
    try:
        yield
        found = setting.slot.metrics()
        refused = sum(value for name, value in found.items() if name.startswith("intake_refused_total{reason=452"))
        setting.meet(int(refused), "refused with 452")
    finally:
        setting.internet.change("faulty.test", unavailable=None)


@contextmanager
def _failing_sync(setting: Setting) -> Iterator[None]:
    """Every sync fails; the relay stops, is restarted on a disk that works, and goes on."""
    setting.layer.steer(error=errno.EIO)
    setting.cut_now()
    try:
        yield
        setting.meet(setting.layer.met, f"syncs failed; /readyz {setting.slot.probe('/readyz')[0]}")
    finally:
        setting.slot.kill()
        setting.layer.steer()
        setting.slot.start(ready=True)


@contextmanager
def _slow_disk(setting: Setting) -> Iterator[None]:
    setting.layer.steer(delay_ms=100)
    try:
        yield
        setting.meet(setting.layer.met, "syncs took 100 ms longer")
    finally:
        setting.layer.steer()


# clock


def _clock_step(seconds: int) -> Callable[[Setting], AbstractContextManager[None]]:
    @contextmanager
    def inflict(setting: Setting) -> Iterator[None]:
        """While mail waits for another try."""
        setting.internet.change(
            "faulty.test",
            recipients=(RecipientRule(match="*", reply=Reply(code=450, text="4.2.0 Later"), times=2),),
        )

        def step() -> None:
            waits = eventually(lambda: setting.slot.metric("queue_messages") // _WAITING, "mail that waits")
            setting.layer.steer(clock_s=seconds)
            setting.meet(int(waits) * _WAITING, "messages or more waited when the clock was set")

        thread = threading.Thread(target=step)
        thread.start()
        try:
            yield  # the clock stays where it is
        finally:
            thread.join()

    return inflict


# resolver

_LIES: Final[dict[str, DnsFault]] = {
    "timeout.test": "timeout", "servfail.test": "servfail", "wrong-id.test": "wrong-id",
    "wrong-question.test": "wrong-question", "garbage.test": "garbage", "truncated.test": "truncated",
    "wrong-address.test": "wrong-address",
}  # fmt: skip


@contextmanager
def _lying_resolver(setting: Setting) -> Iterator[None]:
    setting.internet.resolver.faults.update(_LIES)
    try:
        yield
    finally:
        asked = setting.internet.resolver.asked
        setting.meet(min(asked.get(one, 0) for one in _LIES.values()), f"questions at least of each kind: {asked}")
        setting.internet.resolver.faults.clear()


# peers


@contextmanager
def _stalls(setting: Setting) -> Iterator[None]:
    """One ISP for each stage, which takes connections and falls silent there."""
    for domain, stage in zip(setting.faulty, Stage, strict=True):
        setting.internet.change(domain, faults={stage: IspFault(action="stall")})
    try:
        yield
        _meet_connections(setting)
    finally:
        for domain in setting.faulty:
            setting.internet.change(domain, faults={})
            _disconnect(setting, domain)


@contextmanager
def _late_answers(setting: Setting) -> Iterator[None]:
    """Whole messages are answered late: whoever gives up too early sends them again."""
    before = _counted(setting, "messages")
    setting.internet.change("faulty.test", delays={Stage.END_OF_DATA: LATE_S})
    try:
        yield
        # no connection need stand at the end: who has given up a few leaves the host alone for a while
        setting.meet(_counted(setting, "messages") - before, "messages that it had whole and answered late")
    finally:
        setting.internet.change("faulty.test", delays={})


def _meet_connections(setting: Setting) -> None:
    """Counts the connections that the fault has in its hands at its end."""
    setting.meet(_counted(setting, "connections_now"), "connections in its hands")


def _counted(setting: Setting, what: str) -> int:
    """At the faulty ISPs, of the slot's address."""
    now = setting.internet.ask(lambda control: control.counts())
    return sum(now.get(one, {}).get(SOURCE, {}).get(what, 0) for one in setting.faulty)


def _disconnect(setting: Setting, domain: str) -> None:
    """A message may have been taken, and its answer on the way."""
    setting.cut_now()
    setting.internet.ask(lambda control: control.disconnect(domain))


@contextmanager
def _half_open(setting: Setting) -> Iterator[None]:
    """The cable to the ISP is cut while connections stand; nobody is told."""
    time.sleep(0.5)
    address = setting.internet.hosts["faulty.test"]
    cut(address, off=True)
    setting.cut_now()
    try:
        yield
        _meet_connections(setting)
    finally:
        cut(address, off=False)
        _disconnect(setting, "faulty.test")


# clients


@contextmanager
def _silent_clients(setting: Setting, addresses: int, wanted: int) -> Iterator[None]:
    """Strangers from so many addresses that come back when they are closed; `wanted` sessions are to be open."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    names = [f"{STRANGERS}.{one // 250}.{one % 250 + 1}" for one in range(addresses)]
    with SilentCrowd(setting.slot.port, names, IDLE) as crowd:
        eventually(lambda: setting.slot.metric("intake_sessions") >= wanted, "as many sessions as there may be")
        yield
        held = int(setting.slot.metric("intake_sessions"))
        assert held >= wanted, f"{held} sessions at the end, not {wanted}"
        setting.meet(
            crowd.attempts, f"connections of {addresses} addresses that said nothing, {held} sessions at the end"
        )


_FULL: Final = SHIPPED.sessions * 9 // 10
"""From four fifths on a silent stranger has half a minute, and those that come back are only so fast."""
_ALL_LET_IN: Final = {"sessions": 2 * IDLE, "sessionsPerClient": IDLE}
"""So many that none must go: what they cost in memory, and the others in time."""
_STALLING: Final = tuple(f"stalls-at-{one}.test" for one in Stage)
FAULTS: Final = (
    Fault("full volume", _full_volume, size=200_000, messages=600, volume="64m", stops_everything=True),
    Fault("EIO of each sync", _failing_sync, messages=300, stops_everything=True),
    Fault("slow disk", _slow_disk, stops_everything=True),
    Fault("clock an hour ahead", _clock_step(3600)),
    Fault("clock an hour back", _clock_step(-3600)),
    Fault("resolver that is silent, fails or lies", _lying_resolver, faulty=tuple(_LIES), of_names=True),
    Fault("stalls at each stage", _stalls, faulty=_STALLING, messages=2000),
    Fault("large mail for ISPs that stall", _stalls, faulty=_STALLING, size=400_000, messages=800),
    Fault("late answers to whole messages", _late_answers, messages=300),
    Fault("half-open connections", _half_open),
    Fault("5,000 idle clients of few addresses", partial(_silent_clients, addresses=FEW, wanted=_FULL),
          sessions=SHIPPED.sessions, messages=300),
    Fault("5,000 idle clients of as many addresses", partial(_silent_clients, addresses=IDLE, wanted=_FULL),
          sessions=SHIPPED.sessions, messages=300),
    Fault("5,000 idle clients, all let in", partial(_silent_clients, addresses=250, wanted=IDLE), sessions=IDLE,
          messages=300, limits=_ALL_LET_IN),
)  # fmt: skip
