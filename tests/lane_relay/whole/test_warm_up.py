"""A cold slot on the wire: its day's amount and no more, the rest by its warm sibling at once, or later."""

from collections import Counter
from pathlib import Path

import pytest

from tests.lane_relay.running import Relay, Sink, eventually, letter
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient
from tests.lane_relay.whole.test_handover import Lane

pytestmark = pytest.mark.timeout(300)


def submit_to_many(relay: Relay, recipients: int) -> None:
    """One message, one transaction, all recipients at one ISP."""
    with relay.session() as client:
        client.send_message(letter(0), to_addrs=[f"ann{number}@isp.test" for number in range(recipients)])


def reached(sink: Sink) -> list[str]:
    return sorted(recipient for one in sink.arrived for recipient in one.recipients)


def reports_written(relay: Relay) -> list[dict[str, object]]:
    return [one for one in relay.records() if one["type"] == "Reception" and not one["sender"]]


def helos(sink: Sink) -> Counter[str]:
    return Counter(message.helo for message in sink.arrived)


def test_what_is_beyond_the_day_s_amount_leaves_from_a_warm_sibling_at_once(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Lane(tmp_path)
    warm = new_relay(**lane.slot("otp-1", sink, "Running")).start()
    cold = new_relay(**lane.slot("otp-0", sink, "Running"), warmup={"steps": [60]}).start()
    cold.submit(*range(40))
    sink.wait(40)
    assert helos(sink) == {"otp-0.brand.test": 5, "otp-1.brand.test": 35}  # a twelfth of the day's amount an hour
    eventually(lambda: cold.metric("queue_messages") + warm.metric("queue_messages") == 0, "two empty queues")


def test_a_warm_sibling_that_may_not_send_is_given_nothing(tmp_path: Path, new_relay: NewRelay, sink: Sink) -> None:
    lane = Lane(tmp_path)
    warm = new_relay(**lane.slot("otp-1", sink, "Held")).start()
    cold = new_relay(**lane.slot("otp-0", sink, "Running"), warmup={"steps": [24]}).start()
    cold.submit(1, 2)  # its own amount of the first hour
    sink.wait(2)
    cold.submit(*range(3, 11))
    eventually(lambda: cold.metric("queue_messages") == 8, "eight that wait")
    assert warm.metric("handover_taken_total") == 0


def test_without_a_sibling_it_waits_for_its_time_and_a_restart_begins_no_new_day(relay: Relay, sink: Sink) -> None:
    relay.write({**relay.overrides, "warmup": {"steps": [24]}})
    relay.start().submit(*range(10))
    sink.wait(2)
    relay.terminate()
    relay.start()
    relay.submit(10)
    eventually(lambda: relay.metric("queue_messages") == 9, "nine that wait")
    assert len(sink.arrived) == 2
    relay.change(warmup=None)  # its owner says that it is warm
    relay.terminate()
    relay.start()
    sink.wait(11)


def test_what_cannot_be_tried_for_a_cause_of_ours_uses_nothing_of_the_day(relay: Relay, sink: Sink) -> None:
    (route,) = relay.overrides["delivery"]["routes"]
    without = {**route, "tls": "Required", "authDir": "/nowhere"}
    delivery = {"retry": {"first": "200ms", "max": "200ms"}}
    relay.write({"delivery": {**delivery, "routes": [without]}, "warmup": {"steps": [24]}})  # two in the first hour
    relay.start().submit(1, 2)
    eventually(lambda: [one["type"] for one in relay.records()].count("TransientFailure") > 3, "two tries of each")
    relay.change(delivery={"routes": [route]})
    sink.wait(2)


def test_the_sender_of_what_waits_for_room_hears_in_time_that_it_is_late(relay: Relay, sink: Sink) -> None:
    routes = relay.overrides["delivery"]["routes"]
    notice = {"after": "5s", "unasked": True}  # by then what may leave has left
    relay.write({"delivery": {"routes": routes, "delayNotice": notice}, "warmup": {"steps": [24]}})
    relay.start().submit(*range(4))
    sink.wait(2)
    eventually(lambda: len(reports_written(relay)) == 2, "a report about each of the two that wait, which wait too")
    relay.change(warmup=None)
    relay.terminate()
    relay.start()
    sink.wait(6)
    reports = [one.content for one in sink.arrived if not one.sender]
    assert [b"still being warmed up" in one.replace(b"\r\n    ", b" ") for one in reports] == [True, True]


def test_what_waits_for_room_expires_at_the_end_of_its_lifetime(relay: Relay, sink: Sink) -> None:
    routes = relay.overrides["delivery"]["routes"]
    relay.write({"delivery": {"routes": routes, "lifetime": "6s"}, "warmup": {"steps": [24]}})
    relay.start().submit(*range(4))
    eventually(lambda: [one["type"] for one in relay.records()].count("Expiration") == 2, "two that expired")
    assert len([one for one in sink.arrived if one.sender]) == 2


def test_a_message_to_many_uses_the_day_s_amount_up_by_its_recipients(relay: Relay, sink: Sink) -> None:
    relay.write({**relay.overrides, "warmup": {"steps": [60]}})
    relay.start()
    submit_to_many(relay, 40)  # five in the first hour
    sink.wait(1)
    eventually(lambda: relay.metric("queue_messages") == 1, "the others that wait, as one entry")
    assert len(reached(sink)) == 5
    relay.terminate()
    relay.start()
    relay.submit(1)
    eventually(lambda: relay.metric("queue_messages") == 2, "both that wait")
    assert len(reached(sink)) == 5
    relay.change(warmup=None)
    relay.terminate()
    relay.start()
    sink.wait(3)
    assert reached(sink) == sorted(["ann@isp.test", *(f"ann{number}@isp.test" for number in range(40))])


def test_recipients_with_return_paths_of_their_own_are_counted_too(tmp_path: Path, relay: Relay, sink: Sink) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 32)
    path = {"name": "brand.test", "mode": "Off", "returnPath": {"domain": "b.brand.test"}}
    relay.write({**relay.overrides, "feedback": {"keyFile": str(key)}, "domains": [path], "warmup": {"steps": [60]}})
    relay.start()
    submit_to_many(relay, 40)
    sink.wait(5)
    eventually(lambda: relay.metric("queue_messages") == 1, "the others that wait")
    assert len(reached(sink)) == len(sink.arrived) == 5


def test_of_a_message_to_many_a_warm_sibling_sends_what_is_beyond_the_amount(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Lane(tmp_path)
    warm = new_relay(**lane.slot("otp-1", sink, "Running")).start()
    cold = new_relay(**lane.slot("otp-0", sink, "Running"), warmup={"steps": [60]}).start()
    submit_to_many(cold, 40)
    sink.wait(2)
    assert sorted((one.helo, len(one.recipients)) for one in sink.arrived) == [
        ("otp-0.brand.test", 5),
        ("otp-1.brand.test", 35),
    ]
    eventually(lambda: cold.metric("queue_messages") + warm.metric("queue_messages") == 0, "two empty queues")


def test_recipients_for_whom_a_connection_had_no_transaction_left_use_nothing_of_the_day(
    tmp_path: Path, relay: Relay, sink: Sink
) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 32)
    path = {"name": "brand.test", "mode": "Off", "returnPath": {"domain": "b.brand.test"}}
    policy = {"name": "isp", "mx": [sink.address], "messagesPerConnection": 2}
    delivery = {**relay.overrides["delivery"], "policies": [policy]}
    feedback = {"keyFile": str(key)}
    relay.write({"delivery": delivery, "feedback": feedback, "domains": [path], "warmup": {"steps": [60]}})
    relay.start()
    submit_to_many(relay, 5)  # all that may leave in the first hour, by two in a connection
    sink.wait(5)
    assert len(set(reached(sink))) == 5


def test_an_isp_that_refuses_the_address_is_the_reason_of_its_step(relay: Relay, sink: Sink) -> None:
    refusal = "550 5.7.1 Your IP address 203.0.113.10 has been blocked by local policy"
    sink.answer_with = lambda stage, _address: refusal if stage == "MAIL" else None
    relay.write({**relay.overrides, "warmup": {"steps": [60], "stepEvery": "4s"}})
    admin = AdminClient(relay)
    relay.start().submit(1, 2, 3)
    report = eventually(
        lambda: [
            one
            for one in admin.ask("GET", "/v1/slot")[1].get("warmup", ())
            if one["reason"] == "the ISP refused the address"
        ],
        "a step that was judged",
    )
    assert [(one["isp"], one["step"]) for one in report] == [("other", 0)]
