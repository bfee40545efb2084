"""The relay's promises 1 to 6 (README, "The relay"), each shown on the running process."""

import smtplib
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from email.policy import SMTP
from pathlib import Path

import pytest

from bench.nameserver import NameServer
from tests.lane_relay.running import (
    SOURCE,
    ReflectorProcess,
    Relay,
    Sink,
    egress,
    eventually,
    fixed_route,
    letter,
)
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)


def arrived_numbers(sink: Sink) -> Counter[int]:
    """How often each letter arrived."""
    return Counter(int(message.content.split(b"Subject: letter ")[1].split(b"\r\n")[0]) for message in sink.arrived)


def test_promise_1_a_message_that_got_its_250_is_on_disk(new_relay: NewRelay, sink: Sink) -> None:
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "state": "Held"}).start()
    for number in range(5):  # killed right after the reply, five times: nothing may still be in memory only
        relay.submit(number * 10, number * 10 + 1)
        relay.kill()
        relay.start()
    assert sink.arrived == []
    relay.change(delivery={"state": "Running"})
    sink.wait(10)
    assert arrived_numbers(sink) == Counter([0, 1, 10, 11, 20, 21, 30, 31, 40, 41])


def test_promise_1_a_message_is_delivered_as_it_was_submitted(relay: Relay, sink: Sink) -> None:
    relay.start().submit(7)
    message = sink.wait(1)[0]
    assert (message.sender, message.recipients) == ("otp@brand.test", ("ann@isp.test",))
    assert message.helo == "out1.brand.test"
    assert b"\r\n.a line that begins with a dot" in message.content
    assert message.content.startswith(b"Received: from client.test")


def test_promise_2_a_kill_at_any_instant_loses_nothing_that_was_accepted(relay: Relay, sink: Sink) -> None:
    accepted: list[int] = []
    stop = threading.Event()

    def load(first: int) -> None:
        number = first
        while not stop.is_set():
            try:
                with relay.session() as client:
                    while not stop.is_set():
                        client.send_message(letter(number))
                        accepted.append(number)
                        number += 4
            except (OSError, smtplib.SMTPException):
                number += 4  # no 250 was seen for it: its sender would ask again

    relay.start()
    threads = [threading.Thread(target=load, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    kills = 5
    for kill in range(1, kills + 1):
        sink.wait(kill * 60, 120)
        relay.kill()
        relay.start()
    stop.set()
    for thread in threads:
        thread.join()
    eventually(lambda: set(accepted) <= set(arrived_numbers(sink)), "every accepted letter at the sink")
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    repeated = [number for number, count in arrived_numbers(sink).items() if count > 1]
    assert len(accepted) > kills * 20
    assert len(repeated) <= kills * 10  # at most what the 10 connections had in flight at each kill


def test_promise_3_one_attempt_has_one_outcome_and_one_record(relay: Relay, sink: Sink) -> None:
    refused = Counter[str]()

    def answer(stage: str, address: str) -> str | None:
        if stage == "RCPT" and address.startswith("slow") and refused[address] < 2:
            refused[address] += 1
            return "451 4.3.2 busy, try again later"
        return "550 5.1.1 no such user" if stage == "RCPT" and address.startswith("nobody") else None

    sink.answer_with = answer
    relay.start()
    for number, name in enumerate(["ann", "slow", "nobody"]):
        relay.submit(number, recipient=f"{name}@isp.test")
    sink.wait(3)  # ann's, slow's, and the DSN about nobody
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    types = Counter(record["type"] for record in relay.records())
    assert types["Reception"] == 4
    assert types["Delivery"] == 3
    assert types["TransientFailure"] == 2
    assert types["Bounce"] == 1
    numbers = [record["seq"] for record in relay.records()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_promise_3_records_are_written_once_over_a_kill(relay: Relay, sink: Sink) -> None:
    relay.start().submit(*range(50))
    sink.wait(50)
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    relay.kill()
    relay.start()
    types = Counter(record["type"] for record in relay.records())
    assert (types["Reception"], types["Delivery"]) == (50, 50)


def test_promise_4_nothing_leaves_before_the_egress_address_is_proved(new_relay: NewRelay, sink: Sink) -> None:
    port = free_port()
    relay = new_relay(delivery={"routes": [fixed_route(sink)]})
    relay.write({**relay.overrides, "egress": egress(relay.folder, port)})
    relay.start().submit(1)
    eventually(
        lambda: "refused" in relay.log() or relay.metric("egress_shut_seconds_total") > 2, "rounds without proof"
    )
    assert relay.metric("egress_proof{state=Unproved}") == 1
    assert (sink.asked, relay.probe("/readyz")[0]) == ([], 200)
    with ReflectorProcess(relay.folder, port):
        eventually(lambda: relay.metric("egress_open") == 1, "the proof")
        assert sink.wait(1)[0].peer == SOURCE
    relay.submit(2)  # the reflector is gone: a proved slot keeps sending
    sink.wait(2)
    eventually(lambda: relay.metric("egress_proof{state=ProofStale}") == 1, "the proof is stale")
    relay.kill()
    relay.start().submit(3)  # a new process life has no proof
    eventually(lambda: relay.metric("egress_shut_seconds_total") > 2, "rounds without proof")
    assert len(sink.arrived) == 2
    with ReflectorProcess(relay.folder, port):
        sink.wait(3)


def test_promise_4_a_wrong_address_stops_all_sending_until_it_is_right(new_relay: NewRelay, sink: Sink) -> None:
    port = free_port()
    relay = new_relay(delivery={"routes": [fixed_route(sink)]})
    relay.write({**relay.overrides, "egress": egress(relay.folder, port, address="203.0.113.9")})
    with ReflectorProcess(relay.folder, port):
        relay.start().submit(1)
        eventually(lambda: relay.metric("egress_proof{state=Mismatch}") == 1, "the mismatch is seen")
        assert sink.asked == []
        relay.change(egress=egress(relay.folder, port))
        sink.wait(1)


def test_promise_4_with_ptr_required_nothing_leaves_before_dns_names_the_address(
    new_relay: NewRelay, sink: Sink, tmp_path: Path
) -> None:
    dns_port, port = free_port(), free_port()
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "resolvers": [f"127.0.0.1:{dns_port}"]})
    proved = egress(relay.folder, port)
    relay.write({**relay.overrides, "egress": {**proved, "ptr": "Require"}})
    with ReflectorProcess(relay.folder, port):
        server = NameServer(tmp_path / "dns-1", dns_port, f"out1.brand IN A {SOURCE}")
        try:
            relay.start().submit(1)
            eventually(lambda: relay.metric("egress_ptr{finding=NoPTR}") == 1, "the missing record is seen")
            eventually(lambda: "set PTR 41.0.0.127.in-addr.arpa = out1.brand.test" in relay.log(), "it says the fix")
            assert (relay.metric("egress_proof{state=Unproved}"), relay.metric("egress_open"), sink.asked) == (1, 0, [])
            relay.change(egress={**proved, "ptr": "Warn"})
            sink.wait(1)
            relay.change(egress={**proved, "ptr": "Require"})
            eventually(lambda: relay.metric("egress_open") == 0, "it is shut again")
            relay.submit(2)
        finally:
            server.stop()
        server = NameServer(tmp_path / "dns-2", dns_port, f"out1.brand IN A {SOURCE}", "41 IN PTR out1.brand.test.")
        try:
            sink.wait(2)
        finally:
            server.stop()
        relay.submit(3)  # DNS is gone, and takes nothing back
        sink.wait(3)


def test_promise_4_nothing_leaves_with_a_selector_that_is_not_live(
    new_relay: NewRelay, sink: Sink, tmp_path: Path, signing_key: tuple[Path, str]
) -> None:
    key_file, record = signing_key
    port = free_port()
    relay = new_relay(
        delivery={"routes": [fixed_route(sink)], "resolvers": [f"127.0.0.1:{port}"]},
        domains=[{"name": "brand.test", "selector": "s1", "keyFile": str(key_file)}],
    )
    server = NameServer(tmp_path / "dns-1", port, "")
    try:
        relay.start().submit(1)
        eventually(lambda: relay.metric("held_domains") == 1, "the domain is held")
        assert sink.asked == []
    finally:
        server.stop()
    server = NameServer(tmp_path / "dns-2", port, f"s1._domainkey.brand IN TXT {record}")
    try:
        message = sink.wait(1)[0]
    finally:
        server.stop()
    assert b"DKIM-Signature: " in message.content


def test_promise_5_a_full_spool_answers_452_and_delivers_what_it_has(new_relay: NewRelay, sink: Sink) -> None:
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "state": "Held"}, spool={"maxSize": "512Ki"}).start()
    accepted, refusal = 0, None
    with relay.session() as client:
        while refusal is None and accepted < 1000:
            try:
                client.send_message(letter(accepted))
            except smtplib.SMTPResponseException as refused:
                refusal = refused
            else:
                accepted += 1
    assert refusal is not None
    assert refusal.smtp_code == 452
    assert "4.3.1" in str(refusal.smtp_error)
    assert accepted > 100
    relay.change(delivery={"state": "Running"})
    sink.wait(accepted)

    def has_room() -> bool:
        try:
            relay.submit(5000)
        except smtplib.SMTPException:
            return False
        return True

    eventually(has_room, "room again after delivery")


def test_promise_5_a_dead_resolver_holds_up_nobody_else(new_relay: NewRelay, sink: Sink) -> None:
    relay = new_relay(
        delivery={"routes": [fixed_route(sink, "isp.test")], "resolvers": [f"127.0.0.1:{free_port()}"]}
    ).start()
    for number in range(20):
        relay.submit(number, recipient=f"x@dead-{number}.test")
    relay.submit(99)
    assert sink.wait(1)[0].recipients == ("ann@isp.test",)
    eventually(lambda: relay.metric("queue_messages") == 20, "only the dead domains' mail is left")


def test_promise_5_an_isp_that_refuses_everything_holds_up_nobody_else(new_relay: NewRelay, sink: Sink) -> None:
    with Sink("127.0.0.72") as bad:
        bad.answer_with = lambda stage, _address: "421 4.7.0 go away" if stage == "MAIL" else None
        relay = new_relay(delivery={"routes": [fixed_route(bad, "bad.test"), fixed_route(sink, "isp.test")]}).start()
        with relay.session() as client:
            for number in range(100):
                client.send_message(letter(number, recipient=f"x{number}@bad.test"))
        relay.submit(999)
        sink.wait(1)
        assert bad.arrived == []


def test_promise_6_sigterm_finishes_what_is_in_flight_and_keeps_the_rest(new_relay: NewRelay, sink: Sink) -> None:
    sink.answer_with = lambda stage, _address: time.sleep(0.02) if stage == "DATA" else None
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "connections": 2}).start()
    relay.submit(*range(100))
    sink.wait(10)
    assert relay.terminate() == 0
    before = arrived_numbers(sink)
    relay.start()
    sink.wait(100)
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    assert arrived_numbers(sink) == Counter(range(100))  # nothing lost, nothing twice
    assert before


def test_promise_6_sigterm_lets_a_message_that_is_coming_in_finish(relay: Relay, sink: Sink) -> None:
    relay.start()
    with relay.session() as client:
        client.mail("otp@brand.test")
        client.rcpt("ann@isp.test")
        assert relay.process is not None
        relay.process.terminate()
        eventually(lambda: relay.probe("/readyz")[0] != 200, "not ready any more")
        code, _ = client.data(letter(1).as_bytes(policy=SMTP))
    assert (code, relay.process.wait(60)) == (250, 0)
    relay.start()
    sink.wait(1)
    assert arrived_numbers(sink) == Counter([1])


def test_promise_6_what_was_taken_last_leaves_before_the_end(relay: Relay, sink: Sink) -> None:
    """Whoever starts the slot again may need minutes, and a code is not to wait for that."""
    relay.start()
    process = relay.process
    assert process is not None
    with suppress(smtplib.SMTPResponseException), relay.session() as client:  # QUIT is answered by the 421 of the end
        client.mail("otp@brand.test")
        client.rcpt("ann@isp.test")
        assert client.docmd("DATA")[0] == 354
        process.terminate()
        eventually(lambda: not _listens(relay), "nobody else is let in")
        client.send(letter(1).as_bytes(policy=SMTP) + b".\r\n")
        code, _ = client.getreply()
    assert (code, process.wait(60)) == (250, 0)
    assert arrived_numbers(sink) == Counter([1])


def _listens(relay: Relay) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", relay.port), timeout=60.0):
        return True
    return False


def test_a_shorter_lifetime_ends_what_waits_for_its_next_attempt(new_relay: NewRelay, sink: Sink) -> None:
    sink.answer_with = lambda stage, _line: "451 4.2.0 later" if stage == "RCPT" else None
    retry = {"first": "1h", "factor": 1, "max": "1h"}
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "retry": retry, "lifetime": "4h"}).start()
    relay.submit(1)
    eventually(lambda: any(one["type"] == "TransientFailure" for one in relay.records()), "it is deferred")
    relay.change(delivery={"lifetime": "1s"})
    eventually(lambda: any(one["type"] == "Expiration" for one in relay.records()), "it has expired")


def test_a_queue_that_is_full_of_mail_that_fails_gets_empty_and_asks_nobody_twice(
    new_relay: NewRelay, sink: Sink
) -> None:
    asked = Counter[str]()

    def answer(stage: str, line: str) -> str | None:
        if stage != "RCPT" or "gone" not in line:
            return None
        asked[line] += 1
        return "550 5.1.1 no such user"

    sink.answer_with = answer
    delivery = {"routes": [fixed_route(sink)], "state": "Suspended"}
    relay = new_relay(delivery=delivery, spool={"maxSize": "16Mi"}).start()
    accepted = 0  # some 200, whose reports take half of the room that only reports have
    for lines in (1700, 1):  # what large ones leave free is filled with small ones
        with suppress(smtplib.SMTPResponseException), relay.session() as client:
            while True:
                message = letter(accepted, recipient=f"gone{accepted}@isp.test")
                message.set_content(("x" * 70 + "\r\n") * lines)
                client.send_message(message)
                accepted += 1
    relay.change(delivery={"state": "Running"})
    eventually(lambda: relay.metric("queue_messages") == 0, "all is told and gone", 120)
    assert accepted > 100
    assert len(sink.arrived) == len(asked) == accepted, "a report of each"
    assert set(asked.values()) == {1}
