"""HTTP injection end to end: JSON into a running relay, mail at a real SMTP server, also over restarts and kill -9."""

import email
import http.client
import ssl
import threading
import urllib.request
from collections import Counter
from email.policy import default
from typing import Any

import pytest

from tests.lane_relay.accept.http.client import BASIC, code, post
from tests.lane_relay.running import Relay, Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def http_relay(new_relay: NewRelay, sink: Sink, port: int) -> Relay:
    """A relay with HTTP intake that sends everything to the sink; not started."""
    listen = {"host": "127.0.0.1", "port": port, "plain": True}
    return new_relay(delivery={"routes": [fixed_route(sink)]}, intake={"http": listen})


def test_a_request_becomes_one_message_a_recipient(http_relay: Relay, sink: Sink, port: int) -> None:
    http_relay.start()
    answer = post(
        port,
        code(
            {"to": "ann@isp.test", "name": "Ann Ö", "substitutions": {"name": "Ann", "items": ["tea", "milk"]}},
            {"to": "bob@isp.test", "substitutions": {"name": "<Bob>", "items": []}},
            text="Hello {{ name }}:{% for item in items %} {{ item }}{% endfor %}",
            html="<p>Hello {{ name }}</p>",
            attachments=[{"name": "terms.txt", "type": "text/plain", "content": "dGVybXM="}],
            correlationId="order-7",
            campaign="welcome",
        ),
    )
    assert (answer.status, answer.body["accepted"], answer.body["slot"]) == (200, 2, "otp-0")
    arrived = {one.recipients[0]: one for one in sink.wait(2)}
    ann, bob = (
        email.message_from_bytes(arrived[name].content, policy=default) for name in ("ann@isp.test", "bob@isp.test")
    )
    assert ann["To"] == "Ann Ö <ann@isp.test>"
    assert "bob" not in str(ann)
    body = ann.get_body(("plain",))
    assert body is not None
    assert body.get_content() == "Hello Ann: tea milk\r\n"
    shown = bob.get_body(("html",))
    assert shown is not None
    assert "&lt;Bob&gt;" in shown.get_content()
    assert [part.get_content() for part in ann.iter_attachments()] == ["terms"]
    eventually(lambda: http_relay.metric("http_requests_total{status=200}") == 1, "the request is counted")
    receptions = [one for one in http_relay.records() if one["type"] == "Reception"]
    assert {one["id"] for one in receptions} == {one["id"] for one in answer.body["results"]}
    assert {one["reception_protocol"] for one in receptions} == {"HTTP"}
    assert {one["correlation_id"] for one in receptions} == {"order-7"}


def test_the_same_key_gives_the_same_answer_after_a_restart_and_sends_once(
    http_relay: Relay, sink: Sink, port: int
) -> None:
    http_relay.start()
    request = code("ann@isp.test", "bad address", "bob@isp.test")
    first = post(port, request, key="k1")
    again = post(port, request, key="k1")
    assert (first.status, first.body["accepted"], first.body["refused"]) == (200, 2, 1)
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    sink.wait(2)
    eventually(lambda: http_relay.metric("queue_messages") == 0, "an empty queue")
    http_relay.terminate()
    http_relay.start()
    assert post(port, dict(reversed(request.items())), key="k1").body == first.body
    http_relay.kill()
    http_relay.start()
    assert post(port, request, key="k1").body == first.body
    other = post(port, code("ann@isp.test", subject="Another"), key="k1")
    assert (other.status, "another request" in other.body["detail"]) == (422, True)
    assert len(sink.arrived) == 2


def test_kill_at_any_instant_and_the_same_key_again_send_each_message_exactly_once(
    http_relay: Relay, sink: Sink, port: int
) -> None:
    """Deliveries may repeat as promise 2 says, so what was accepted is counted: one Reception a recipient."""
    http_relay.start()
    requests = {
        f"key-{number}": code(*(f"u{number}x{one}@isp.test" for one in range(30)), text="x" * 3000)
        for number in range(12)
    }
    answers: dict[str, Any] = {}
    done = threading.Event()

    def client(keys: list[str]) -> None:
        for key in keys:
            while key not in answers and not done.is_set():
                try:
                    answer = post(port, requests[key], key=key)
                except OSError:
                    done.wait(0.02)
                    continue
                if answer.status == 200:
                    answers[key] = answer.body

    keys = list(requests)
    threads = [threading.Thread(target=client, args=(keys[at::6],)) for at in range(6)]
    for thread in threads:
        thread.start()
    try:
        for kill in range(4):
            eventually(lambda kill=kill: len(answers) >= kill * 2, "progress")  # type: ignore[misc]  # bound at once
            http_relay.kill()
            http_relay.start()
        for thread in threads:
            thread.join(120)
    finally:
        done.set()
    assert len(answers) == len(requests)
    receptions = Counter((one["recipient"], one["id"]) for one in http_relay.records() if one["type"] == "Reception")
    told = {(one["to"], one["id"]) for body in answers.values() for one in body["results"]}
    assert receptions == Counter(told)
    sink.wait(12 * 30)
    eventually(lambda: http_relay.metric("queue_messages") == 0, "an empty queue")
    assert {one.recipients[0] for one in sink.arrived} == {to for to, _ in told}


def test_over_tls_with_the_lanes_certificate_and_no_plain_text(new_relay: NewRelay, sink: Sink, port: int) -> None:
    relay = new_relay(
        delivery={"routes": [fixed_route(sink)]}, intake={"http": {"host": "127.0.0.1", "port": port}}
    ).start()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(
        urllib.request.Request(f"https://127.0.0.1:{port}/v1/openapi.json", headers=BASIC), context=context
    ) as answer:
        assert answer.status == 200
    with pytest.raises((OSError, http.client.HTTPException)):
        post(port, code())
    eventually(lambda: relay.metric("http_requests_total{status=200}") == 1, "one is counted")
