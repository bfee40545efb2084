"""A deleted lane gives its mail to the host that `drain.to` names, whatever its ISPs make it wait for; none is lost.

The ISP puts off the lane's own addresses, so that mail which arrives has gone the other way: through a Postfix, which
is away when the lane is deleted. What was submitted is compared with what the ISP took, one by one. Engine: Multus.
"""

import time
from collections.abc import Iterator

import pytest

from e2e import figures
from e2e.eventually import eventually
from e2e.installation import pool
from e2e.internet import addresses
from e2e.internet.internet import eventually as soon
from e2e.internet.postfix import Postfix
from e2e.internet.records import Message, Refusal
from e2e.load.ledger import Entry, compare
from e2e.outbound import COMMAND, Outbound, record_e2e, sending_lane

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

LANE = "handing"
OWN = ("203.0.113.195", "203.0.113.196")
WAY_OUT = "wayout.example.net"
ISP = "gmail-like.example"
EACH = 10
NOT_FROM_THERE = {"code": 450, "text": "4.2.1 try again"}


@pytest.fixture
def way_out(outbound: Outbound) -> Iterator[Postfix]:
    """The host that takes the lane's mail; its name leads there, and it does not run yet."""
    outbound.internet.dns.publish_address(WAY_OUT, addresses.SHARED_POSTFIX)
    postfix = outbound.internet.shared_postfix({addresses.GMAIL: 10})
    yield postfix
    postfix.down()


async def _put_off(outbound: Outbound) -> list[Entry]:
    """Mail of both slots that the ISP has put off."""
    await outbound.policy(addresses.GMAIL, blocked=dict.fromkeys(OWN, NOT_FROM_THERE))
    entries = []
    for slot in outbound.slots(LANE):
        entries += await outbound.submit(f"{LANE}-{slot.pod}", LANE, ISP, EACH, (slot.host, slot.port))

    async def by_both() -> bool:
        seen = await outbound.isps.dump(addresses.GMAIL.name)
        return {one.source_ip for one in seen if isinstance(one, Refusal)} == set(OWN)

    await soon(by_both, 30, "the ISP has put off the mail of both slots")
    return entries


async def _lost(outbound: Outbound, entries: list[Entry]) -> list[str]:
    """What was submitted beside what has arrived, by the way out alone; then the same with one taken away."""
    records = await outbound.internet.records()
    own = {one.stream: frozenset({addresses.SHARED_POSTFIX}) for one in entries}
    found = compare(entries, records, own)
    taken = entries[0].message_id
    seeded = compare(
        entries, [one for one in records if not (isinstance(one, Message) and one.message_id == taken)], own
    )
    record_e2e("handed_out_lost", len(found.lost), "messages")
    record_e2e("handed_out_messages", found.accepted, "messages", None)
    figures.record("e2e", "handed_out_lost_seeded", len(seeded.lost), "messages", 1.0, "higher", COMMAND)
    assert (found.duplicated, found.wrong_ip, found.altered, found.misdirected) == ({}, [], [], [])
    assert seeded.lost == [taken], "what is lost would be seen"
    return found.lost


async def test_a_deleted_lanes_mail_leaves_by_the_host_that_it_names(outbound: Outbound, way_out: Postfix) -> None:
    here = outbound.here
    drain = {"policy": "Transfer", "deadline": "3s", "to": {"host": WAY_OUT}}
    here.apply(pool(LANE, here.namespace, *OWN), sending_lane(LANE, here.namespace, LANE, replicas=2, drain=drain))
    here.wait_ready(LANE)
    entries = await _put_off(outbound)

    here.cluster.kubectl("delete", "sendinglane", LANE, "-n", here.namespace, "--wait=false")
    said = outbound.says(LANE, "Draining", "True", "Delete")
    assert f"go to {WAY_OUT} (drain.to)" in said
    said = outbound.says(LANE, "Stalled", "True", "DrainDeadlineExceeded")
    assert f"about {len(entries)} messages" in said
    since = time.time()

    way_out.up()
    await outbound.arrivals(entries)
    eventually(lambda: not here.is_there("sendinglane", LANE), "the lane has given its mail away and is gone")

    assert await _lost(outbound, entries) == []
    senders = {one.source_ip for one in await outbound.spans(since) if one.isp == addresses.GMAIL.name}
    assert senders == {addresses.SHARED_POSTFIX}, "no more is tried from the lane's own addresses"
    for index in range(len(OWN)):
        left = here.get("pvc", f"queue-{LANE}-{index}")  # reclaimPolicy Retain
        assert "lanewright.dev/queue" not in left["metadata"].get("finalizers", ())
