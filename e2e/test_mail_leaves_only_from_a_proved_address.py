"""Nothing leaves a slot before a reflector has confirmed its own address; intake goes on, and it heals by itself.

Counted are SYNs to any ISP, from any address, in packets on the ISPs' side, with deliverable mail queued: from before
the first step of a process that finds its mail waiting. The seeded fault is a lane of an engine that proves nothing: in
the same outage the same count sees its SYN. Engines: HostNetwork (outage, NAT, closed port), Multus (wrong address).
"""

import sys
import time
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, pool
from e2e.internet import addresses
from e2e.internet.faults import Block, Nat
from e2e.internet.internet import CHECKOUT, Internet
from e2e.internet.internet import eventually as soon
from e2e.internet.policy import RecipientRule, Reply
from e2e.internet.records import Refusal
from e2e.load.ledger import Entry
from e2e.outbound import Outbound, Slot, by_source, host_pool, record_e2e, sending_lane

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

OUTAGE, WRONG, MAPPED, CLOSED = "203.0.113.150", "203.0.113.151", "203.0.113.152", "203.0.113.153"
MAPPED_INSIDE = "203.0.113.162"  # what the pod binds; the world is to see MAPPED
SOMEBODY_ELSE = "203.0.113.199"
OTHER_PORT = 7000
ANOTHER_REFLECTOR = "reflector-other-port"
ISP = "gmail-like.example"
MESSAGES = 20
EVERY = "2s"  # a proof is renewed so often, and a lost one noticed
NOT_NOW = RecipientRule(match="*", reply=Reply(code=450, text="4.3.0 Not just now"))  # the lane's own retry: 1 to 2 s
SHUT_S = 6.0  # SYNs are counted for so long with mail waiting: several rounds of the prober, dozens of a dispatcher's


def _reflected(made: Manifest, *reflectors: str) -> Manifest:
    verification = made["spec"]["verification"]
    made["spec"]["verification"] = verification | {"reflectors": list(reflectors), "every": EVERY}
    return made


def _honest(*ports: int) -> list[str]:
    return [f"tcp://{ip}:{port}" for ip, port in zip(addresses.REFLECTORS, ports, strict=True)]


@pytest.fixture(autouse=True)
async def _patient_isp(outbound: Outbound) -> None:
    """A NAT that changes leaves connections that the ISP believes open: they must not use up what it grants."""
    await outbound.policy(addresses.GMAIL, max_connections_per_ip=None)


@dataclass(frozen=True)
class Lanes:
    """The lanes of this file, all made at once; which of them are Ready differs."""

    here: Installation

    def pools(self) -> list[Manifest]:
        """A pool for each lane."""
        space = self.here.namespace
        mapped = _reflected(host_pool("mapped", space, [(MAPPED, "n2")]), *_honest(25, 25, 25))
        mapped["spec"]["addresses"][0]["source"] = MAPPED_INSIDE
        return [
            _reflected(host_pool("outage", space, [(OUTAGE, "n1")]), *_honest(25, 25, 25)),
            _reflected(pool("wrong", space, WRONG), self.here.internet.lying_reflector),
            mapped,
            _reflected(host_pool("closed", space, [(CLOSED, "n2")]), *_honest(25, 25, OTHER_PORT)),
            pool("unproved", space),
        ]


@pytest.fixture(scope="module")
def lanes(sending_namespace: Installation) -> Lanes:
    """A lane a case, on its own pool."""
    here, made = sending_namespace, Lanes(sending_namespace)
    held = (("n1", OUTAGE), ("n2", MAPPED_INSIDE), ("n2", CLOSED))
    for node, address in held:
        here.cluster.add_address(node, address)
    here.apply(*made.pools())
    here.apply(
        *(sending_lane(one["metadata"]["name"], here.namespace, one["metadata"]["name"]) for one in made.pools())
    )
    here.wait_ready("outage")
    return made


def _ready_slot(outbound: Outbound, lane: str) -> Slot:
    def look() -> Slot:
        (slot,) = outbound.slots(lane)
        assert slot.ready, slot
        assert slot.pod in outbound.endpoints(lane)
        return slot

    return eventually(look, f"the slot of {lane} takes mail through its Service", within=90)


@dataclass
class Tally:
    """What all unproved slots of this file have sent, and what waited in them meanwhile."""

    sent: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)

    def add(self, scenario: str, sent: list[str], waiting: list[Entry]) -> None:
        """Puts a scenario on record, before anything is asserted of it."""
        self.sent[scenario], self.waiting[scenario] = len(sent), len(waiting)
        record_e2e("unproved_sent", sum(self.sent.values()), "SYNs")
        record_e2e("unproved_scenarios", len(self.sent), "scenarios", None)
        record_e2e("unproved_waiting", sum(self.waiting.values()), "messages", None)


@pytest.fixture(scope="module")
def tally() -> Tally:
    """One for all tests of this file."""
    return Tally()


async def _syns(outbound: Outbound, since: float, queued: float) -> list[str]:
    """The source addresses of all SYNs to any ISP from `since` to SHUT_S seconds after the last mail was `queued`."""
    eventually(lambda: time.time() >= queued + SHUT_S, "the time is over", within=SHUT_S + 5)
    return [one.source_ip for one in await outbound.spans(since, queued + SHUT_S)]


async def _with_mail_deferred(outbound: Outbound, lane: str) -> list[Entry]:
    """Messages that the slot has tried and tries again every second or two, because the ISP wants none now."""
    await outbound.policy(addresses.GMAIL, max_connections_per_ip=None, recipients=(NOT_NOW.model_dump(),))
    entries = await outbound.submit(f"deferred-{lane}", lane, ISP, MESSAGES)
    wanted = {(one.sender, one.recipient) for one in entries}

    async def tried() -> bool:
        refusals = [one for one in await outbound.isps.dump(addresses.GMAIL.name) if isinstance(one, Refusal)]
        return wanted <= {(one.sender, one.recipient) for one in refusals}

    await soon(tried, 30, f"the ISP has deferred all mail of {lane}")
    return entries


async def _restarted(outbound: Outbound, lane: str) -> tuple[Slot, float]:
    """The lane's slot as another process, for which the ISP takes mail again, and a time between the two processes.

    The old pod has gone, process and all, when `kubectl delete` returns; the new one comes after it. The time that the
    node gives is cut to the second and thus before the new process's first step.
    """
    here, old = outbound.here, _ready_slot(outbound, lane)
    here.cluster.kubectl("delete", "pod", old.pod, "-n", here.namespace)
    await outbound.policy(addresses.GMAIL, max_connections_per_ip=None)
    eventually(lambda: [one for one in outbound.slots(lane) if one.uid != old.uid], "the pod is another one")
    slot = _ready_slot(outbound, lane)
    statuses = here.get("pod", slot.pod)["status"]["containerStatuses"]
    (started,) = [one["state"]["running"]["startedAt"] for one in statuses if one["name"] == "relay"]
    return slot, datetime.fromisoformat(started).timestamp()


async def _open_of(outbound: Outbound, address: str, before: float) -> int:
    """How many connections of an address that began before this time are still open."""
    spans = await outbound.spans(until=before)
    return sum(one.source_ip == address and one.answered and one.closed is None for one in spans)


async def test_an_unproved_slot_sends_nothing_and_a_proved_one_needs_no_reflector(
    outbound: Outbound, lanes: Lanes, tally: Tally
) -> None:
    internet, here = outbound.internet, outbound.here
    before = await outbound.submit("flow-before", "outage", ISP, MESSAGES)
    assert by_source(await outbound.arrivals(before)) == {OUTAGE: MESSAGES}
    here.wait_ready("unproved")

    internet.stop_reflectors()  # a reflector that dies later stops nothing
    assert "go on sending" in outbound.says("outage", "EgressVerified", "True", "ProofStale")
    during = await outbound.submit("flow-during", "outage", ISP, MESSAGES)
    assert by_source(await outbound.arrivals(during)) == {OUTAGE: MESSAGES}

    waiting = await _with_mail_deferred(outbound, "outage")
    slot, began = await _restarted(outbound, "outage")
    waiting += await outbound.submit("flow-shut", "outage", ISP, MESSAGES)
    syns = await _syns(outbound, began, time.time())
    seeded = time.time()
    message = outbound.says("outage", "EgressVerified", "False", "ProbeFailed")
    eventually(  # figures come at most every 30 s, conditions at once
        lambda: here.get("sendinglane", "outage")["status"]["queued"] == len(waiting), "both batches wait", within=90
    )
    # the same outage, the same restart, the same count, a slot without the promise
    of_mutant = await _with_mail_deferred(outbound, "unproved")
    _, began_of_mutant = await _restarted(outbound, "unproved")
    await outbound.arrivals(of_mutant)
    sent_by_mutant = [one.source_ip for one in await outbound.spans(began_of_mutant)]
    syns += [one.source_ip for one in await outbound.spans(seeded) if one.source_ip == OUTAGE]
    tally.add("restarted", syns, waiting)
    record_e2e("unproved_sent_by_mutant", len(sent_by_mutant), "SYNs", None)
    assert syns == []
    assert sent_by_mutant
    assert await _open_of(outbound, OUTAGE, began) == 0, "the proved process's connections ended with it"
    assert OUTAGE in message
    assert "refused the connection" in message

    internet.start_reflectors()
    assert by_source(await outbound.arrivals(waiting)) == {OUTAGE: 2 * MESSAGES}
    assert outbound.slots("outage") == [slot], "healed by a restart"
    outbound.says("outage", "EgressVerified", "True", "Matched")


async def test_a_slot_seen_at_another_address_sends_nothing_until_it_is_seen_at_its_own(
    outbound: Outbound, lanes: Lanes, tally: Tally
) -> None:
    internet, here = outbound.internet, outbound.here
    internet.start_lying_reflector()
    slot = _ready_slot(outbound, "wrong")
    message = outbound.says("wrong", "EgressVerified", "False", "Mismatch")
    assert addresses.LIE in message
    began = time.time()
    waiting = await outbound.submit("lied-to", "wrong", ISP, MESSAGES)
    syns = await _syns(outbound, began, time.time())
    tally.add("lied-to", syns, waiting)
    assert syns == []

    here.apply(_reflected(pool("wrong", here.namespace, WRONG), *_honest(25, 25, 25)))
    assert by_source(await outbound.arrivals(waiting)) == {WRONG: MESSAGES}
    outbound.says("wrong", "EgressVerified", "True", "Matched")

    wrong_way = Nat(WRONG, SOMEBODY_ELSE)  # routing or NAT that changes while the slot runs
    internet.faults.translate(wrong_way)
    message = outbound.says("wrong", "EgressVerified", "False", "Mismatch")
    assert SOMEBODY_ELSE in message
    began = time.time()
    waiting = await outbound.submit("translated", "wrong", ISP, MESSAGES)
    syns = await _syns(outbound, began, time.time())
    tally.add("translated", syns, waiting)
    assert syns == []

    internet.faults.untranslate(wrong_way)
    assert by_source(await outbound.arrivals(waiting)) == {WRONG: MESSAGES}
    assert outbound.slots("wrong") == [slot], "healed by a restart"
    outbound.says("wrong", "EgressVerified", "True", "Matched")


async def test_a_slot_behind_one_to_one_nat_is_proved_by_what_the_world_sees(outbound: Outbound, lanes: Lanes) -> None:
    slot = _ready_slot(outbound, "mapped")
    message = outbound.says("mapped", "EgressVerified", "False", "Mismatch")
    assert MAPPED_INSIDE in message
    waiting = await outbound.submit("mapped", "mapped", ISP, MESSAGES)
    began = time.time()

    outbound.internet.faults.translate(Nat(MAPPED_INSIDE, MAPPED))

    assert by_source(await outbound.arrivals(waiting)) == {MAPPED: MESSAGES}
    assert {one.source_ip for one in await outbound.spans(began)} == {MAPPED_INSIDE}  # packets are seen before the NAT
    outbound.says("mapped", "EgressVerified", "True", "Matched")
    assert outbound.slots("mapped") == [slot]


@pytest.mark.long("tests/lane_relay/egress/test_prober.py", "tests/lane_relay/egress/test_proof.py")
async def test_a_closed_port_25_is_told_apart_and_heals(outbound: Outbound, lanes: Lanes, tally: Tally) -> None:
    closed = Block(CLOSED)
    waiting = await _with_mail_deferred(outbound, "closed")
    outbound.internet.faults.block(closed)
    slot, began = await _restarted(outbound, "closed")
    _start_reflector_on_another_port(outbound.internet)
    try:
        message = outbound.says("closed", "EgressVerified", "False", "PortBlocked", within=90)
        assert "port 25" in message
        waiting += await outbound.submit("closed", "closed", ISP, MESSAGES)
        syns = await _syns(outbound, began, time.time())
        tally.add("closed", syns, waiting)
        assert syns == []

        outbound.internet.faults.unblock(closed)
        assert by_source(await outbound.arrivals(waiting)) == {CLOSED: 2 * MESSAGES}
        assert outbound.slots("closed") == [slot], "healed by a restart"
    finally:
        outbound.internet.place.end(ANOTHER_REFLECTOR)


def _start_reflector_on_another_port(internet: Internet) -> None:
    listen = f"{addresses.REFLECTORS[2]}:{OTHER_PORT}"
    argv = ["-m", "lane_relay", "reflect", "--listen", listen, "--key-file", str(internet.reflector_key)]
    internet.place.spawn(ANOTHER_REFLECTOR, [sys.executable, *argv], cwd=CHECKOUT)
