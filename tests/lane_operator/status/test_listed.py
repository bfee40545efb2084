"""What is said of addresses that blocklists have, and of lists that cannot be asked."""

from dataclasses import replace
from typing import Any

from lane_api.dnsbl import Listing
from lane_api.ippool import AddressStatus, IPPoolStatus, Quarantine
from lane_operator.deliverability.dnsbl import Standing
from lane_operator.deliverability.listings import with_listings
from lane_operator.desired import desired_state
from lane_operator.inputs import Claim, Observation
from lane_operator.reconcile.events import is_alarming, transitions
from lane_operator.status import lane_status, pool_status
from tests.lane_operator import made

ZEN = Listing(list="zen.spamhaus.org", codes=("127.0.0.2", "127.0.0.4"), since="2026-11-23T07:00:00Z")
COP = Listing(list="bl.spamcop.net", codes=("127.0.0.2",), since="2026-11-23T07:30:00Z")
LISTS = {"lists": ["zen.spamhaus.org"]}
ROWS = (
    AddressStatus(ip="203.0.113.10", lane="mail/otp", lane_class="Transactional", slot="otp-0"),
    AddressStatus(ip="203.0.113.11"),
)
IS_IN = "is in zen.spamhaus.org (127.0.0.2, 127.0.0.4) since 2026-11-23T07:00:00Z"


def recorded(*listings: Listing, ip: str = "203.0.113.10") -> IPPoolStatus:
    return with_listings(IPPoolStatus(addresses=ROWS), lambda of: listings if of == ip else ())


def said(status: Any) -> dict[str, tuple[str, str, str]]:
    return {one.type: (one.status, one.reason, one.message) for one in status.conditions}


def pool_says(status: IPPoolStatus, standing: Standing | None = None, **spec: Any) -> dict[str, tuple[str, str, str]]:
    return said(pool_status(made.pool(**{"dnsbl": LISTS, **spec}), status, made.NOW, (), standing))


def lane_says(claim: Claim, pool_spec: dict[str, Any], **spec: Any) -> str:
    pool = replace(made.pool(dnsbl=LISTS | pool_spec), status=recorded(ZEN))
    lane = made.lane(**spec)
    references = made.references(lane, pool)
    assignment = made.assignment(claim)
    desired = desired_state(lane, references, assignment, made.SETTINGS)
    status = lane_status(lane, references, assignment, desired, Observation((made.seen(0),)), made.NOW)
    return said(status)["Listed"][2]


def test_a_pool_names_listed_addresses_held_or_not_with_the_evidence() -> None:
    assert pool_says(recorded(ZEN))["Listed"] == ("True", "DNSBL", f"203.0.113.10 of slot otp-0 {IS_IN}")
    assert pool_says(recorded(ZEN, ip="203.0.113.11"))["Listed"][2] == f"203.0.113.11 {IS_IN}"
    assert "Listed" not in pool_says(recorded())
    assert "ListsAnswer" not in pool_says(recorded(), Standing(), dnsbl=None)


def test_a_list_that_cannot_be_asked_is_told_with_the_cause() -> None:
    broken = Standing(broken={"zen.spamhaus.org": "answers 127.255.255.254: the resolver is public"})
    status, reason, message = pool_says(recorded(), broken)["ListsAnswer"]
    assert (status, reason) == ("False", "ListBroken")
    assert message.startswith("zen.spamhaus.org answers 127.255.255.254: the resolver is public. It lists nobody")
    assert pool_says(recorded(), Standing())["ListsAnswer"][:2] == ("True", "ListsWork")
    four = Standing(without_ipv6=("zen.spamhaus.org",))
    assert pool_says(recorded(), four)["ListsAnswer"][2].endswith(
        "; of IPv6 addresses nothing is known to zen.spamhaus.org"
    )


def test_what_was_said_of_the_lists_stays_until_an_operator_that_has_just_begun_has_asked() -> None:
    broken = Standing(broken={"zen.spamhaus.org": "does not answer: Timeout"})
    pool = made.pool(dnsbl=LISTS)
    before = pool_status(pool, recorded(), made.NOW, (), broken)
    again = pool_status(replace(pool, status=before), recorded(), made.NOW)
    assert again.conditions == before.conditions
    assert "ListsAnswer" not in said(pool_status(pool, recorded(), made.NOW))


def test_a_lane_says_of_its_listed_address_what_follows() -> None:
    claim = made.claim(0)
    assert lane_says(claim, {}) == f"otp-0 (203.0.113.10) {IS_IN}: it sends on, as onListing says"
    acts = {"onListing": "Quarantine"}
    assert lane_says(claim, acts).endswith("since the lane is NeverPause and no standby slot can send instead")
    assert lane_says(claim, acts, automation="Observe").endswith("it sends on, since automation is Observe")
    by_list = Quarantine(by="dnsbl", reply="zen.spamhaus.org has it", since=ZEN.since, stood_in_by="otp-s0")
    assert lane_says(replace(claim, quarantine=by_list), acts).endswith(": otp-s0 sends instead")
    alone = by_list.model_copy(update={"stood_in_by": ""})
    assert lane_says(replace(claim, quarantine=alone), acts, protection="Pausable").endswith(": nothing leaves from it")


def test_each_listing_is_a_warning_of_its_own() -> None:
    def status(*listings: Listing) -> dict[str, Any]:
        pool = made.pool(dnsbl=LISTS)
        return pool_status(pool, recorded(*listings), made.NOW).model_dump(mode="json", by_alias=True)

    (first,) = transitions(status(), status(ZEN))
    (second,) = transitions(status(ZEN), status(ZEN, COP))
    assert is_alarming(first)
    assert second["message"].startswith("203.0.113.10 of slot otp-0 is in bl.spamcop.net (127.0.0.2)")
    assert transitions(status(ZEN), status(ZEN)) == ()
