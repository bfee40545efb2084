"""Feedback, end to end: a return path goes out, what comes back to it becomes records and suppressions at once."""

import email
import http.client
import json
import smtplib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dkim
import pytest

from bench.nameserver import NameServer
from tests.lane_relay.running import Arrived, Relay, Sink, eventually, fixed_route, letter
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)
RETURN_PATH = "b.brand.test"
DSN = """From: Mail Delivery Subsystem <mailer-daemon@isp.test>
To: <{to}>
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="x"

--x
Content-Type: text/plain

It could not be delivered.
--x
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.isp.test

Final-Recipient: rfc822; {recipient}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 No such user here

--x--
"""
ARF = """From: feedback@arf.isp.test
To: <{to}>
Subject: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="x"

--x
Content-Type: text/plain

Somebody called it unwanted.
--x
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Loop/1.0
Version: 1

--x
Content-Type: text/rfc822-headers

{header}
--x--
"""


class Lane:
    """A relay with feedback, and its sink."""

    def __init__(self, relay: Relay, sink: Sink, port: int, http_port: int) -> None:
        self.relay, self.sink, self.port, self.http_port = relay, sink, port, http_port

    def send(self, number: int, recipient: str = "ann@isp.test") -> Arrived:
        """One letter, as the ISP got it."""
        before = len(self.sink.arrived)
        self.submit(number, recipient)
        return self.sink.wait(before + 1)[before]

    def submit(self, number: int, *recipients: str) -> None:
        with self.relay.session() as client:
            client.send_message(letter(number), to_addrs=recipients)

    def bring(self, to: str, content: str, sender: str = "") -> tuple[int, bytes]:
        """Hands mail to the feedback port; the answer to it."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as peer:
            peer.ehlo("mx.isp.test")
            peer.mail(sender)
            code, text = peer.rcpt(to)
            if code >= 400:
                return code, text
            return peer.data(content.replace("\n", "\r\n").encode())

    def ask(self, method: str, path: str) -> tuple[int, str]:
        """A request to the unsubscribe port."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        try:
            connection.request(method, path, "List-Unsubscribe=One-Click" if method == "POST" else None)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Records of one type."""
        return [record for record in self.relay.records() if record.get("type") == kind]

    def refusal(self, recipient: str) -> str:
        """What intake says to this recipient."""
        with self.relay.session() as client:
            client.ehlo_or_helo_if_needed()
            client.mail("otp@brand.test")
            code, text = client.rcpt(recipient)
            return "" if code == 250 else f"{code} {text.decode()}"


@pytest.fixture
def new_lane(new_relay: NewRelay, sink: Sink, tmp_path: Path) -> Callable[..., Lane]:
    """Makes lanes that are running."""
    (tmp_path / "verp").write_text("v" * 32)
    (tmp_path / "suppression").write_text("s" * 32)

    def make(
        *,
        traffic_class: str = "Transactional",
        return_path: dict[str, Any] | None = None,
        delivery: dict[str, Any] | None = None,
        **more: Any,
    ) -> Lane:
        port, http_port = free_port(), free_port()
        feedback = {
            "keyFile": str(tmp_path / "verp"),
            "smtp": {"host": "127.0.0.1", "port": port},
            "http": {"host": "127.0.0.1", "port": http_port},
            **more,
        }
        relay = new_relay(
            lane={"trafficClass": traffic_class},
            delivery={"routes": [fixed_route(sink)], **(delivery or {})},
            domains=[
                {"name": "brand.test", "mode": "Off", "returnPath": {"domain": RETURN_PATH, **(return_path or {})}}
            ],
            feedback=feedback,
            suppression={"path": str(tmp_path / "list"), "keyFile": str(tmp_path / "suppression")},
        )
        relay.start()
        return Lane(relay, sink, port, http_port)

    return make


def test_a_bounce_to_the_return_path_is_on_record_and_its_mailbox_is_mailed_no_more(
    new_lane: Callable[..., Lane],
) -> None:
    lane = new_lane()
    sent = lane.send(1)
    local, _, domain = sent.sender.partition("@")
    assert domain == RETURN_PATH
    assert local.startswith("b-")
    assert len(local) <= 64
    assert lane.bring(sent.sender, DSN.format(to=sent.sender, recipient="ann@isp.test"))[0] == 250
    (record,) = eventually(lambda: lane.records("OOB"), "the bounce on record")
    (delivery,) = eventually(lambda: lane.records("Delivery"), "the delivery on record")
    assert record["id"] == delivery["id"]
    assert record["recipient"] == "ann@isp.test"
    assert record["bounce_classification"] == "bad-mailbox"
    assert record["response"]["enhanced_code"] == {"class": 5, "subject": 1, "detail": 1}
    assert "suppressed (hard-bounce)" in lane.refusal("Ann@ISP.test")
    assert lane.refusal("bob@isp.test") == ""
    lane.relay.kill()
    lane.relay.start()
    assert "suppressed (hard-bounce)" in lane.refusal("ann@isp.test")


def test_a_report_about_another_mailbox_suppresses_nobody(new_lane: Callable[..., Lane]) -> None:
    lane = new_lane()
    sent = lane.send(1)
    assert lane.bring(sent.sender, DSN.format(to=sent.sender, recipient="victim@isp.test"))[0] == 250
    (record,) = eventually(lambda: lane.records("OOB"), "the bounce on record")
    assert "recipient" not in record
    assert record["meta"]["reported_recipient"] == "victim@isp.test"
    assert lane.refusal("victim@isp.test") == ""
    assert lane.refusal("ann@isp.test") == ""


@pytest.mark.parametrize(
    "to",
    [
        f"b-{'a' * 60}@{RETURN_PATH}",
        f"b-short@{RETURN_PATH}",
        f"nobody@{RETURN_PATH}",
        "ann@isp.test",
        "otp@brand.test",
        "postmaster@isp.test",
    ],
)
def test_nobody_else_is_known_here_and_all_hear_the_same(new_lane: Callable[..., Lane], to: str) -> None:
    lane = new_lane()
    assert lane.bring(to, "x") == (550, b"5.1.1 There is no such mailbox here")
    assert lane.sink.arrived == []


def test_each_recipient_goes_with_a_return_path_of_its_own(new_lane: Callable[..., Lane]) -> None:
    lane = new_lane()
    lane.submit(1, "ann@isp.test", "bob@isp.test")
    arrived = lane.sink.wait(2)
    assert sorted(one.recipients for one in arrived) == [("ann@isp.test",), ("bob@isp.test",)]
    assert arrived[0].sender != arrived[1].sender


def test_with_keep_the_senders_own_envelope_goes_out(new_lane: Callable[..., Lane]) -> None:
    lane = new_lane(return_path={"mode": "Keep"})
    lane.submit(1, "ann@isp.test", "bob@isp.test")
    (sent,) = lane.sink.wait(1)
    assert sent.sender == "otp@brand.test"
    assert sent.recipients == ("ann@isp.test", "bob@isp.test")


def test_a_complaint_counts_by_the_token_in_what_it_returns_and_not_without(new_lane: Callable[..., Lane]) -> None:
    lane = new_lane()
    sent = email.message_from_bytes(lane.send(1).content)
    assert sent["CFBL-Address"] == f"fbl@{RETURN_PATH}; report=arf"
    fbl = f"fbl@{RETURN_PATH}"
    assert lane.bring(fbl, ARF.format(to=fbl, header=f"CFBL-Feedback-ID: {'a' * 60}"), "fbl@isp.test")[0] == 250
    assert lane.bring(fbl, ARF.format(to=fbl, header="Message-ID: <letter-1@brand.test>"), "fbl@isp.test")[0] == 250
    assert lane.refusal("ann@isp.test") == ""
    header = f"CFBL-Feedback-ID: {sent['CFBL-Feedback-ID']}"
    assert lane.bring(fbl, ARF.format(to=fbl, header=header), "fbl@isp.test")[0] == 250
    (record,) = eventually(lambda: lane.records("Feedback"), "the complaint on record")
    assert record["meta"]["feedback_type"] == "abuse"
    assert "suppressed (complaint)" in lane.refusal("ann@isp.test")
    assert lane.relay.metric("feedback_reports_total{kind=unproved}") == 2


def test_one_click_unsubscribes_and_looking_at_the_page_does_not(new_lane: Callable[..., Lane]) -> None:
    lane = new_lane(traffic_class="Bulk", unsubscribe={"url": "https://u.brand.test"})
    sent = email.message_from_bytes(lane.send(1).content)
    assert sent["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link, mailto = (one.strip().strip("<>") for one in sent["List-Unsubscribe"].split(","))
    path = link.removeprefix("https://u.brand.test")
    status, page = lane.ask("GET", path)
    assert status == 200
    assert "<button>" in page
    assert lane.refusal("ann@isp.test") == ""
    assert lane.ask("POST", path[:-1] + ("a" if path[-1] != "a" else "b"))[0] == 404
    assert [lane.ask("POST", path)[0] for _ in range(3)] == [200, 200, 200]
    assert len(lane.records("Feedback")) == 1  # who has a link cannot fill the records with it
    assert "suppressed (unsubscribe)" in lane.refusal("ann@isp.test")
    other = email.message_from_bytes(lane.send(2, "bob@isp.test").content)
    mailto = other["List-Unsubscribe"].split(",")[1].strip().removeprefix("<mailto:").partition("?")[0]
    assert lane.bring(mailto, "From: bob@isp.test\nSubject: unsubscribe\n\nplease\n", "bob@isp.test")[0] == 250
    assert "suppressed (unsubscribe)" in lane.refusal("bob@isp.test")


def test_mail_that_waits_for_a_suppressed_address_is_not_sent(new_lane: Callable[..., Lane]) -> None:
    lane = new_lane()
    sent = lane.send(1)
    lane.sink.answer_with = lambda stage, _address: "451 4.2.0 later" if stage == "RCPT" else None
    lane.submit(2, "ann@isp.test")
    eventually(lambda: lane.records("TransientFailure"), "the second letter waits")
    lane.bring(sent.sender, DSN.format(to=sent.sender, recipient="ann@isp.test"))
    lane.sink.answer_with = lambda _stage, _address: None
    (record,) = eventually(lambda: lane.records("Suppression"), "the letter that waited is given up")
    assert record["recipient"] == "ann@isp.test"
    assert [one for one in lane.sink.arrived if "ann@isp.test" in one.recipients] == [sent]


def test_what_a_peer_says_in_the_session_suppresses_too(new_lane: Callable[..., Lane]) -> None:
    lane = new_lane()
    lane.sink.answer_with = lambda _stage, address: "550 5.1.1 no such user" if address == "ann@isp.test" else None
    lane.submit(1, "ann@isp.test")
    eventually(lambda: lane.records("Bounce"), "the bounce")
    eventually(lambda: "suppressed (hard-bounce)" in lane.refusal("ann@isp.test"), "the address is suppressed")


def test_the_original_sender_gets_a_report_of_a_late_bounce_and_no_report_is_about_a_report(
    new_lane: Callable[..., Lane],
) -> None:
    lane = new_lane(return_path={"forward": "Sender"})
    sent = lane.send(1)
    eventually(lambda: lane.records("Reception"), "the reception on record")
    assert lane.bring(sent.sender, DSN.format(to=sent.sender, recipient="ann@isp.test"))[0] == 250
    report = lane.sink.wait(2)[1]
    assert report.sender == ""
    assert report.recipients == ("otp@brand.test",)
    told = email.message_from_bytes(report.content)
    assert told.get_content_type() == "multipart/report"
    assert "Final-Recipient: rfc822;ann@isp.test" in report.content.decode().replace("; ", ";")
    assert "CFBL-Address" not in told


class _Hook(BaseHTTPRequestHandler):
    """Refuses the first, keeps the rest."""

    seen: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body)
        self.send_response(500 if len(self.seen) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_webhook_hears_of_a_bounce_until_it_has_taken_it(new_lane: Callable[..., Lane]) -> None:
    seen: list[dict[str, Any]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Hook", (_Hook,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/bounces"
        lane = new_lane(return_path={"forward": "Webhook", "webhook": url})
        sent = lane.send(1)
        eventually(lambda: lane.records("Reception"), "the reception on record")
        assert lane.bring(sent.sender, DSN.format(to=sent.sender, recipient="ann@isp.test"))[0] == 250
        eventually(lambda: len(seen) == 2, "the second try")
        assert seen[0] == seen[1]
        assert seen[1]["recipient"] == "ann@isp.test"
        assert seen[1]["sender"] == "otp@brand.test"
        assert seen[1]["category"] == "bad-mailbox"
        assert seen[1]["correlationId"] == "order-1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_mail_to_the_postmaster_reaches_a_person(new_lane: Callable[..., Lane]) -> None:
    lane = new_lane(postmaster="ops@people.test")
    answer = lane.bring(f"postmaster@{RETURN_PATH}", "From: a@isp.test\nSubject: hello\n\nWho are you?\n", "a@isp.test")
    assert answer[0] == 250
    (arrived,) = lane.sink.wait(1)
    assert arrived.recipients == ("ops@people.test",)
    assert b"Who are you?" in arrived.content


FBL = f"fbl@{RETURN_PATH}"


def reported(sent: Arrived) -> str:
    return ARF.format(to=FBL, header="Subject: x").replace("Loop/1.0", f"L\nOriginal-Mail-From: <{sent.sender}>")


def report(lane: Lane, sent: Arrived, key_file: Path) -> None:
    """As the ISP sends it, signed."""
    content = reported(sent).replace("\n", "\r\n").encode()
    signature = dkim.sign(content, b"s1", b"arf.isp.test", key_file.read_bytes()).replace(b"\r\n", b"\n")
    assert lane.bring(FBL, signature.decode() + reported(sent), "fbl@isp.test")[0] == 250


def delivered_600(new_lane: Callable[..., Lane], dns: NameServer, **delivery: str) -> tuple[Lane, list[Arrived]]:
    """A conservative lane, whose ISP names who reports complaints."""
    policy = {"name": "isp", "mx": ["127.0.0.71"], "reporters": ["feedback@arf.isp.test"]}
    values = {"protection": "Conservative", "policies": [policy], "resolvers": [dns.address], **delivery}
    lane = new_lane(traffic_class="Cold", delivery=values)
    for number in range(6):
        lane.submit(number, *(f"a{number}-{one}@isp.test" for one in range(100)))
    arrived = lane.sink.wait(600)
    eventually(lambda: len(lane.records("Delivery")) == 600, "the deliveries on record")
    return lane, arrived


def test_complaints_that_prove_a_rate_stop_nothing_in_a_lane_that_is_only_watched(
    new_lane: Callable[..., Lane], tmp_path: Path, signing_key: tuple[Path, str]
) -> None:
    key_file, published = signing_key
    dns = NameServer(tmp_path / "dns", free_port(), f"s1._domainkey.arf.isp IN TXT {published}")
    lane, arrived = delivered_600(new_lane, dns, automation="Observe")
    for sent in arrived[:5]:
        report(lane, sent, key_file)
    dns.stop()
    told = [lane.relay.metric(f"acts_observed{{action=SuspendSite,policy={one}}}") for one in ("isp", "other")]
    assert told == [1, 1]  # there, and everywhere
    assert lane.relay.metric("reply_alerts_total{policy=isp,rule=complaints/stop}") == 1
    lane.submit(7, "late@isp.test")
    lane.sink.wait(601)


def test_complaints_that_prove_a_rate_stop_a_conservative_lane_over_a_restart_and_those_of_strangers_do_not(
    new_lane: Callable[..., Lane], tmp_path: Path, signing_key: tuple[Path, str]
) -> None:
    key_file, published = signing_key
    dns = NameServer(tmp_path / "dns", free_port(), f"s1._domainkey.arf.isp IN TXT {published}")
    lane, arrived = delivered_600(new_lane, dns)
    for sent in arrived[-10:]:  # of the same address, but anybody can write that
        assert lane.bring(FBL, reported(sent), "x@evil.test")[0] == 250
    assert lane.relay.metric("feedback_reports_total{kind=unauthenticated}") == 10
    assert lane.bring(FBL, reported(arrived[-1]), "x@evil.test")[0] == 250
    assert lane.relay.metric("complaints_unauthenticated_total{policy=isp}") == 10  # who is told twice counts once
    assert lane.relay.metric("complaints_total{policy=isp}") == 0
    assert {record["site"] for record in lane.records("Feedback")} == {"isp"}
    assert lane.relay.metric("complaint_level{policy=isp}") == 0
    stopped = []
    for sent in arrived[:5]:
        for _ in range(2):  # who reports twice counts once
            report(lane, sent, key_file)
        stopped.append(lane.relay.metric("acts_in_force{action=SuspendSite,policy=isp}"))
    dns.stop()
    assert stopped == [0, 0, 1, 1, 1]
    assert lane.relay.metric("complaint_level{policy=isp}") == 3
    admin = AdminClient(lane.relay)
    lane.relay.stop()
    lane.relay.start()
    assert lane.relay.metric("complaint_level{policy=isp}") == 3
    lane.submit(7, "late@isp.test")
    (held,) = eventually(  # a site that is stopped has a row also while nothing waits
        lambda: [one for one in admin.ask("GET", "/v1/sites")[1]["sites"] if one["waiting"]], "the site of the letter"
    )
    assert (held["heldBy"], held["waiting"]) == ("suspended", 1)
    replies = [one["reply"].partition(":")[0] for one in held["acts"]]
    assert replies == [f"{count} complaints of 600 delivered in a day" for count in (3, 5)]  # there, and everywhere
    assert len(lane.sink.arrived) == 600
