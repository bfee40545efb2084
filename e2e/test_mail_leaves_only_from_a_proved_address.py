"""Nothing leaves a slot before a reflector has confirmed its own address; intake goes on, and it heals by itself.

Counted are SYNs to any ISP, from any address, in packets on the ISPs' side, with deliverable mail queued. The seeded
fault is a lane of an engine that proves nothing: in the same outage the same count sees its SYN. Engines: HostNetwork
(outage, 1:1 NAT, closed port) and Multus (wrong address).
"""

import sys
import time
from dataclasses import dataclass

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, pool
from e2e.internet import addresses
from e2e.internet.faults import Block, Nat
from e2e.internet.internet import CHECKOUT, Internet
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


async def _syns(outbound: Outbound, since: float) -> list[str]:
    """The source addresses of all SYNs to any ISP in SHUT_S seconds from `since`."""
    eventually(lambda: time.time() >= since + SHUT_S, "the time is over", within=SHUT_S + 5)
    return [one.source_ip for one in await outbound.spans(since, since + SHUT_S)]


async def test_an_unproved_slot_sends_nothing_and_a_proved_one_needs_no_reflector(
    outbound: Outbound, lanes: Lanes
) -> None:
    internet, here = outbound.internet, outbound.here
    before = await outbound.submit("flow-before", "outage", ISP, MESSAGES)
    assert by_source(await outbound.arrivals(before)) == {OUTAGE: MESSAGES}
    here.wait_ready("unproved")

    internet.stop_reflectors()  # a reflector that dies later stops nothing
    assert "go on sending" in outbound.says("outage", "EgressVerified", "True", "ProofStale")
    during = await outbound.submit("flow-during", "outage", ISP, MESSAGES)
    assert by_source(await outbound.arrivals(during)) == {OUTAGE: MESSAGES}

    old = _ready_slot(outbound, "outage")
    here.cluster.kubectl("delete", "pod", old.pod, "-n", here.namespace)
    eventually(lambda: [one for one in outbound.slots("outage") if one.uid != old.uid], "the pod is another one")
    slot = _ready_slot(outbound, "outage")
    await outbound.isps.reset_wire()
    began = time.time()
    waiting = await outbound.submit("flow-shut", "outage", ISP, MESSAGES)
    syns = await _syns(outbound, began)
    message = outbound.says("outage", "EgressVerified", "False", "ProbeFailed")
    assert OUTAGE in message
    assert "refused the connection" in message
    # the same outage, the same count, a slot without the promise
    seeded = time.time()
    await outbound.submit("flow-unproved", "unproved", ISP, 1)
    seen_of_mutant = await _syns(outbound, seeded)
    record_e2e("unproved_sent", len(syns), "SYNs")
    record_e2e("unproved_waiting", len(waiting), "messages", None)
    record_e2e("unproved_sent_by_mutant", len(seen_of_mutant), "SYNs", None)
    assert syns == []
    assert seen_of_mutant
    assert OUTAGE not in seen_of_mutant

    internet.start_reflectors()
    arrived = await outbound.arrivals(waiting)
    assert by_source(arrived) == {OUTAGE: MESSAGES}
    assert outbound.slots("outage") == [slot], "healed by a restart"
    outbound.says("outage", "EgressVerified", "True", "Matched")


async def test_a_slot_seen_at_another_address_sends_nothing_until_it_is_seen_at_its_own(
    outbound: Outbound, lanes: Lanes
) -> None:
    internet, here = outbound.internet, outbound.here
    internet.start_lying_reflector()
    slot = _ready_slot(outbound, "wrong")
    message = outbound.says("wrong", "EgressVerified", "False", "Mismatch")
    assert addresses.LIE in message
    await outbound.isps.reset_wire()
    began = time.time()
    waiting = await outbound.submit("lied-to", "wrong", ISP, MESSAGES)
    assert await _syns(outbound, began) == []

    here.apply(_reflected(pool("wrong", here.namespace, WRONG), *_honest(25, 25, 25)))
    assert by_source(await outbound.arrivals(waiting)) == {WRONG: MESSAGES}
    outbound.says("wrong", "EgressVerified", "True", "Matched")

    wrong_way = Nat(WRONG, SOMEBODY_ELSE)  # routing or NAT that changes while the slot runs
    internet.faults.translate(wrong_way)
    message = outbound.says("wrong", "EgressVerified", "False", "Mismatch")
    assert SOMEBODY_ELSE in message
    await outbound.isps.reset_wire()
    began = time.time()
    waiting = await outbound.submit("translated", "wrong", ISP, MESSAGES)
    assert await _syns(outbound, began) == []

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


async def test_a_closed_port_25_is_told_apart_and_heals(outbound: Outbound, lanes: Lanes) -> None:
    closed = Block(CLOSED)
    outbound.internet.faults.block(closed)
    slot = _ready_slot(outbound, "closed")
    outbound.here.cluster.kubectl("delete", "pod", slot.pod, "-n", outbound.here.namespace)
    eventually(lambda: slot not in outbound.slots("closed"), "the pod is another one")
    _start_reflector_on_another_port(outbound.internet)
    try:
        slot = _ready_slot(outbound, "closed")
        message = outbound.says("closed", "EgressVerified", "False", "PortBlocked", within=90)
        assert "port 25" in message
        await outbound.isps.reset_wire()
        began = time.time()
        waiting = await outbound.submit("closed", "closed", ISP, MESSAGES)
        assert await _syns(outbound, began) == []

        outbound.internet.faults.unblock(closed)
        assert by_source(await outbound.arrivals(waiting)) == {CLOSED: MESSAGES}
        assert outbound.slots("closed") == [slot], "healed by a restart"
    finally:
        outbound.internet.place.end(ANOTHER_REFLECTOR)


def _start_reflector_on_another_port(internet: Internet) -> None:
    listen = f"{addresses.REFLECTORS[2]}:{OTHER_PORT}"
    argv = ["-m", "lane_relay", "reflect", "--listen", listen, "--key-file", str(internet.reflector_key)]
    internet.place.spawn(ANOTHER_REFLECTOR, [sys.executable, *argv], cwd=CHECKOUT)
