"""An ISP refuses an active slot's address: a standby slot sends its mail from its own, other ISPs' mail stays where it
was, and nothing is lost or sent twice; status says why, and all is as before when the quarantine ends. Then the pool's
owner quarantines the address: the standby slot takes submissions in its place.

What an ISP saw counts, and not what a relay says. Engine: Multus.
"""

import json
from collections import Counter
from typing import Any

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, pool
from e2e.internet.addresses import GMAIL, GMX
from e2e.outbound import Outbound, by_source, isp_policy, sending_lane

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

LANE = "warm"
ACTIVE, SPARE = "203.0.113.150", "203.0.113.151"
REPLY = "5.7.1 [203.0.113.150] is on our block list (S3150)"
RULE = {
    "id": "listed",
    "pattern": r"^550[- ]5\.7\.1 .*block list",
    "category": "spam-related",
    "action": "QuarantineIP",
    "scope": "IP",
    "for": "45s",
    "retryAfter": "1s",
    "examples": [f"550 {REPLY}"],
}
MESSAGES = 60


@pytest.fixture(scope="module")
def warm(sending_namespace: Installation) -> Installation:
    """A lane that is never paused, with one slot and one standby slot."""
    here = sending_namespace
    addresses = pool("warm", here.namespace, ACTIVE, SPARE)
    addresses["spec"]["addresses"][1]["role"] = "Standby"
    here.apply(
        addresses,
        isp_policy("listing", here.namespace, ["*.gmail-like.example"], responses=[RULE]),
        sending_lane(LANE, here.namespace, "warm", standbyReplicas=1),
    )
    here.wait_ready(LANE)
    eventually(lambda: slot(here, "warm-s0")["egressVerified"], "the standby slot's address is proved", within=120)
    return here


def slot(here: Installation, name: str) -> Manifest:
    """One slot, as status says it."""
    status = here.get("sendinglane", LANE)["status"]
    return next(one for one in status["slots"] if one["name"] == name)


def recorded(here: Installation, ip: str) -> Manifest:
    """What the pool records of an address."""
    status = here.get("ippool", "warm")["status"]
    return dict(next(one for one in status["addresses"] if one["ip"] == ip))


def patch_pool(here: Installation, change: Any) -> None:
    """Changes the pool's first address."""
    addresses = here.get("ippool", "warm")["spec"]["addresses"]
    addresses[0] |= change
    body = json.dumps({"spec": {"addresses": addresses}})
    here.cluster.kubectl("patch", "ippool", "warm", "-n", here.namespace, "--type=merge", "-p", body)


async def test_a_refused_address_s_mail_leaves_from_the_standby_slot_and_none_is_lost_or_doubled(
    outbound: Outbound, warm: Installation
) -> None:
    here = warm
    assert outbound.endpoints(LANE) == {"warm-0-0"}, "a standby slot takes no submissions"
    await outbound.policy(GMAIL, blocked={ACTIVE: {"code": 550, "text": REPLY}})

    load = await outbound.load(
        "refused", LANE, outbound.service(LANE), ("gmail-like.example", "gmx-like.example"), MESSAGES, 10.0
    )
    message = outbound.says(LANE, "AddressQuarantined", "True", "StandbyPromoted")
    assert message.startswith(f"warm-0 ({ACTIVE}) sends no mail for listing until ")
    assert "by rule listing/listed" in message
    assert "block list (S3150)" in message
    assert message.endswith("it leaves from warm-s0")
    assert (slot(here, "warm-s0")["role"], slot(here, "warm-s0")["message"]) == ("Promoted", "stands in for warm-0")
    quarantine = recorded(here, ACTIVE)["quarantine"]
    assert (quarantine["by"], quarantine["isps"], quarantine["stoodInBy"]) == (
        "listing/listed", ["listing"], "warm-s0",
    )  # fmt: skip
    assert here.get("ippool", "warm")["status"]["capacity"]["quarantined"] == 1
    entries = await load.done(60)
    assert Counter(one.outcome for one in entries) == {"accepted": MESSAGES}
    arrived = await outbound.arrivals(entries, within=30)

    assert len(arrived) == MESSAGES, "none is lost and none is doubled"
    assert by_source(one for one in arrived if one.isp == GMAIL.name).keys() == {SPARE}
    others = by_source(one for one in arrived if one.isp == GMX.name)
    assert others[ACTIVE] > others.get(SPARE, 0), "what others do not refuse leaves from where it did"
    events = here.cluster.get("events", "-n", here.namespace)["items"]
    assert sum(one["reason"] == "StandbyPromoted" for one in events) == 1, "one cause, one promotion"
    assert outbound.endpoints(LANE) == {"warm-0-0"}

    await outbound.policy(GMAIL)
    eventually(lambda: not here.condition(LANE, "AddressQuarantined"), "the quarantine is over", within=120)
    assert slot(here, "warm-s0")["role"] == "Standby"
    assert "quarantine" not in recorded(here, ACTIVE)
    afterwards = await outbound.arrivals(await outbound.submit("again", LANE, "gmail-like.example", 20))
    assert by_source(afterwards)[ACTIVE] > 10


async def test_an_address_that_its_owner_quarantines_is_replaced_by_the_standby_slot(
    outbound: Outbound, warm: Installation
) -> None:
    here = warm
    patch_pool(here, {"quarantined": True})
    eventually(lambda: outbound.endpoints(LANE) == {"warm-s0-0"}, "submissions go to the standby slot", within=90)
    message = outbound.says(LANE, "AddressQuarantined", "True", "StandbyPromoted")
    assert "sends nothing, as quarantined in the pool says; its mail leaves from warm-s0" in message
    assert slot(here, "warm-0")["role"] == "Quarantined"

    arrived = await outbound.arrivals(await outbound.submit("barred", LANE, "gmail-like.example", 20))
    assert by_source(arrived) == {SPARE: 20}

    patch_pool(here, {"quarantined": False})
    eventually(lambda: outbound.endpoints(LANE) == {"warm-0-0"}, "submissions come back", within=90)
    arrived = await outbound.arrivals(await outbound.submit("free", LANE, "gmail-like.example", 20))
    assert len(arrived) == 20
    assert by_source(arrived)[ACTIVE] > 10


async def test_a_lane_that_grows_takes_mail_by_its_standby_slot_first(outbound: Outbound, warm: Installation) -> None:
    here = warm
    here.cluster.kubectl("scale", "sendinglane", LANE, "-n", here.namespace, "--replicas=2")  # the pool has no more
    eventually(lambda: outbound.endpoints(LANE) == {"warm-0-0", "warm-s0-0"}, "it takes submissions", within=90)

    def is_said() -> bool:  # an endpoint is there before the slot has been asked
        said = slot(here, "warm-s0")
        return (said["role"], said["message"]) == ("Promoted", "stands in for warm-1")

    eventually(is_said, "the slot's status says what it does")

    here.cluster.kubectl("scale", "sendinglane", LANE, "-n", here.namespace, "--replicas=1")
    eventually(lambda: outbound.endpoints(LANE) == {"warm-0-0"}, "it stands by again", within=90)
