"""Over the whole relay: what is queued is listed by any of its names, and shown without its body."""

from urllib.parse import quote

from tests.lane_relay.running import Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient


def test_queued_messages_are_listed_and_one_is_shown_with_its_last_reply(new_relay: NewRelay, sink: Sink) -> None:
    sink.answer_with = lambda stage, _address: "451 4.7.1 come back later" if stage == "RCPT" else None
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "retry": {"first": "10m"}})
    admin = AdminClient(relay)
    relay.start()
    for number in range(3):
        relay.submit(number)
    eventually(
        lambda: sum(one["type"] == "TransientFailure" for one in relay.records()) == 3, "the records of the deferrals"
    )
    status, said = admin.ask("GET", "/v1/messages?domain=isp.test&state=Scheduled&limit=2")
    assert (status, len(said["messages"])) == (200, 2)
    rest = admin.ask("GET", f"/v1/messages?limit=2&first={said['next']}")[1]
    assert (len(rest["messages"]), rest["next"]) == (1, None)
    listed = [*said["messages"], *rest["messages"]]
    assert sorted(one["correlationId"] for one in listed) == ["order-0", "order-1", "order-2"]
    assert {one["entries"][0]["attempts"] for one in listed} == {1}
    (named,) = admin.ask("GET", f"/v1/messages?message-id={quote('<letter-1@brand.test>')}")[1]["messages"]
    status, shown = admin.ask("GET", f"/v1/messages/{named['id']}")
    assert (status, shown["correlationId"], shown["last"]["type"]) == (200, "order-1", "TransientFailure")
    assert "come back later" in str(shown["last"]["response"])
    assert {"name": "Subject", "value": "letter 1"} in shown["header"]
    assert "Your code is" not in str(shown)
    assert admin.ask("GET", f"/v1/messages/{'0' * 24}")[0] == 404
    for query in ("id=x", "state=Late", "limit=0", "first=1", "recipient=ann@isp.test"):
        assert admin.ask("GET", f"/v1/messages?{query}")[0] == 422
