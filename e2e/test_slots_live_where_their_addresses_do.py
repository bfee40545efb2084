"""Addresses live in zones and serve ISPs: each slot runs in the zone of its address, an ISP's mail leaves from the
address that is for it and from no other, and what a lost zone sent the rest sends.

What the ISPs saw counts, and where the pods run. The lost zone's node keeps its programs and loses its cable: nobody
can reach it, and it reaches nobody. Engines: Multus; HostNetwork, whose node says which zone an address may name.
"""

import json

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, pool
from e2e.internet.addresses import GMAIL, GMX
from e2e.outbound import Outbound, by_source, host_pool, isp_policy, sending_lane
from lane_api.names import LANE_LABEL, ZONE_LABEL

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

LANE = "placed"
STAYS, LOST = "n1", "n2"
HERE, THERE, FOR_GMAIL = "203.0.113.222", "203.0.113.223", "203.0.113.224"
ON_NODE = "203.0.113.226"
MESSAGES = 40


def zone_of(here: Installation, node: str) -> str:
    """What the node is labelled with."""
    return str(here.cluster.get("node", node)["metadata"]["labels"][ZONE_LABEL])


def nodes(here: Installation, lane: str) -> dict[str, str]:
    """Egress address -> the node that its slot's pod runs on."""
    pods = here.cluster.get("pods", "-n", here.namespace, "-l", f"{LANE_LABEL}={lane}")["items"]
    runs = {one["metadata"]["name"]: one["spec"].get("nodeName", "") for one in pods}
    slots = here.get("sendinglane", lane)["status"]["slots"]
    return {one["ip"]: runs[f"{one['name']}-0"] for one in slots}


def all_proved(here: Installation) -> bool:
    """Each of the three slots may send."""
    slots = here.get("sendinglane", LANE)["status"]["slots"]
    return [one.get("egressVerified") for one in slots] == [True] * 3


@pytest.fixture(scope="module")
def placed(sending_namespace: Installation) -> Installation:
    """A lane with an address for all mail in each zone, and one for Gmail's in the second."""
    here = sending_namespace
    made = pool("placed", here.namespace, HERE, THERE, FOR_GMAIL)
    for address, node in zip(made["spec"]["addresses"], (STAYS, LOST, LOST), strict=True):
        address["zone"] = zone_of(here, node)
    made["spec"]["addresses"][2]["isps"] = ["gmail"]
    here.apply(
        made,
        isp_policy("gmail", here.namespace, ["*.gmail-like.example"]),
        sending_lane(LANE, here.namespace, "placed", replicas=3),
    )
    here.wait_ready(LANE)
    eventually(lambda: all_proved(here), "each address is proved", within=120)
    return here


async def sent(outbound: Outbound, stream: str, within: float = 60.0) -> dict[str, dict[str, int]]:
    """ISP -> source address -> messages, of as many for each of two ISPs, submitted to the lane's Service."""
    entries = [
        entry
        for domain in ("gmail-like.example", "gmx-like.example")
        for entry in await outbound.submit(f"{stream}-{domain.partition('-')[0]}", LANE, domain, MESSAGES)
    ]
    arrived = await outbound.arrivals(entries, within=within)
    assert len(arrived) == 2 * MESSAGES, "none is lost and none is doubled"
    return {isp.name: by_source(one for one in arrived if one.isp == isp.name) for isp in (GMAIL, GMX)}


async def test_slots_run_in_their_addresses_zones_and_an_isp_s_mail_leaves_from_the_address_for_it_alone(
    outbound: Outbound, placed: Installation
) -> None:
    assert nodes(placed, LANE) == {HERE: STAYS, THERE: LOST, FOR_GMAIL: LOST}

    seen = await sent(outbound, "placed")

    assert seen[GMAIL.name] == {FOR_GMAIL: MESSAGES}
    assert seen[GMX.name].keys() == {HERE, THERE}, "other mail leaves from the addresses for all"
    sources = {(one.isp, one.source_ip) for one in await outbound.spans() if one.answered}
    assert {ip for isp, ip in sources if isp == GMAIL.name} == {FOR_GMAIL}, "not even a connection from elsewhere"


@pytest.mark.long("e2e/test_slots_live_where_their_addresses_do.py", "tests/lane_operator/desired/test_places.py")
async def test_what_a_lost_zone_sent_the_rest_sends_and_the_zone_comes_back(
    outbound: Outbound, placed: Installation
) -> None:
    here = placed
    assert nodes(here, LANE) == {HERE: STAYS, THERE: LOST, FOR_GMAIL: LOST}
    slots = {one["ip"]: f"{one['name']}-0" for one in here.get("sendinglane", LANE)["status"]["slots"]}
    assert outbound.endpoints(LANE) == set(slots.values())

    here.cluster.cut_link(LOST)
    try:
        eventually(lambda: outbound.endpoints(LANE) == {slots[HERE]}, "clients are sent to the rest", within=120)
        lost = await sent(outbound, "lost")
    finally:
        here.cluster.restore_link(LOST)
    assert lost == {GMAIL.name: {HERE: MESSAGES}, GMX.name: {HERE: MESSAGES}}, "the lost zone's ISPs are served, too"

    eventually(lambda: outbound.endpoints(LANE) == set(slots.values()), "the zone is back", within=120)
    here.wait_ready(LANE)
    eventually(lambda: all_proved(here), "each address is proved", within=120)
    back = await sent(outbound, "back")
    assert back[GMAIL.name] == {FOR_GMAIL: MESSAGES}
    assert nodes(here, LANE) == {HERE: STAYS, THERE: LOST, FOR_GMAIL: LOST}


async def test_a_zone_that_the_node_of_an_address_is_not_in_is_refused_until_it_is_corrected(
    outbound: Outbound,
) -> None:
    here = outbound.here
    elsewhere, there = zone_of(here, STAYS), zone_of(here, LOST)
    here.cluster.add_address(LOST, ON_NODE)
    made = host_pool("on-node", here.namespace, [(ON_NODE, LOST)])
    made["spec"]["addresses"][0]["zone"] = elsewhere
    here.apply(made, sending_lane("on-node", here.namespace, "on-node"))

    message = outbound.says("on-node", "Stalled", "True", "EngineLimit", within=90)
    assert f"said to live in zone {elsewhere}, and its node {LOST} is in zone {there}" in message
    assert outbound.slots("on-node") == [], "and nothing runs in a place that its owner did not mean"

    made["spec"]["addresses"][0]["zone"] = there
    body = json.dumps({"spec": {"addresses": made["spec"]["addresses"]}})
    here.cluster.kubectl("patch", "ippool", "on-node", "-n", here.namespace, "--type=merge", "-p", body)
    here.wait_ready("on-node")
    assert nodes(here, "on-node") == {ON_NODE: LOST}
    arrived = await outbound.arrivals(await outbound.submit("on-node", "on-node", "gmx-like.example", MESSAGES))
    assert by_source(arrived) == {ON_NODE: MESSAGES}
