"""What an ISP allows is never exceeded as its own packets show it, with 1, 2 and 4 slots: connections, new connections
a second, messages a second, messages a connection.

The ISPs observe and refuse nothing, so that what is counted is the relay's own restraint, under more than three times
the load that the limits allow. Each policy spans two sets of MX hosts. The same count over a lane whose limits are one
too high is not zero. Engine: HostNetwork.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation
from e2e.internet.addresses import FREEMAIL, GMAIL, GMX, OUTLOOK, YAHOO
from e2e.internet.counting import max_in_any_window
from e2e.internet.policy import Greylist, Stage
from e2e.internet.records import Message, Refusal
from e2e.outbound import (
    Outbound,
    Span,
    host_pool,
    isp_policy,
    mean_connections,
    most_connections,
    most_in_window,
    record_e2e,
    sending_lane,
)

pytestmark = [pytest.mark.cluster, pytest.mark.quiet, pytest.mark.timeout(400)]

LANE = "bounded"
ADDRESSES = (("203.0.113.140", "n1"), ("203.0.113.141", "n2"), ("203.0.113.142", "n1"), ("203.0.113.143", "n2"))
CONNECTIONS = 3
MESSAGES_A_SECOND = 10
CONNECTIONS_A_SECOND, MESSAGES_A_CONNECTION = 3, 4
END_OF_DATA_S = 0.3  # three connections carry 7.5 messages a second at best
SPANNING_OFFERED, PACED_OFFERED, RENEWING_OFFERED = 24.0, 32.0, 38.0  # messages a second: over three times the limit
FILLING_S = 2.0
MEASURED_S = 8.0
ROUND_TRIP_S = (
    0.02  # of the paced ISPs: a relay that cannot know when they count leaves a part of each round trip unused
)
GREYLISTED_S = 0.5
USED = 0.95
SPANNING = ("outlook-like.example", "company.example")
PACED = ("yahoo-like.example", "gmx-like.example")
RENEWING = ("gmail-like.example",)
OFFERED = (
    ("spanning", SPANNING, SPANNING_OFFERED),
    ("paced", PACED, PACED_OFFERED),
    ("renewing", RENEWING, RENEWING_OFFERED),
)
LIMITS = {"connections", "messages a second", "connections a second", "messages a connection"}
GREYLISTED = {
    "id": "greylisted",
    "pattern": "^450[- ]4\\.7\\.1 Greylisted",
    "category": "greylisted",
    "action": "Retry",
    "scope": "Recipient",
    "retryAfter": "1s",
    "examples": ["450 4.7.1 Greylisted, please try again later"],
}


@pytest.fixture(scope="module")
def bounded(sending_namespace: Installation) -> str:
    """The lane, with its first slot ready."""
    here = sending_namespace
    for address, node in ADDRESSES:
        here.cluster.add_address(node, address)
    here.apply(
        host_pool("bounded", here.namespace, ADDRESSES),
        isp_policy("spanning", here.namespace, ["*.outlook-like.example"], connectionsPerIP=CONNECTIONS),
        isp_policy(
            "paced",
            here.namespace,
            ["*.yahoo-like.example", "*.gmx-like.example"],
            messageRate=f"{MESSAGES_A_SECOND}/s",
        ),
        isp_policy(
            "renewing",
            here.namespace,
            ["*.gmail-like.example"],
            connectRate=f"{CONNECTIONS_A_SECOND}/s",
            messagesPerConnection=MESSAGES_A_CONNECTION,
        ),
        isp_policy("greylisting", here.namespace, ["*.freemail.example"], responses=[GREYLISTED]),
        sending_lane(LANE, here.namespace, "bounded", limits={"connectionsPerIP": 8}),
    )
    here.wait_ready(LANE)
    return LANE


@dataclass(frozen=True)
class Seen:
    """What the ISPs saw of all slots over a time."""

    spans: list[Span]
    messages: list[Message]

    def exceeded(self, since: float = 0.0) -> dict[tuple[str, str], int]:
        """(address, limit) -> the most that was seen since then, where that is more than the limit."""
        spans = [one for one in self.spans if one.isp == OUTLOOK.name and (one.closed or since) >= since]
        paced = [one for one in self.messages if one.isp in (YAHOO.name, GMX.name) and one.received >= since]
        renewed = [one for one in self.spans if one.isp == GMAIL.name and one.opened >= since]
        found: dict[tuple[str, str], int] = {}
        for address, _ in ADDRESSES:
            carried = Counter(
                one.connection
                for one in self.messages
                if one.isp == GMAIL.name and one.source_ip == address and one.received >= since
            )
            begun = (one.opened for one in renewed if one.source_ip == address)
            most = {
                "connections": (most_connections(spans, address), CONNECTIONS),
                "messages a second": (most_in_window(paced, address, 1.0), MESSAGES_A_SECOND),
                "connections a second": (max_in_any_window(begun, 1.0), CONNECTIONS_A_SECOND),
                "messages a connection": (max(carried.values(), default=0), MESSAGES_A_CONNECTION),
            }
            found |= {(address, name): seen for name, (seen, limit) in most.items() if seen > limit}
        return found

    def used(self, address: str, since: float, until: float) -> dict[str, float]:
        """Parts of what is allowed that one slot used in this time."""
        spans = [one for one in self.spans if one.isp == OUTLOOK.name]
        begun = sum(
            one.source_ip == address and one.isp == GMAIL.name and since <= one.opened < until for one in self.spans
        )
        return {
            "connections": mean_connections(spans, address, since, until) / CONNECTIONS,
            "pace": self._sent(address, (YAHOO.name, GMX.name), since, until) / (MESSAGES_A_SECOND * (until - since)),
            "connect_rate": begun / (CONNECTIONS_A_SECOND * (until - since)),
            "each_connection": self._sent(address, (GMAIL.name,), since, until) / max(1, begun) / MESSAGES_A_CONNECTION,
        }

    def _sent(self, address: str, isps: tuple[str, ...], since: float, until: float) -> int:
        return sum(
            one.source_ip == address and one.isp in isps and since <= one.received < until for one in self.messages
        )


async def _seen(outbound: Outbound) -> Seen:
    records = await outbound.internet.records((OUTLOOK.name, YAHOO.name, GMX.name, GMAIL.name))
    return Seen(await outbound.spans(), [one for one in records if isinstance(one, Message)])


def _scale(outbound: Outbound, slots: int) -> list[str]:
    """Gives the lane so many slots; the addresses of those that serve."""
    here = outbound.here
    here.cluster.kubectl("scale", "sendinglane", LANE, "-n", here.namespace, f"--replicas={slots}")

    def addresses() -> list[str]:
        status = here.get("sendinglane", LANE)["status"]
        assert sum(one.get("egressVerified", False) and one["ready"] for one in status["slots"]) == slots, status
        return [one["ip"] for one in status["slots"]]

    return eventually(addresses, f"{slots} slots serve", within=120)


async def _measure(outbound: Outbound, slots: int) -> tuple[list[str], float, float]:
    """Offers each slot more than it may pass on; (addresses, begin and end of the time that counts)."""
    addresses = _scale(outbound, slots)
    loads = [
        await outbound.load(
            f"{kind}-{slots}-{slot.pod}",
            LANE,
            (slot.host, slot.port),
            domains,
            int(rate * (FILLING_S + MEASURED_S)),
            rate,
            sessions=2,
        )
        for slot in outbound.slots(LANE)
        for kind, domains, rate in OFFERED
    ]
    eventually(lambda: all(load.progress() > 20 for load in loads), "all generators send")
    since = time.time() + FILLING_S
    until = since + MEASURED_S
    await asyncio.sleep(until - time.time())  # the time that is measured
    for load in loads:
        await load.done(60)
    return addresses, since, until


@pytest.mark.long("tests/lane_relay/deliver/test_limits.py", "tests/lane_relay/deliver/test_shares.py")
async def test_limits_hold_on_the_wire_with_one_two_and_four_slots(outbound: Outbound, bounded: str) -> None:
    await outbound.policy(OUTLOOK, enforce="observe", delays={Stage.END_OF_DATA: END_OF_DATA_S})
    for provider in (YAHOO, GMX, GMAIL):
        await outbound.policy(provider, enforce="observe", round_trip_s=ROUND_TRIP_S)
    measured = [await _measure(outbound, slots) for slots in (1, 2, 4)]
    seen = await _seen(outbound)

    exceeded = seen.exceeded()
    used = [seen.used(address, since, until) for addresses, since, until in measured for address in addresses]
    least = {name: min(parts[name] for parts in used) for name in used[0]}
    record_e2e("limits_exceeded", len(exceeded), "limits of a slot")
    record_e2e("limits_messages", len(seen.messages), "messages", None)
    record_e2e("limits_connections", len(seen.spans), "connections", None)
    for name, part in least.items():
        record_e2e(f"limits_{name}_used", round(part, 4), "of the limit, by the slot that used least", None)
    assert exceeded == {}
    assert all(part >= USED for part in least.values()), used

    # the mutant: limits that are one too high, in the lane; the ISPs count as before
    since = time.time()
    one_too_many = [
        {"name": "spanning", "connectionsPerIP": CONNECTIONS + 1},
        {"name": "paced", "messageRate": f"{MESSAGES_A_SECOND + 1}/s"},
        {
            "name": "renewing",
            "connectRate": f"{CONNECTIONS_A_SECOND + 1}/s",
            "messagesPerConnection": MESSAGES_A_CONNECTION + 1,
        },
    ]
    patch = json.dumps({"spec": {"isps": one_too_many}})
    outbound.here.cluster.kubectl(
        "patch", "sendinglane", LANE, "-n", outbound.here.namespace, "--type=merge", "-p", patch
    )
    broken: dict[tuple[str, str], int] = {}
    while {limit for _, limit in broken} != LIMITS:
        assert time.time() < since + 40, f"the ISPs do not see limits that are one too high: {broken}"
        await asyncio.sleep(0.5)
        broken = (await _seen(outbound)).exceeded(since)
    record_e2e("limits_exceeded_by_mutant", len(broken), "limits of a slot", None)


async def test_a_greylisted_message_is_delivered_from_the_same_address_on_the_second_try(
    outbound: Outbound, bounded: str
) -> None:
    await outbound.policy(FREEMAIL, greylist=Greylist(delay_s=GREYLISTED_S).model_dump())
    _scale(outbound, 4)

    entries = await outbound.submit("greylisted", LANE, "freemail.example", 24)
    arrived = await outbound.arrivals(entries)

    refusals = [one for one in await outbound.isps.dump(FREEMAIL.name) if isinstance(one, Refusal)]
    first_tries = {one.recipient: one.source_ip for one in refusals if one.code == 450}
    assert len(refusals) == len(first_tries) == len(entries)
    assert {one.recipients[0]: one.source_ip for one in arrived} == first_tries
    assert len(arrived) == len(entries)
    assert len(set(first_tries.values())) > 1, "the messages went through one slot only"
