"""The whole relay as one process: routes, retries, bounces, signing, configuration, admin API, command line."""

import email
import json
import signal
import smtplib
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from email.message import Message
from email.policy import SMTP
from pathlib import Path
from typing import Any

import dkim
import pytest

from bench.nameserver import NameServer
from tests.lane_relay.api.described import Described
from tests.lane_relay.api.test_server import certificate
from tests.lane_relay.running import Relay, Sink, egress, eventually, fixed_route, letter
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port, own_address

pytestmark = pytest.mark.timeout(300)


def test_mail_goes_to_the_mx_that_dns_names(new_relay: NewRelay, tmp_path: Path) -> None:
    address = own_address(73)
    server = NameServer(tmp_path / "dns", free_port(), f"isp IN MX 10 mx.isp\nmx.isp IN A {address}")
    try:
        with Sink(address, 25) as sink:
            relay = new_relay(delivery={"resolvers": [server.address]}).start()
            relay.submit(1)
            assert sink.wait(1)[0].recipients == ("ann@isp.test",)
    finally:
        server.stop()


def test_the_next_mx_takes_over_when_the_first_refuses_the_connection(new_relay: NewRelay, tmp_path: Path) -> None:
    refusing, taking = own_address(74), own_address(75)
    records = f"isp IN MX 10 mx1.isp\nisp IN MX 20 mx2.isp\nmx1.isp IN A {refusing}\nmx2.isp IN A {taking}"
    server = NameServer(tmp_path / "dns", free_port(), records)
    try:
        with Sink(taking, 25) as sink:
            new_relay(delivery={"resolvers": [server.address]}).start().submit(1)
            sink.wait(1)
    finally:
        server.stop()


def bounce(sink: Sink) -> Message:
    """The DSN among what arrived."""
    found = eventually(lambda: [one for one in sink.arrived if one.sender == ""], "a DSN")
    assert found[0].recipients == ("otp@brand.test",)
    return email.message_from_bytes(found[0].content)


def test_a_permanent_refusal_comes_back_to_the_sender_as_a_delivery_report(relay: Relay, sink: Sink) -> None:
    sink.answer_with = lambda stage, address: "550 5.1.1 no such user" if address == "ann@isp.test" else None
    relay.start().submit(1)
    report = bounce(sink)
    assert report.get_content_type() == "multipart/report"
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    text = str(status)
    assert "Final-Recipient: rfc822; ann@isp.test" in text
    assert "Status: 5.1.1" in text
    assert "550 5.1.1 no such user" in text


def test_mail_to_a_domain_without_a_name_bounces(new_relay: NewRelay, sink: Sink, tmp_path: Path) -> None:
    server = NameServer(tmp_path / "dns", free_port(), "")
    try:
        routes = [fixed_route(sink, "brand.test")]
        new_relay(delivery={"routes": routes, "resolvers": [server.address]}).start().submit(
            1, recipient="x@nowhere.test"
        )
        assert "nowhere.test" in str(bounce(sink))
    finally:
        server.stop()


def test_a_temporary_refusal_is_tried_again_from_the_same_address(relay: Relay, sink: Sink) -> None:
    answers = iter(["451 4.3.2 busy", "451 4.3.2 busy"])
    sink.answer_with = lambda stage, _address: next(answers, None) if stage == "RCPT" else None
    relay.start().submit(1)
    sink.wait(1)
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    attempts = [record["type"] for record in relay.records() if record["type"] == "TransientFailure"]
    assert len(attempts) == 2


def test_mail_that_cannot_be_delivered_in_its_lifetime_expires_with_a_report(new_relay: NewRelay, sink: Sink) -> None:
    sink.answer_with = lambda stage, address: "451 4.3.0 not now" if address == "ann@isp.test" else None
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "lifetime": "3s"}).start()
    relay.submit(1)
    assert "Final-Recipient: rfc822; ann@isp.test" in str(bounce(sink))
    eventually(lambda: "Expiration" in [record["type"] for record in relay.records()], "its record")


def test_one_message_to_several_domains_reaches_each(new_relay: NewRelay, sink: Sink) -> None:
    with Sink("127.0.0.76") as other:
        routes = [fixed_route(sink, "isp.test"), fixed_route(other, "other.test")]
        relay = new_relay(delivery={"routes": routes}).start()
        everybody = ["ann@isp.test", "bob@isp.test", "eve@other.test"]
        with relay.session() as client:
            client.sendmail("otp@brand.test", everybody, letter(1).as_bytes(policy=SMTP))
        assert set(sink.wait(1)[0].recipients) == {"ann@isp.test", "bob@isp.test"}
        assert other.wait(1)[0].recipients == ("eve@other.test",)
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")


def test_a_signed_message_passes_an_independent_verifier(
    new_relay: NewRelay, sink: Sink, tmp_path: Path, signing_key: tuple[Path, str]
) -> None:
    key_file, record = signing_key
    server = NameServer(tmp_path / "dns", free_port(), f"s1._domainkey.brand IN TXT {record}")
    try:
        relay = new_relay(
            delivery={"routes": [fixed_route(sink)], "resolvers": [server.address]},
            domains=[{"name": "brand.test", "selector": "s1", "keyFile": str(key_file)}],
        )
        relay.start().submit(1)
        content = sink.wait(1)[0].content
    finally:
        server.stop()
    published = record.replace('" "', "").strip('"').encode()
    assert dkim.verify(content, dnsfunc=lambda _name, timeout=5: published)


def test_an_unauthenticated_client_is_told_to_authenticate(relay: Relay, sink: Sink) -> None:
    relay.start()
    with relay.session(login=False) as client, pytest.raises(smtplib.SMTPSenderRefused) as refused:
        client.send_message(letter(1))
    assert refused.value.smtp_code == 530


def test_a_changed_configuration_is_in_force_without_a_restart(relay: Relay, sink: Sink) -> None:
    relay.start()
    with Sink("127.0.0.77") as other:
        relay.change(delivery={"routes": [fixed_route(other)]})
        relay.submit(1)
        other.wait(1)
    assert sink.arrived == []


def test_a_refused_configuration_leaves_the_last_good_one_in_force(relay: Relay, sink: Sink) -> None:
    relay.start()
    relay.config_file.write_text("lane: {")
    eventually(lambda: relay.metric("config_refused") == 1, "the refusal in metrics")
    relay.submit(1)
    sink.wait(1)
    assert "not YAML" in relay.log()
    relay.change(delivery={"lifetime": "2h"})
    assert relay.metric("config_refused") == 0


def test_sighup_reads_the_file_again(relay: Relay) -> None:
    relay.start()
    assert relay.process is not None
    relay.config_file.write_text("5")
    relay.process.send_signal(signal.SIGHUP)
    eventually(lambda: relay.metric("config_refusals_total") >= 1, "the refusal in metrics")


def test_metrics_count_what_happened(relay: Relay, sink: Sink) -> None:
    sink.answer_with = lambda stage, address: "550 5.1.1 no" if address.startswith("nobody") else None
    relay.start().submit(1, 2, 3)
    relay.submit(4, recipient="nobody@isp.test")
    sink.wait(4)
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    found = relay.metrics()
    assert found["accepted_messages_total"] == 4
    assert found["attempts_total{policy=other,result=delivered}"] == 4  # three letters and the DSN
    assert found["attempts_total{policy=other,result=bounced}"] == 1
    assert {name: count for name, count in found.items() if name.startswith("failures_total")} == {
        "failures_total{category=bad-mailbox,policy=other,result=bounced}": 1
    }
    assert found["delivery_latency_seconds_count{policy=other}"] == 4
    assert found["egress_open"] == 1
    assert found["spool_commit_seconds_count"] > 0
    assert found["oldest_undelivered_age_seconds"] == 0


class AdminClient:
    """`/v1` of one relay; each answer is held against the document that it serves."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.port = free_port()
        certificate(relay.folder, "otp-0.test")
        (relay.folder / "token").write_text("s3cret")
        admin = {
            "listen": {"host": "127.0.0.1", "port": self.port},
            "tls": {"certificate": str(relay.folder / "tls.crt"), "key": str(relay.folder / "tls.key")},
            "tokenFile": str(relay.folder / "token"),
        }
        relay.write({**relay.overrides, "admin": admin})
        self._described: Described | None = None

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON."""
        if self._described is None:
            status, found = self._ask("GET", "/v1/openapi.json")
            self._described = Described(found) if status == 200 else None
        status, said = self._ask(method, path, body)
        if self._described is not None and status:
            self._described.check(method, path, status, said)
        return status, said

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        context = ssl.create_default_context(cafile=str(self._relay.folder / "tls.crt"))
        context.check_hostname = False
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}",
            data=body,
            method=method,
            headers={"Authorization": "Bearer s3cret"},
        )
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)
        except OSError:  # nothing listens yet
            return 0, {}


def test_the_slot_report_tells_what_the_operator_needs(new_relay: NewRelay, sink: Sink) -> None:
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "state": "Held"})
    relay.write({**relay.overrides, "egress": egress(relay.folder, free_port())})
    admin = AdminClient(relay)
    relay.start().submit(1)

    def is_quiet() -> bool:
        said = admin.ask("GET", "/v1/slot")[1]
        return bool(said["queue"]["oldestSince"]) and not said["intake"]["sessions"]

    eventually(is_quiet, "an oldest message, and its session over")
    status, report = admin.ask("GET", "/v1/slot")
    assert status == 200
    assert (report["slot"], report["lane"], report["generation"]) == ("otp-0", "default/otp", 1)
    assert report["intake"] == {"state": "Open", "ready": True, "sessions": 0, "ordered": "Open"}
    assert report["delivery"]["state"] == "Held"
    assert report["delivery"]["proof"]["state"] == "Unproved"
    assert report["delivery"]["proof"]["address"] == "127.0.0.41"
    assert report["delivery"]["proof"]["open"] is False
    assert (report["queue"]["live"], report["queue"]["inFlight"]) == (1, 0)
    assert report["queue"]["bytes"] > 100
    assert report["queue"]["diskBytes"] >= report["queue"]["bytes"]
    assert report["queue"]["budgetBytes"] > report["queue"]["diskBytes"]
    assert report["queue"]["behind"] is False
    assert {one["purpose"] for one in report["domains"][0].pop("records")} <= {"DMARC"}
    assert report["domains"] == [
        {
            "name": "brand.test",
            "selector": "",
            "published": False,
            "dns": "Unchecked",
            "message": "signing is off",
            "ed25519": None,
            "next": None,
        }
    ]
    assert report["certificate"]["selfSigned"] is True
    assert len(report["spoolId"]) == 32


def test_an_order_to_close_intake_is_kept_over_a_restart(relay: Relay) -> None:
    admin = AdminClient(relay)
    relay.start()
    assert admin.ask("PUT", "/v1/intake", b'{"state": "Closed", "owner": "jane", "reason": "a move"}') == (
        200,
        {"state": "Closed"},
    )
    relay.kill()
    relay.start(ready=False)
    eventually(lambda: relay.probe("/livez")[0] == 200, "the relay lives")
    eventually(lambda: admin.ask("GET", "/v1/slot")[0] == 200, "the admin API answers")
    said = admin.ask("GET", "/v1/slot")[1]["intake"]
    assert (said["state"], said["ordered"]) == ("Closed", "Closed")
    with pytest.raises(smtplib.SMTPException):
        relay.submit(1)
    assert admin.ask("PUT", "/v1/intake", b'{"state": "Open", "owner": "jim", "reason": "it is done"}')[0] == 200
    relay.submit(1)
    acts = [(one["meta"]["action"], one["user"]) for one in relay.records() if one["type"] == "AdminAction"]
    assert [one for one in acts if "intake" in one[0]] == [("intake Closed", "jane"), ("intake Open", "jim")]


def test_a_pushed_configuration_is_in_force_at_once(relay: Relay, sink: Sink) -> None:
    admin = AdminClient(relay)
    relay.start()
    relay.generation = 7
    pushed = {**relay.config(), "delivery": {"state": "Held"}}
    assert admin.ask("PUT", "/v1/config", json.dumps(pushed).encode()) == (200, {"generation": 7})
    assert admin.ask("GET", "/v1/slot")[1]["delivery"]["state"] == "Held"
    assert admin.ask("PUT", "/v1/config", json.dumps(pushed).encode())[0] == 200
    acts = eventually(
        lambda: [one["meta"]["action"] for one in relay.records() if one["type"] == "AdminAction"], "what was done"
    )
    assert [act.partition(", sha256")[0] for act in acts] == ["configuration in force: generation 7, serial 0"]
    status, answer = admin.ask("PUT", "/v1/config", b"lane: {name: otp, colour: red}")
    assert status == 422
    assert "lane.colour: unknown field" in answer["error"]
    assert admin.ask("GET", "/v1/slot")[1]["refused"] == answer["error"]


def test_sites_explain_what_holds_mail_back(relay: Relay, sink: Sink) -> None:
    admin = AdminClient(relay)
    other = {**fixed_route(sink, "elsewhere.test"), "host": "127.0.0.98"}
    relay.write({**relay.overrides, "delivery": {"routes": [other, fixed_route(sink)], "state": "Suspended"}})
    relay.start().submit(1)
    sites = eventually(
        lambda: [one for one in admin.ask("GET", "/v1/sites")[1]["sites"] if one["waiting"]], "a site where it waits"
    )
    assert [(one["waiting"], one["heldBy"], one["detail"]) for one in sites] == [(1, "gate", "Suspended")], sites
    relay.submit(*range(2, 4))
    with relay.session() as client:
        client.send_message(letter(9, recipient="bob@elsewhere.test"))
    page = eventually(lambda: _page_of_both(admin), "both sites")
    assert page is not None
    assert [(one["waiting"], page["next"]) for one in page["sites"]] == [(3, 1)], "the longest first"
    last = admin.ask("GET", "/v1/sites?first=1&limit=1")[1]
    assert [(one["waiting"], last["next"]) for one in last["sites"]] == [(1, None)]


def _page_of_both(admin: AdminClient) -> dict[str, Any] | None:
    page = admin.ask("GET", "/v1/sites?limit=1")[1]
    return page if page["total"] == 2 and page["sites"][0]["waiting"] == 3 else None


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line."""
    command = [sys.executable, "-m", "lane_relay", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def test_check_prints_the_effective_values(relay: Relay) -> None:
    done = run("check", "--config", str(relay.config_file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "lifetime: 4h" in done.stdout


def test_check_names_the_field_and_the_fix(relay: Relay) -> None:
    relay.config_file.write_text(relay.config_file.read_text() + "speed: 5\n")
    done = run("check", "--config", str(relay.config_file))
    assert done.returncode == 2
    assert "speed: unknown field" in done.stderr


def test_check_names_a_reply_rule_that_would_not_take_force(new_relay: NewRelay) -> None:
    rule = {"id": "x", "pattern": "(", "category": "other", "action": "Retry", "examples": ["450 x"]}
    relay = new_relay(delivery={"policies": [{"name": "gmail", "responses": [rule]}]})
    done = run("check", "--config", str(relay.config_file))
    assert done.returncode == 2
    assert "delivery.policies[gmail].responses" in done.stderr


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1:99999"])
def test_a_listen_address_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text("0123456789abcdef")
    done = run("reflect", "--listen", text, "--key-file", str(tmp_path / "key"))
    assert done.returncode == 2
    assert "ADDRESS:PORT" in done.stderr


def test_a_relay_without_a_usable_configuration_ends_with_status_2(tmp_path: Path) -> None:
    done = run("--config", str(tmp_path / "relay.yaml"))
    assert done.returncode == 2
    assert json.loads(done.stderr.splitlines()[-1])["message"] == "configuration refused"


def test_help_and_version_are_there() -> None:
    assert "check" in run("--help").stdout
    assert run("--version").stdout.startswith("lane-relay ")
