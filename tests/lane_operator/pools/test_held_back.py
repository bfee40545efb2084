"""After the store went back nothing is given anew until whoever may hold an address has been seen."""

import datetime as dt
from dataclasses import replace

from lane_api.conditions import Reason
from lane_api.ippool import AddressStatus, IPPoolStatus
from lane_operator.inputs import NodeFacts
from lane_operator.pools import allocate
from lane_operator.pools.held_back import ASKED_WITHIN, ENDED_AFTER, ENDS_WITHIN, unseen
from lane_operator.status.patience import WAIT, patience
from tests.lane_operator import made
from tests.lane_operator.pools.test_allocate import demand

NOW = made.NOW
HERE, AWAY = NodeFacts("192.0.2.10"), NodeFacts("192.0.2.11", ready=False)
LATER = ENDED_AFTER + dt.timedelta(seconds=1)
TWO = made.pool(
    addresses=[{"ip": "203.0.113.10", "hostname": "a.example.com"}, {"ip": "203.0.113.11", "hostname": "b.example.com"}]
)


def held(ip: str, slot: str, released_at: str | None = None) -> AddressStatus:
    lane = slot.rpartition("-")[0]
    return AddressStatus(
        ip=ip, hostname="a.example.com", lane=f"mail/{lane}", lane_class="Transactional", slot=slot,
        released_at=released_at,
    )  # fmt: skip


def test_nothing_new_is_given_and_what_is_recorded_stays() -> None:
    pool = replace(TWO, status=IPPoolStatus(addresses=(held("203.0.113.10", "otp-0"),)))

    result = allocate([pool], [demand("otp", 2), demand("other", 1)], NOW, unseen=("node n2 does not answer",))

    otp, other = result.assignments["mail", "otp"], result.assignments["mail", "other"]
    assert [(one.slot_name, one.address and one.address.ip) for one in otp.claims] == [("otp-0", "203.0.113.10")]
    assert other.claims == ()
    for one in (otp, other):
        assert one.refusal is not None
        assert (one.refusal.reason, one.refusal.waiting) == (Reason.STORE_WENT_BACK, Reason.STORE_WENT_BACK)
        assert "node n2 does not answer" in one.refusal.message
    assert [row.lane for row in result.statuses[pool.key].addresses] == ["mail/otp", ""]


def test_an_address_that_rests_is_not_given_back_either_since_another_may_have_got_it() -> None:
    resting = held("203.0.113.10", "otp-0", released_at="2026-11-23T07:00:00Z")
    pool = replace(TWO, status=IPPoolStatus(addresses=(resting,)))

    assert allocate([pool], [demand("otp", 1)], NOW, unseen=("it",)).assignments["mail", "otp"].claims == ()
    assert len(allocate([pool], [demand("otp", 1)], NOW).assignments["mail", "otp"].claims) == 1


def test_a_slot_whose_objects_are_there_keeps_what_they_name_though_the_record_is_lost() -> None:
    asked = replace(demand("otp", 1), retained=frozenset({0}), found={0: "203.0.113.11"})
    vouched = replace(asked, vouched=frozenset({0}))

    claims = allocate([TWO], [vouched], NOW, unseen=("it",)).assignments["mail", "otp"].claims

    assert [one.address and one.address.ip for one in claims] == ["203.0.113.11"]
    assert allocate([TWO], [asked], NOW, unseen=("it",)).assignments["mail", "otp"].claims == ()


def test_a_lane_that_has_all_that_it_asks_for_hears_nothing_of_it() -> None:
    pool = replace(TWO, status=IPPoolStatus(addresses=(held("203.0.113.10", "otp-0"),)))

    assert allocate([pool], [demand("otp", 1)], NOW, unseen=("it",)).assignments["mail", "otp"].refusal is None


def test_nodes_have_their_time_to_end_what_is_unknown() -> None:
    (said,) = unseen(NOW, NOW + ENDED_AFTER - dt.timedelta(seconds=1), {"n1": HERE})
    assert "until 2026-" in said
    assert unseen(NOW, NOW + ENDED_AFTER, {"n1": HERE}) == ()
    assert unseen(NOW, NOW + ENDED_AFTER, {}) == (), "without the right to see nodes only time tells"


def test_a_node_that_does_not_answer_is_waited_for_until_a_person_says_that_it_runs_nothing() -> None:
    (said,) = unseen(NOW, NOW + 100 * LATER, {"n1": HERE, "n2": AWAY})
    assert "node n2" in said
    assert "n1" not in said
    assert "out-of-service" in said

    assert unseen(NOW, NOW + LATER, {"n1": HERE, "n2": replace(AWAY, out_of_service=True)}) == ()


def test_a_node_that_was_silent_before_anything_unknown_began_holds_nobody_up() -> None:
    since = NOW - dt.timedelta(hours=1)

    def told(unready: str, unknown_since: dt.datetime | None = since) -> tuple[str, ...]:
        node = replace(AWAY, unready_since=unready)
        return unseen(NOW, NOW + LATER, {"n1": HERE, "n2": node}, unknown_since=unknown_since)

    assert told("2026-01-01T00:00:00Z") == told("2026-11-23T06:58:00Z") == ()
    for unready in ("2026-11-23T06:59:30Z", "2026-11-23T07:30:00Z", "2026-11-23T08:00:40Z", "", "nonsense"):
        assert "node n2 does not answer" in told(unready)[0]
    assert "node n2" in told("2026-01-01T00:00:00Z", None)[0], "nobody knows since when"


def test_a_node_that_comes_back_later_has_its_time_too() -> None:
    back = NOW + 10 * LATER
    node = NodeFacts("192.0.2.11", ready_since=back.strftime("%Y-%m-%dT%H:%M:%SZ"))

    assert "nodes end slots" in unseen(NOW, back + ENDS_WITHIN - dt.timedelta(seconds=1), {"n2": node})[0]
    assert unseen(NOW, back + ENDS_WITHIN, {"n2": node}) == ()
    long_ago = replace(node, ready_since="2026-01-01T00:00:00Z")
    assert unseen(NOW, NOW + ENDED_AFTER, {"n2": long_ago, "n3": replace(node, ready_since="nonsense")}) == ()


def test_slots_that_are_known_are_asked_first_for_as_long_as_that_may_take() -> None:
    assert "mail/otp-0" in unseen(NOW, NOW + LATER, {"n1": HERE}, ["mail/otp-0"])[0]
    assert unseen(NOW, NOW + ASKED_WITHIN, {"n1": HERE}, ["mail/otp-0"]) == ()


def test_a_slot_that_sends_from_what_is_not_its_own_is_waited_for() -> None:
    (said,) = unseen(NOW, NOW + ASKED_WITHIN, {"n1": HERE}, (), {"mail/otp-0": "203.0.113.10"})
    assert "mail/otp-0" in said
    assert "203.0.113.10" in said


def test_many_names_are_counted() -> None:
    (said,) = unseen(NOW, NOW + LATER, {f"n{number}": AWAY for number in range(9)})
    assert "n0, n1, n2, n3, n4 and 4 more" in said


def test_it_is_hoped_for_as_long_as_any_order_of_things_takes_and_then_a_persons_matter() -> None:
    assert patience(Reason.STORE_WENT_BACK) == WAIT
    assert ENDED_AFTER < WAIT


def test_a_record_of_which_this_look_leaves_nothing_is_lost_in_it_and_not_in_the_next() -> None:
    gone = held("203.0.113.11", "a-0")  # its lane is gone, and the pool lists it no more
    pool = made.pool(addresses=[{"ip": "203.0.113.10", "hostname": "a.example.com"}])
    pool = replace(pool, status=IPPoolStatus(addresses=(gone,)))
    left = replace(demand("b", 0), retained=frozenset({0}), found={0: "203.0.113.10"})

    first = allocate([pool], [left], NOW)
    again = allocate([replace(pool, status=first.statuses[pool.key])], [left], NOW)

    assert first.assignments == again.assignments
    assert [one.slot_name for one in first.assignments["mail", "b"].claims] == ["b-0"]
