"""A site that is left alone, and for which no mail waits, is told of as one that is whole."""

from typing import Any

from tests.lane_relay.running import Sink, eventually, fixed_route, letter
from tests.lane_relay.whole.asked import ordered
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient

GONE = "route:127.0.0.98"


def test_who_asks_about_a_site_that_refused_hears_of_it_and_an_order_finds_it(new_relay: NewRelay, sink: Sink) -> None:
    gone = {**fixed_route(sink, "gone.test"), "host": "127.0.0.98"}
    retry = {"first": "1h", "factor": 1, "max": "1h"}
    relay = new_relay(delivery={"routes": [gone, fixed_route(sink)], "retry": retry})
    admin = AdminClient(relay)
    relay.start()
    with relay.session() as client:
        client.send_message(letter(1, recipient="ann@gone.test"))
    eventually(lambda: "TransientFailure" in [one["type"] for one in relay.records()], "the refusal is on record")

    def row(waiting: int) -> dict[str, Any]:
        rows: list[dict[str, Any]] = admin.ask("GET", "/v1/sites")[1]["sites"]
        left = [one for one in rows if one["site"] == GONE and (one["connections"], one["waiting"]) == (0, waiting)]
        return left[0] if left else {}

    said = eventually(lambda: row(0), "nobody is connected to it any more")
    assert said["attempts"] == 1
    assert "connect to 127.0.0.98" in said["lastFailure"]
    site = admin.ask("GET", f"/v1/explain?site={GONE}")[1]
    assert "connect to 127.0.0.98" in site["lastFailure"]
    assert [(one["waiting"], one["failures"]) for one in site["hosts"]] == [(0, 1)]
    assert ordered(admin, action="suspend", site=GONE)["note"] == ""

    # the next letter is held by the order; without it, it waits out the pause that the first one began
    ordered(admin, action="resume", site=GONE)
    with relay.session() as client:
        client.send_message(letter(2, recipient="bob@gone.test"))
    waits = eventually(lambda: row(1), "the letter waits")
    assert (waits["heldBy"], waits["attempts"]) == ("no-answer", 1)
    held = next(
        one["heldBy"] for one in admin.ask("GET", "/v1/explain?domain=gone.test")[1]["entries"] if "heldBy" in one
    )
    assert (held["limit"], held["since"] is None, held["until"] is None) == ("no-answer", False, False)
