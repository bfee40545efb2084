"""Over the whole relay: a message that was told to wait is found by its Message-ID, with what was said and is next."""

from tests.lane_relay.running import Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient


def test_a_deferred_message_is_explained_by_its_message_id_and_counted_by_its_domain(
    new_relay: NewRelay, sink: Sink
) -> None:
    sink.answer_with = lambda stage, _address: "451 4.7.1 come back later" if stage == "RCPT" else None
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "retry": {"first": "10m"}})
    admin = AdminClient(relay)
    relay.start()
    relay.submit(1)
    (record,) = eventually(
        lambda: [one for one in relay.records() if one["type"] == "TransientFailure"], "the record of the deferral"
    )
    status, said = admin.ask("GET", f"/v1/explain?message={record['message_id'].replace('<', '%3C')}")
    assert status == 200
    (message,) = said["messages"]
    assert message["id"] == record["id"]
    assert message["last"]["type"] == "TransientFailure"
    assert "come back later" in str(message["last"]["response"])
    (queued,) = message["queued"]
    assert (queued["state"], queued["domain"], queued["attempts"]) == ("Scheduled", "isp.test", 1)

    assert admin.ask("GET", "/v1/queues")[1]["queues"][0]["name"] == "isp.test"
    domain = admin.ask("GET", "/v1/explain?domain=isp.test")[1]
    assert domain["queued"] == {"Scheduled": 1}
    assert domain["route"]["site"] == f"route:{sink.address}"
    assert admin.ask("GET", "/v1/explain?message=%3Cnobody@knows%3E")[0] == 404
