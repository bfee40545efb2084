"""A blocklist has an active slot's address: a standby slot takes its place once a second look has found it, and until
two looks do not; status, an Event and the record say why. A list that refuses to answer lists nobody, and is said to.

What an ISP saw counts, and not what a relay says. Engine: Multus.
"""

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, pool
from e2e.outbound import Outbound, by_source, sending_lane

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

LANE = "known"
ACTIVE, SPARE = "203.0.113.155", "203.0.113.156"
LIST, REFUSES = "dnsbl.example.com", "refuses.example.com"
REVERSED = "155.113.0.203"
REFUSAL = "127.255.255.254"


@pytest.fixture(scope="module")
def known(sending_namespace: Installation) -> Installation:
    """A lane that is never paused, with one slot and one standby slot, whose pool asks two lists."""
    here = sending_namespace
    dns = here.internet.dns
    dns.publish_address(f"2.0.0.127.{LIST}", "127.0.0.2")
    for name in ("2.0.0.127", "1.0.0.127", REVERSED):
        dns.publish_address(f"{name}.{REFUSES}", REFUSAL)
    blocklists = {"every": "3s", "lists": [LIST, REFUSES], "onListing": "Quarantine"}
    addresses = pool("known", here.namespace, ACTIVE, SPARE, dnsbl=blocklists)
    addresses["spec"]["addresses"][1]["role"] = "Standby"
    here.apply(addresses, sending_lane(LANE, here.namespace, "known", standbyReplicas=1))
    here.wait_ready(LANE)
    eventually(lambda: slot(here, "known-s0")["egressVerified"], "the standby slot's address is proved", within=120)
    return here


def slot(here: Installation, name: str) -> Manifest:
    """One slot, as status says it."""
    status = here.get("sendinglane", LANE)["status"]
    return next(one for one in status["slots"] if one["name"] == name)


def recorded(here: Installation, ip: str) -> Manifest:
    """What the pool records of an address."""
    status = here.get("ippool", "known")["status"]
    return dict(next(one for one in status["addresses"] if one["ip"] == ip))


def pool_says(here: Installation, kind: str) -> Manifest:
    """A condition of the pool; empty while it is absent."""
    found = here.get("ippool", "known")["status"]["conditions"]
    return next((dict(one) for one in found if one["type"] == kind), {})


async def test_a_listed_address_is_replaced_by_the_standby_slot_until_two_looks_do_not_find_it(
    outbound: Outbound, known: Installation
) -> None:
    here, dns = known, known.internet.dns
    eventually(lambda: pool_says(here, "ListsAnswer"), "the lists were asked")
    lists = pool_says(here, "ListsAnswer")
    assert (lists["status"], lists["reason"]) == ("False", "ListBroken")
    assert lists["message"].startswith(f"{REFUSES} answers {REFUSAL}: ")
    assert LIST not in lists["message"]
    assert not pool_says(here, "Listed"), "a refusal lists nobody, however often it is repeated"
    assert outbound.endpoints(LANE) == {"known-0-0"}

    dns.publish_address(f"{REVERSED}.{LIST}", "127.0.0.4")
    eventually(lambda: outbound.endpoints(LANE) == {"known-s0-0"}, "submissions go to the standby slot", within=120)
    told = outbound.says(LANE, "Listed", "True", "DNSBL")
    assert told.startswith(f"known-0 ({ACTIVE}) is in {LIST} (127.0.0.4) since ")
    eventually(lambda: "known-s0 sends instead" in outbound.says(LANE, "Listed", "True", "DNSBL"), "and what follows")
    message = outbound.says(LANE, "AddressQuarantined", "True", "StandbyPromoted")
    assert (
        f"until it is listed no more, since {LIST} has {ACTIVE} (127.0.0.4); its mail leaves from known-s0" in message
    )
    record = recorded(here, ACTIVE)
    assert (record["listed"], record["quarantine"]["by"]) == ([LIST], "dnsbl")
    assert pool_says(here, "Listed")["message"].startswith(f"{ACTIVE} of slot known-0 is in {LIST} (127.0.0.4) since ")
    events = here.cluster.get("events", "-n", here.namespace)["items"]
    notes = [one["message"] for one in events if one["reason"] == "DNSBL" and one["type"] == "Warning"]
    assert any(note.startswith(f"{ACTIVE} of slot known-0 is in {LIST} (127.0.0.4)") for note in notes)
    arrived = await outbound.arrivals(await outbound.submit("listed", LANE, "gmail-like.example", 20))
    assert by_source(arrived) == {SPARE: 20}

    dns.withdraw_address(f"{REVERSED}.{LIST}")
    eventually(lambda: outbound.endpoints(LANE) == {"known-0-0"}, "submissions come back", within=120)
    eventually(lambda: not here.condition(LANE, "Listed"), "it is listed no more")
    record = recorded(here, ACTIVE)
    assert (record["listed"], "quarantine" in record) == ([], False)
    arrived = await outbound.arrivals(await outbound.submit("again", LANE, "gmail-like.example", 20))
    assert len(arrived) == 20
    assert by_source(arrived)[ACTIVE] > 10
