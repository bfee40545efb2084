"""What waits for room in a warm-up is seen, ordered about, and given to siblings, as all mail that waits.

Two may leave in each hour, of which none ends while these run.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.lane_relay.running import Relay, Sink, eventually, letter
from tests.lane_relay.whole.asked import ordered
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient
from tests.lane_relay.whole.test_handover import Lane

pytestmark = pytest.mark.timeout(300)

_COLD = {"steps": [24]}


def _submit(relay: Relay, campaign: str, *numbers: int) -> None:
    with relay.session() as client:
        for number in numbers:
            message = letter(number)
            message["X-Lane-Campaign"] = campaign
            client.send_message(message)


def _held_by(admin: AdminClient, order: str) -> int:
    (entries,) = [one["entries"] for one in admin.ask("GET", "/v1/actions")[1]["actions"] if one["id"] == order]
    return int(entries)


def _reports(sink: Sink) -> int:
    return sum(not one.sender for one in sink.arrived)


def test_what_waits_for_room_says_so_wherever_somebody_looks(relay: Relay, sink: Sink) -> None:
    relay.write({**relay.overrides, "warmup": _COLD})
    admin = AdminClient(relay)
    relay.start()
    _submit(relay, "spring", *range(7))
    sink.wait(2)
    eventually(lambda: relay.metric("queue_messages") == 5, "five that wait")

    def five() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = admin.ask("GET", "/v1/messages?state=Scheduled&campaign=spring")[1]["messages"]
        return found if len(found) == 5 else []

    listed = eventually(five, "all of them have their time")
    (message,) = admin.ask("GET", f"/v1/explain?message={listed[0]['id']}")[1]["messages"]
    (queued,) = message["queued"]
    held = queued["heldBy"]
    assert (queued["state"], held["limit"], held["until"][:16]) == ("Scheduled", "warm-up", queued["dueAt"][:16])
    assert "warmed up" in held["detail"]
    assert message["receivedAt"] < queued["dueAt"]
    domain = admin.ask("GET", "/v1/explain?domain=isp.test")[1]
    assert (domain["queued"], {one["heldBy"]["limit"] for one in domain["entries"]}) == ({"Scheduled": 5}, {"warm-up"})
    for by in ("domain", "campaign"):
        (row,) = admin.ask("GET", f"/v1/queues?by={by}")[1]["queues"]
        assert row["entries"] == 5
    assert relay.unaccounted() == 0


def test_orders_are_about_what_waits_for_room_as_well(relay: Relay, sink: Sink) -> None:
    relay.write({**relay.overrides, "warmup": _COLD})
    admin = AdminClient(relay)
    relay.start()
    _submit(relay, "first", 1, 2)
    sink.wait(2)
    for campaign, how_many in (("dropped", 3), ("bounced", 2), ("kept", 4)):
        _submit(relay, campaign, *range(how_many))
    eventually(lambda: relay.metric("queue_messages") == 9, "nine that wait")
    ordered(admin, action="drop", campaign="dropped")
    eventually(lambda: relay.metric("queue_messages") == 6, "nothing of it waits any more")
    ordered(admin, action="bounce", campaign="bounced")
    eventually(lambda: relay.metric("queue_messages") == 6, "its reports wait in its place")
    order = ordered(admin, action="hold", campaign="kept")
    relay.change(warmup=None)  # its owner says that it is warm: all that waits chooses its way anew
    eventually(lambda: _held_by(admin, order["id"]) == 4, "the order has all four")
    eventually(lambda: _reports(sink) == 2, "its senders have heard of it")
    assert admin.ask("DELETE", f"/v1/actions/{order['id']}?owner=jane&reason=ok")[0] == 200
    sink.wait(2 + 2 + 4)
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    assert relay.unaccounted() == 0


def test_a_slot_that_is_emptied_gives_its_siblings_what_waits_for_room_as_well(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Lane(tmp_path)
    cold = new_relay(**lane.slot("otp-0", sink, "Running"), warmup=_COLD).start()
    _submit(cold, "spring", *range(40))
    sink.wait(2)
    eventually(lambda: cold.metric("queue_messages") == 38, "the others wait")
    warm = new_relay(**lane.slot("otp-1", sink, "Running")).start()
    cold.change(delivery={"state": "Transferring"})
    sink.wait(40)
    eventually(lambda: cold.metric("queue_messages") + warm.metric("queue_messages") == 0, "two empty queues")
    assert warm.metric("handover_taken_total") == 38
    assert cold.unaccounted() == warm.unaccounted() == 0
