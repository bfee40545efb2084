"""Over the whole relay: a slot that is to go gives its mail to a host outside of the lane, which answers for it."""

from tests.lane_relay.running import Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay


def test_what_waits_for_its_time_goes_out_at_once_and_is_on_record_as_handed_over(
    new_relay: NewRelay, sink: Sink
) -> None:
    sink.answer_with = lambda stage, _address: "451 4.7.1 come back later" if stage == "RCPT" else None
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "retry": {"first": "10m"}})
    relay.start()
    for number in range(3):
        relay.submit(number)
    eventually(
        lambda: sum(one["type"] == "TransientFailure" for one in relay.records()) == 3, "the records of the deferrals"
    )

    with Sink("127.0.0.72") as outside:
        refused = {0: True}
        outside.answer_with = lambda stage, _address: (
            "554 5.7.1 relay access denied" if stage == "RCPT" and refused.pop(0, False) else None
        )
        routes = [{**fixed_route(outside), "handsOver": True}]
        relay.change(delivery={"routes": routes, "retry": {"first": "1s"}})
        outside.wait(3)
        eventually(lambda: sum(one["type"] == "HandOver" for one in relay.records()) == 3, "on record")

    found = relay.records()
    assert not any(one["type"] in ("Delivery", "Bounce") for one in found)
    handed = [one for one in found if one["type"] == "HandOver"]
    assert {one["site"] for one in handed} == {"drain.to"}
    assert {one["peer_address"]["addr"] for one in handed} == {"127.0.0.72"}
    assert any("relay access denied" in str(one["response"]) for one in found if one["type"] == "TransientFailure")
