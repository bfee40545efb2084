"""Where a pool requires the PTR record, an address without one sends nothing until it is there; else its lane tells.

Counted are SYNs to any ISP, from any address, in packets on the ISPs' side, with deliverable mail queued. The lane that
is only warned is the seeded fault: DNS lacks its record too, and the same count sees what it sends. Engine: Multus.
"""

import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from e2e.eventually import eventually
from e2e.installation import Manifest, pool
from e2e.internet.addresses import egress_hostname
from e2e.outbound import Outbound, Slot, by_source, record_e2e, sending_lane

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NAMELESS, WARNED = "203.0.113.190", "203.0.113.191"
STRICT, LENIENT = "strict", "lenient"
SOMEBODY_ELSE = "static-191.provider.example.net"
ISP = "gmail-like.example"
MESSAGES = 10


@pytest.fixture
def unnamed(outbound: Outbound) -> Iterator[Outbound]:
    """Both addresses are as providers give them: without a PTR record."""
    dns = outbound.internet.dns
    for address in (NAMELESS, WARNED):
        dns.withdraw_reverse(address)
    yield outbound
    for address in (NAMELESS, WARNED):
        dns.publish_host(egress_hostname(address), address)


def _pool(outbound: Outbound, name: str, address: str, ptr: str) -> Manifest:
    made = pool(name, outbound.here.namespace, address)
    made["spec"]["verification"]["ptr"] = ptr
    return made


def _record(address: str) -> str:
    """What a person is told to have set."""
    return f"PTR {ip_address(address).reverse_pointer} = {egress_hostname(address)}"


def _ready_slot(outbound: Outbound, lane: str) -> Slot:
    def look() -> Slot:
        (slot,) = outbound.slots(lane)
        assert slot.ready, slot
        return slot

    return eventually(look, f"the slot of {lane} takes mail", within=90)


async def test_an_address_without_its_ptr_record_sends_nothing_until_it_is_there(unnamed: Outbound) -> None:
    here, dns, began = unnamed.here, unnamed.internet.dns, time.time()
    here.apply(_pool(unnamed, STRICT, NAMELESS, "Require"), _pool(unnamed, LENIENT, WARNED, "Warn"))
    here.apply(*(sending_lane(name, here.namespace, name) for name in (STRICT, LENIENT)))
    here.wait_ready(LENIENT)
    slot = _ready_slot(unnamed, STRICT)

    said = unnamed.says(STRICT, "PTRMatches", "False", "NoPTR")
    assert _record(NAMELESS) in said
    assert said.endswith("Nothing leaves from there until then")
    assert _record(NAMELESS) in unnamed.says(STRICT, "EgressVerified", "False", "ProbeFailed")
    said = unnamed.says(LENIENT, "PTRMatches", "False", "NoPTR")
    assert _record(WARNED) in said
    assert said.endswith("ISPs refuse mail from there")

    waiting = await unnamed.submit(STRICT, STRICT, ISP, MESSAGES)
    warned = await unnamed.submit(LENIENT, LENIENT, ISP, MESSAGES)
    assert by_source(await unnamed.arrivals(warned)) == {WARNED: MESSAGES}

    named = time.time()
    syns = [one.source_ip for one in await unnamed.spans(began, named)]
    record_e2e("unnamed_sent", len([one for one in syns if one != WARNED]), "SYNs")
    record_e2e("unnamed_waiting", len(waiting), "messages", None)
    record_e2e("unnamed_sent_by_mutant", len([one for one in syns if one == WARNED]), "SYNs", None)
    assert set(syns) == {WARNED}

    dns.publish_reverse(NAMELESS, egress_hostname(NAMELESS))
    dns.publish_reverse(WARNED, SOMEBODY_ELSE)
    assert by_source(await unnamed.arrivals(waiting)) == {NAMELESS: MESSAGES}
    said = unnamed.says(LENIENT, "PTRMatches", "False", "HELOMismatch")
    assert f"says {SOMEBODY_ELSE}, HELO says {egress_hostname(WARNED)}" in said
    warned = await unnamed.submit(LENIENT, LENIENT, ISP, MESSAGES)
    assert by_source(await unnamed.arrivals(warned)) == {WARNED: MESSAGES}
    unnamed.says(STRICT, "PTRMatches", "True", "ForwardConfirmed")
    unnamed.says(STRICT, "EgressVerified", "True", "Matched")
    assert unnamed.slots(STRICT) == [slot], "healed by a restart"
