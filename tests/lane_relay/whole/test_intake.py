"""Intake of the whole relay: what is asked for at MAIL, in the header and in the configuration comes out at the end."""

import re
import smtplib

import pytest

from tests.lane_relay.running import Relay, Sink, eventually, fixed_route, letter
from tests.lane_relay.whole.conftest import NewRelay

pytestmark = pytest.mark.timeout(300)


def test_redirected_mail_goes_to_one_address_and_its_records_say_whom_it_was_for(
    new_relay: NewRelay, sink: Sink
) -> None:
    routes = [fixed_route(sink)]
    relay = new_relay(delivery={"routes": routes, "mode": "Redirect", "redirectTo": "all@test.example"}).start()
    relay.submit(1, 2)

    arrived = sink.wait(2)
    assert {one.recipients for one in arrived} == {("all@test.example",)}
    assert all(b"X-Lane-Redirected-From: ann@isp.test\r\n" in one.content for one in arrived)
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    receptions = [record for record in relay.records() if record["type"] == "Reception"]
    assert [record["meta"] for record in receptions] == [{"redirected_from": "ann@isp.test"}] * 2


def test_reports_about_redirected_mail_go_where_all_mail_goes_and_to_nobody_else(
    new_relay: NewRelay, sink: Sink
) -> None:
    refusals = iter(["550 5.1.1 no"])
    sink.answer_with = lambda stage, _address: next(refusals, None) if stage == "RCPT" else None
    routes = [fixed_route(sink)]
    relay = new_relay(delivery={"routes": routes, "mode": "Redirect", "redirectTo": "all@test.example"}).start()
    relay.submit(1)

    (report,) = sink.wait(1)
    assert (report.sender, report.recipients) == ("", ("all@test.example",))
    assert b"X-Lane-Redirected-From: otp@brand.test\r\n" in report.content
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    of_report = [record for record in relay.records() if record["type"] == "Reception"][1]
    assert of_report["meta"] == {"redirected_from": "otp@brand.test"}


def test_discarded_mail_is_taken_and_recorded_and_never_sent(new_relay: NewRelay, sink: Sink) -> None:
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "mode": "Discard"}).start()
    relay.submit(1)
    eventually(lambda: [record for record in relay.records() if record["type"] == "AdminAction"], "the drop's record")
    assert [record["type"] for record in relay.records()] == ["Reception", "AdminAction"]

    relay.change(delivery={"mode": "Live"})
    relay.submit(2)
    assert [b"letter 2" in one.content for one in sink.wait(1)] == [True]


def test_a_message_by_chunks_that_expires_is_not_sent_when_its_isp_comes_back(relay: Relay, sink: Sink) -> None:
    sink.answer_with = lambda stage, address: (
        "451 4.3.0 later" if stage == "RCPT" and address == "ann@isp.test" else None
    )
    relay.start()
    content = letter(1).as_bytes().replace(b"\n", b"\r\n")
    with relay.session() as client:
        client.ehlo()
        assert client.mail("otp@brand.test", ["BY=3;R", "RET=HDRS", "ENVID=order-1"])[0] == 250
        client.rcpt("ann@isp.test", ["NOTIFY=FAILURE", "ORCPT=rfc822;ann@old.test"])
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        assert client.getreply()[0] == 250

    report = eventually(lambda: [one for one in sink.arrived if not one.sender], "a report that it has expired")[0]
    assert b"Original-Envelope-Id: order-1\r\n" in report.content
    assert re.search(rb"Original-Recipient: rfc822; ?ann@old.test\r\n", report.content)
    assert b"Your code is" not in report.content
    eventually(lambda: [one for one in relay.records() if one["type"] == "Expiration"], "the record of its end")
    assert not [one for one in sink.arrived if one.recipients == ("ann@isp.test",)]


def test_a_user_over_its_rate_waits_over_a_new_session_and_not_over_a_new_configuration(
    relay: Relay, sink: Sink
) -> None:
    relay.start()
    relay.change(intake={"users": [{"name": "app", "rate": "2/h"}]})
    relay.submit(1, 2)
    with pytest.raises(smtplib.SMTPSenderRefused, match=r"4\.7\.1 User app has sent all messages it may \(2/h\)"):
        relay.submit(3)

    relay.change(intake={"users": [{"name": "app", "rate": "3/h"}]})
    relay.submit(3)
    sink.wait(3)


def test_the_time_since_a_message_was_triggered_is_a_latency_of_its_own(relay: Relay, sink: Sink) -> None:
    relay.start()
    sent = letter(1)
    sent["X-Lane-Triggered-At"] = "2026-01-01T00:00:00Z"
    with relay.session() as client:
        client.send_message(sent)
        client.send_message(letter(2))

    assert not [one for one in sink.wait(2) if b"X-Lane" in one.content]
    count = "trigger_latency_seconds_count{class=Transactional}"
    eventually(lambda: relay.metric("delivery_latency_seconds_count{policy=other}") == 2, "both are counted")
    assert relay.metric(count) == 1
    triggered = [1_767_225_600.0] * 2  # the second record is committed a moment after it is counted
    eventually(
        lambda: [one["triggered"] for one in relay.records() if "triggered" in one] == triggered, "both are on record"
    )
