"""The HTTP listener over a spool that is a list: who may send, what is refused and how, and what is on its way."""

import asyncio
import itertools
import json
import socket
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from lane_api.relayconfig import Delivery
from lane_relay.accept.http.connection import IDLE_S
from lane_relay.accept.policy import Policy
from lane_relay.clock import SYSTEM_CLOCK, Clock
from lane_relay.errors import SpoolError, SpoolFullError
from lane_relay.records import Notify
from tests.lane_relay.accept.conftest import make_config
from tests.lane_relay.accept.http.client import Answered
from tests.lane_relay.accept.http.conftest import HEADERS, StartHttp, message
from tests.lane_relay.accept.http.test_ledger import no_file_may_grow
from tests.lane_relay.accept.test_proxy import header as proxy_header
from tests.lane_relay.spool.making import until


async def test_what_is_accepted_was_deposited_with_all_that_was_asked_for(http: StartHttp) -> None:
    running = await http()
    answer = await running.post(
        message(
            campaign="spring",
            expiresIn="5m",
            triggeredAt="2020-01-01T00:00:00Z",
            correlationId="order-1",
            envelopeSender="bounces@notify.example.com",
            replyTo={"address": "help@elsewhere.example", "name": "Help, please"},
            headers={"X-Tag": "ä"},
            dsn={"notify": ["Success", "Delay"], "ret": "Headers", "envid": "a+b"},
        )
    )
    (made,) = running.spool.messages
    assert (answer.status, answer.body["results"][0]["id"]) == (200, f"{made.id:024x}")
    assert (made.campaign, made.correlation_id, made.triggered_at, made.protocol) == (
        "spring", "order-1", 1577836800.0, "HTTP",
    )  # fmt: skip
    assert 0 < made.expires_at - SYSTEM_CLOCK.now() <= 300
    envelope = made.envelope
    assert (envelope.sender, envelope.ret, envelope.envid) == ("bounces@notify.example.com", "HDRS", "a+2Bb")
    assert envelope.options_of(0).notify == Notify.SUCCESS | Notify.DELAY
    assert b'Reply-To: "Help, please" <help@elsewhere.example>\r\n' in made.body
    assert b"with HTTP id" in made.body
    assert b"X-Tag: =?utf-8?B?" in made.body


async def test_a_raw_message_goes_as_it_is(http: StartHttp) -> None:
    running = await http()
    raw = b"From: app@notify.example.com\nTo: all\nX-Correlation-Id: c1\nBcc: x@y.example\n\nhi\n"
    answer = await running.post(message(**{"from": None, "text": None, "raw": b64encode(raw).decode()}))
    assert answer.status == 200
    (made,) = running.spool.messages
    assert made.body.endswith(b"To: all\r\nX-Correlation-Id: c1\r\n\r\nhi\r\n")
    assert (made.envelope.sender, made.correlation_id) == ("app@notify.example.com", "c1")


@pytest.mark.parametrize(
    ("more", "status", "code", "words"),
    [
        ({"from": "x@elsewhere.example"}, 403, "550 5.7.1", 'add "@elsewhere.example" to its submission.senders'),
        ({"envelopeSender": "x@elsewhere.example"}, 403, "550 5.7.1", "The envelope sender"),
        ({"from": "no address"}, 422, None, "/from"),
        ({"recipients": ["nobody"]}, 422, "550 5.1.3", "no recipient was accepted"),
        ({"recipients": ["a@localhost"]}, 422, "550 5.1.2", "fully qualified"),
        ({"text": "{{ a", "template": "Jinja"}, 422, None, "/text: line 1"),
        ({"text": "{{ a }}", "template": "Jinja"}, 422, "550 5.6.0", "text: 'a' is undefined"),
        ({"subject": "{{ a }}", "substitutions": {"a": "x\r\nBcc: y@z.example"}}, 422, "550 5.6.0", "line end"),
        ({"headers": {"From": "y@z.example"}}, 422, "550 5.6.0", "the field from"),
        ({"headers": {"X-Lane-Expires-In": "soon"}}, 422, "550 5.6.0", "X-Lane-Expires-In"),
        ({"triggeredAt": "2099-01-01T00:00:00Z"}, 422, "550 5.6.0", "triggeredAt"),
        ({"text": "x" * 70_000}, 422, "552 5.3.4", "the lane takes 65536"),
        ({"text": None, "from": None, "raw": b64encode(b"From: a@notify.example.com\r\n\r\na\nb").decode()}, 422,
         "550 5.6.0", "CR or LF"),
        ({"text": None, "from": None, "raw": b64encode(b"Subject: x\r\n\r\nb").decode()}, 422, "550 5.6.0", "no From"),
        ({"recipients": ["a@isp.example"] * 4}, 422, "452 4.5.3", "more than the 3"),
    ],
)  # fmt: skip
async def test_what_is_refused_says_why_and_is_recorded(
    http: StartHttp, more: dict[str, Any], status: int, code: str | None, words: str
) -> None:
    running = await http(max_message_size=65536, http={"max_recipients": 3})
    answer = await running.post(message(**more))
    assert (answer.status, answer.body.get("code")) == (status, code)
    assert words in answer.body["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert running.spool.messages == []


async def test_some_recipients_may_be_refused_and_each_refusal_is_recorded_once(http: StartHttp) -> None:
    running = await http()
    answer = await running.post(message("a@isp.example", "bad", "worse", "b@isp.example"))
    assert [one["status"] for one in answer.body["results"]] == ["accepted", "refused", "refused", "accepted"]
    (rejection,) = running.spool.rejections
    assert rejection.recipients == ("bad", "worse")


async def test_the_password_decides_for_whoever_is_no_client_of_the_lane(http: StartHttp, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("secret")
    running = await http(clients=[], users_dir=str(tmp_path))

    def with_token(scheme: str, text: str) -> dict[str, str]:
        return {**HEADERS, "Authorization": f"{scheme} {b64encode(text.encode()).decode()}"}

    for headers, status in (
        (HEADERS, 401),
        (with_token("Basic", "app:wrong"), 401),
        (with_token("Basic", "app"), 401),
        (with_token("Digest", "app:secret"), 401),
        ({**HEADERS, "Authorization": "Bearer %%%"}, 401),
        (with_token("Basic", "app:secret"), 200),
        (with_token("bearer", "app:secret"), 200),
    ):
        answer = await running.post(headers=headers)
        assert answer.status == status, headers
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert [one.user for one in running.spool.messages] == ["app", "app"]
    assert all(one.sender is None and one.user == "" for one in running.spool.rejections)


async def test_a_wrong_password_is_refused_also_for_a_client_of_the_lane(http: StartHttp, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("secret")
    running = await http(users_dir=str(tmp_path))
    wrong = {**HEADERS, "Authorization": "Basic " + b64encode(b"app:wrong").decode()}
    assert (await running.post(headers=wrong)).status == 401
    assert (await running.post()).status == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"path": "/v1/message"}, 404),
        ({"method": "PUT"}, 405),
        ({"path": "/v1/openapi.json", "method": "POST"}, 405),
        ({"body": b"{"}, 400),
        ({"body": b"\xff"}, 400),
        ({"body": b""}, 400),
        ({"body": b"[]"}, 422),
        ({"key": "\xe4"}, 400),
        ({"key": "x" * 201}, 400),
        ({"key": ""}, 400),
        ({"body": message(idempotencyKey="a"), "key": "b"}, 400),
        ({"headers": {}}, 415),
        ({"headers": {"Content-Type": "text/plain"}}, 415),
        ({"headers": {**HEADERS, "Content-Encoding": "gzip"}}, 415),
        ({"body": b'{"text": "' + b"x" * 5000 + b'"}'}, 413),
    ],
)
async def test_what_is_no_request_of_ours_gets_problem_details(
    http: StartHttp, asked: dict[str, Any], status: int
) -> None:
    running = await http(http={"max_request_size": 4096})
    answer = await running.post(**asked)
    assert (answer.status, answer.body["status"]) == (status, status)
    assert answer.body["detail"]


async def test_a_full_queue_is_503_with_retry_after_and_nothing_is_kept_under_the_key(http: StartHttp) -> None:
    running = await http()
    running.spool.refuse_at_once = SpoolFullError("full")
    answer = await running.post(key="k")
    assert (answer.status, answer.body["code"], answer.headers["Retry-After"]) == (503, "452 4.3.1", "5")
    running.spool.refuse_at_once = None
    assert (await running.post(key="k")).status == 200
    assert len(running.spool.messages) == 1


async def test_a_queue_that_is_full_halfway_is_made_up_for_under_the_same_key(http: StartHttp) -> None:
    running = await http()
    running.spool.hold = True
    sent = asyncio.create_task(running.post(message("a@isp.example", "b@isp.example"), key="k"))
    await until(lambda: len(running.spool.waiting) == 2)
    first, second = running.spool.waiting
    first(None)
    second(SpoolFullError("full"))
    answer = await sent
    assert [one["code"] for one in answer.body["results"]] == ["250 2.0.0", "452 4.3.1"]
    running.spool.hold = False
    again = await running.post(message("a@isp.example", "b@isp.example"), key="k")
    assert again.body["results"][0] == answer.body["results"][0]
    assert [one.envelope.recipients[0] for one in running.spool.messages] == [
        "a@isp.example", "b@isp.example", "b@isp.example",
    ]  # fmt: skip
    assert (await running.post(message("a@isp.example", "b@isp.example"), key="k")).body == again.body
    assert (running.kept.asked, running.kept.released) == (2, 2)


async def test_a_failed_disk_leaves_the_key_unanswered(http: StartHttp) -> None:
    running = await http()
    running.spool.refuse_at_once = SpoolError("fsync failed")
    assert (await running.post(key="k")).status == 503
    running.spool.refuse_at_once = None
    answer = await running.post(key="k")  # whether it is on disk is for the next start to find out
    assert (answer.status, running.spool.messages, running.kept.asked, running.kept.released) == (503, [], 1, 0)


async def test_keys_that_could_not_be_kept_for_a_moment_hold_up_neither_the_queue_nor_their_requests(
    http: StartHttp,
) -> None:
    running = await http()
    assert (await running.post(key="before")).status == 200
    running.spool.hold = True
    under_way = asyncio.create_task(running.post(key="first"))
    await until(lambda: bool(running.spool.waiting))
    with no_file_may_grow():
        running.spool.waiting[0](None)
        first = await under_way
        assert (await running.post(key="new")).status == 503
        assert (await running.post(key="new")).status == 503
    running.spool.hold = False
    await until(lambda: running.kept.asked == running.kept.released)
    again = await running.post(key="first")
    assert (first.status, again.status, again.body) == (200, 200, first.body)
    assert (await running.post(key="new")).status == 200
    assert len(running.spool.messages) == 3


async def test_a_second_request_with_the_key_of_one_under_way_is_409(http: StartHttp) -> None:
    running = await http()
    running.spool.hold = True
    first = asyncio.create_task(running.post(key="k"))
    await until(lambda: bool(running.spool.waiting))
    assert (await running.post(key="k")).status == 409
    assert running.server.session_count == 1
    running.spool.waiting[0](None)
    assert (await first).status == 200
    assert (await running.post(key="k")).headers["Idempotent-Replayed"] == "true"
    assert len(running.spool.messages) == 1
    assert running.server.session_count == 0


async def test_the_answer_waits_for_the_disk_and_a_stop_waits_for_the_answer(http: StartHttp) -> None:
    running = await http()
    running.spool.hold = True
    sent = asyncio.create_task(running.post())
    await until(lambda: bool(running.spool.waiting))
    stopping = asyncio.create_task(running.server.stop(30.0))
    await asyncio.sleep(0)
    assert not sent.done()
    running.spool.waiting[0](None)
    assert (await sent).status == 200
    await stopping


async def test_a_request_of_many_large_messages_never_has_all_of_them_in_memory(http: StartHttp) -> None:
    running = await http(http={"max_request_size": 8 * 2**20})
    file = {"name": "a", "content": b64encode(bytes(2 * 2**20)).decode()}
    running.spool.hold = True
    sent = asyncio.create_task(running.post(message(*(f"u{at}@isp.example" for at in range(9)), attachments=[file])))
    portions = []
    while not sent.done():
        if running.spool.waiting:
            portions.append(len(running.spool.waiting))
            waiting, running.spool.waiting = running.spool.waiting, []
            for one in waiting:
                one(None)
        await asyncio.sleep(0.01)
    assert (await sent).body["accepted"] == 9
    assert max(portions) <= 2


async def test_a_template_bomb_leaves_the_loop_to_others(http: StartHttp) -> None:
    running = await http()
    bomb = message(
        *(
            {"to": f"u{at}@isp.example", "substitutions": {"a": list(range(140)), "t": "a" * 60_000}}
            for at in range(40)
        ),
        text="{% for x in a %}{% for y in a %}" + "{% if 'b' in t %}x{% endif %}" * 200 + "{% endfor %}{% endfor %}",
    )
    sent = asyncio.create_task(running.post(bomb))
    turns = 0
    while not sent.done():
        await asyncio.sleep(0.001)
        turns += 1
    answer = await sent
    codes = {one["code"] for one in answer.body["results"]}
    assert codes <= {"550 5.6.0", "451 4.3.1"}
    assert "takes too long" in answer.body["results"][0]["text"]
    assert turns > 40


async def test_a_client_that_says_nothing_is_closed_and_one_that_waits_for_us_is_not(http: StartHttp) -> None:
    shift = itertools.count(1)
    late = [0.0]
    clock = Clock(now=SYSTEM_CLOCK.now, monotonic=lambda: late[0])
    running = await http(clock=clock)
    port = running.server.ports[0]
    silent, halfway = (socket.create_connection(("127.0.0.1", port)) for _ in range(2))
    halfway.sendall(
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    )
    running.spool.hold = True
    waiting = asyncio.create_task(running.post())
    await until(lambda: bool(running.spool.waiting))
    late[0] = (IDLE_S + 1) * next(shift)
    running.server._connections.sweep()
    for one in (silent, halfway):
        one.settimeout(60)
        assert await asyncio.to_thread(one.recv, 1) == b""
        one.close()
    running.spool.waiting[0](None)
    assert (await waiting).status == 200


async def test_connections_beyond_the_limits_are_told_to_come_again(http: StartHttp) -> None:
    running = await http(limits={"sessions_per_client": 1})
    with socket.create_connection(("127.0.0.1", running.server.ports[0])):
        await until(lambda: len(running.server._connections.open) == 1)
        answer = await running.post()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    await until(lambda: not running.server._connections.open)
    assert (await running.post()).status == 200


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_recipient_that_a_request_names_again_gets_one_message_and_each_name_its_id(
    http: StartHttp, key: str | None
) -> None:
    running = await http()
    named = ["a@isp.example", {"to": "b@isp.example"}, {"to": "a@ISP.example", "name": "Ann"}, "A@isp.example", "bad@"]
    wanted = message(*named, "bad@", "a@isp.example")
    for _ in range(2 if key else 1):
        answer = await running.post(wanted, key=key)
        ids = [one.get("id") for one in answer.body["results"]]
        assert (answer.status, answer.body["accepted"], answer.body["refused"]) == (200, 5, 2)
        assert ids[0] == ids[2] == ids[6]
        assert len(set(ids)) == 4
        assert [one["to"] for one in answer.body["results"]][2] == "a@ISP.example"
        stored = [one.envelope.recipients for one in running.spool.messages]
        assert stored == [("a@isp.example",), ("b@isp.example",), ("A@isp.example",)]


async def test_the_same_recipient_with_other_values_gets_another_message(http: StartHttp) -> None:
    running = await http()
    named = [{"to": "a@isp.example", "substitutions": {"order": number}} for number in (1, 2, 1)]
    answer = await running.post(message(*named, text="Order {{ order }}"))
    ids = [one["id"] for one in answer.body["results"]]
    assert (len(running.spool.messages), ids[0] == ids[2], len(set(ids))) == (2, True, 2)


async def test_silent_strangers_make_room_for_whoever_asks(http: StartHttp) -> None:
    running = await http(clients=["127.0.0.1/32"], limits={"sessions": 3})
    port = running.server.ports[0]
    silent = [socket.create_connection(("127.0.0.1", port), 30, (f"127.0.1.{number}", 0)) for number in range(3)]
    await until(lambda: len(running.server._connections.open) == 3)
    assert (await running.post()).status == 200
    assert await asyncio.to_thread(silent[0].recv, 1) == b""
    for one in silent:
        one.close()


async def test_what_a_client_or_user_may_send_in_a_minute_counts_here_too(http: StartHttp) -> None:
    running = await http(limits={"message_rate_per_client": "2/m"})
    answer = await running.post(message("a@isp.example", "b@isp.example", "c@isp.example"), key="k")
    assert [one["code"] for one in answer.body["results"]] == ["250 2.0.0", "250 2.0.0", "451 4.7.1"]
    answer = await running.post()
    assert (answer.status, answer.body["code"], answer.headers["Retry-After"]) == (429, "451 4.7.1", "5")
    assert len(running.spool.messages) == 2


async def test_a_strangers_rate_is_that_of_the_64_around_its_address(http: StartHttp, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("secret")
    limits = {"message_rate_per_client": "1/h"}
    running = await http(proxies=["127.0.0.1/32"], users_dir=str(tmp_path), limits=limits)
    port, app = running.server.ports[0], f"Basic {b64encode(b'app:secret').decode()}"
    said = [await asyncio.to_thread(_behind_a_balancer, port, f"2001:db8::{number}", app) for number in (1, 2)]
    assert [one.split(b"\r\n")[0] for one in said] == [b"HTTP/1.1 200 OK", b"HTTP/1.1 429 Too Many Requests"]


def _behind_a_balancer(port: int, source: str, authorization: str = "") -> bytes:
    """The answer to one request of a client that a balancer names."""
    body = json.dumps(message()).encode()
    lines = (
        "POST /v1/messages HTTP/1.1", "Host: x", "Content-Type: application/json", "Connection: close",
        *([f"Authorization: {authorization}"] if authorization else []), f"Content-Length: {len(body)}", "", "",
    )  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(proxy_header(source) + "\r\n".join(lines).encode() + body)
        return b"".join(iter(lambda: client.recv(65536), b""))


async def test_a_user_with_senders_of_its_own_is_held_to_them(http: StartHttp, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("secret")
    running = await http(users_dir=str(tmp_path), users=[{"name": "app", "senders": ["app@notify.example.com"]}])
    headers = {**HEADERS, "Authorization": "Basic " + b64encode(b"app:secret").decode()}
    assert (await running.post(headers=headers)).status == 200
    for more in ({"from": "other@notify.example.com"}, {"envelopeSender": "other@notify.example.com"}):
        answer = await running.post(message(**more), headers=headers)
        assert (answer.status, "user app" in answer.body["detail"]) == (403, True)


async def test_a_balancer_says_who_the_client_is(http: StartHttp) -> None:
    running = await http(proxies=["127.0.0.1/32"], clients=["192.0.2.0/24"])
    said = await asyncio.to_thread(_behind_a_balancer, running.server.ports[0], "192.0.2.7")
    assert b"200 OK" in said
    assert [one.client for one in running.spool.messages] == ["192.0.2.7"]


async def test_a_body_that_does_not_end_is_told_so_and_gives_its_place_back(http: StartHttp) -> None:
    running = await http(body_within_s=0.2)
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"

    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", running.server.ports[0]), timeout=60) as client:
            client.sendall(head)
            return client.recv(65536)

    assert b" 408 " in await asyncio.to_thread(talk)
    assert running.server.session_count == 0


async def test_a_suppressed_recipient_is_refused_by_name_and_the_others_are_not(http: StartHttp) -> None:
    running = await http()
    running.server._listener.policy = Policy(
        make_config(senders=["@notify.example.com"], clients=["127.0.0.0/8"]),
        lambda recipient, _class: "complaint" if recipient == "bob@isp.example" else "",
    )
    answer = await running.post(message("ann@isp.example", "bob@isp.example"))
    assert [one["code"] for one in answer.body["results"]] == ["250 2.0.0", "550 5.7.1"]
    assert "suppressed (complaint)" in answer.body["results"][1]["text"]


async def test_a_lane_that_redirects_redirects_this_mail_too(http: StartHttp) -> None:
    running = await http(delivery=Delivery(mode="Redirect", redirect_to="staging@notify.example.com"))
    assert (await running.post()).status == 200
    (made,) = running.spool.messages
    assert (made.envelope.recipients, made.redirected_from) == (("staging@notify.example.com",), ("ann@isp.example",))


async def test_requests_are_counted_by_status_and_none_of_them_is_logged(
    http: StartHttp, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await http()
    await running.post(message(subject="private-words"), key="private-key")
    await running.post(b"private-bytes")
    assert running.server.answered == {"200": 1, "400": 1}
    said = capfd.readouterr()
    assert "private" not in said.out + said.err


async def test_the_document_describes_the_models(http: StartHttp) -> None:
    running = await http(clients=[])
    answer = await running.post(b"", path="/v1/openapi.json", method="GET", headers={})
    assert answer.status == 200
    schemas = answer.body["components"]["schemas"]
    assert {"Submission", "Recipient", "Attachment", "Results", "Problem"} <= set(schemas)
    assert schemas["Submission"]["additionalProperties"] is False
    assert "idempotencyKey" in schemas["Submission"]["properties"]
    for name, schema in schemas.items():
        shapes = [one["properties"] for one in (schema, *schema.get("anyOf", ())) if "properties" in one]
        assert [field for shape in shapes for field, of in shape.items() if not of.get("description")] == [], name
    assert json.dumps(answer.body)


async def test_a_client_with_costly_templates_makes_nobody_wait_until_all_of_them_are_done(http: StartHttp) -> None:
    running = await http()
    loops = "{% for a in x %}{% for b in x %}{{ b }}{% endfor %}{% endfor %}"
    costly = message(*(f"u{at}@isp.example" for at in range(20)), text=loops, substitutions={"x": [1] * 70})
    answered: list[Answered] = []

    async def send() -> None:
        answered.append(await running.post(costly, source="127.0.0.2"))

    many = [asyncio.create_task(send()) for _ in range(4)]  # of the threads that clients run in, one is left
    await until(lambda: bool(running.spool.messages))
    assert (await running.post(message(text="Your code"))).status == 200
    assert len(answered) < 2
    await asyncio.gather(*many)
    assert [one.body["accepted"] for one in answered] == [20] * 4
