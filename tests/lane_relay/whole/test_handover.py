"""Two slots of one lane as real processes: what one hands over the other sends, once, whoever is killed."""

import datetime as dt
import json
import random
import smtplib
import ssl
import urllib.error
import urllib.request
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import dkim
import pytest

from bench.nameserver import NameServer
from lane_operator import credentials
from tests.lane_relay.running import Relay, Sink, eventually, fixed_route, letter
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)


class Lane:
    """The slots' shared authority, and what each slot's configuration says of the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"otp-0": free_port(), "otp-1": free_port()}
        now = dt.datetime.now(dt.UTC)
        self.authority = credentials.make_ca("otp", now)
        self.write("ca.crt", self.authority.certificate)
        self.write("token", b"secret-token-of-this-test")
        for slot in self.ports:
            self.certify(slot, ("localhost",))

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def certify(self, slot: str, names: tuple[str, ...]) -> None:
        leaf = credentials.make_leaf(self.authority, names, dt.datetime.now(dt.UTC))
        self.write(f"{slot}.crt", leaf.certificate)
        self.write(f"{slot}.key", leaf.key)

    def slot(self, name: str, sink: Sink, state: str, **more: Any) -> dict[str, Any]:
        """The configuration of one of the two."""
        (other,) = set(self.ports) - {name}
        files = {"certificate": str(self.folder / f"{name}.crt"), "key": str(self.folder / f"{name}.key")}
        return {
            "slot": {"name": name, "hostname": f"{name}.brand.test"},
            "delivery": {"state": state, "routes": [fixed_route(sink)]},
            "admin": {
                "listen": {"host": "127.0.0.1", "port": self.ports[name]},
                "tls": files,
                "tokenFile": str(self.folder / "token"),
            },
            "handover": {
                "caFile": str(self.folder / "ca.crt"),
                "siblings": [{"slot": other, "host": "localhost", "port": self.ports[other], **more}],
            },
        }


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return Lane(tmp_path)


def arrived(sink: Sink) -> Counter[int]:
    """How often each letter arrived."""
    return Counter(int(message.content.split(b"Subject: letter ")[1].split(b"\r\n")[0]) for message in sink.arrived)


def is_empty(relay: Relay) -> bool:
    return relay.metric("queue_messages") == 0


def test_a_slot_that_is_emptied_hands_all_its_mail_over_and_its_sibling_sends_it(
    lane: Lane, new_relay: NewRelay, sink: Sink
) -> None:
    giver = new_relay(**lane.slot("otp-0", sink, "Held")).start()
    giver.submit(*range(60))
    taker = new_relay(**lane.slot("otp-1", sink, "Running")).start()
    giver.change(delivery={"state": "Transferring"})
    sink.wait(60)
    eventually(lambda: is_empty(giver) and is_empty(taker), "two empty queues")
    assert arrived(sink) == Counter(range(60))
    assert {message.helo for message in sink.arrived} == {"otp-1.brand.test"}
    assert (giver.metric("handover_given_total"), taker.metric("handover_taken_total")) == (60, 60)
    given = [record for record in giver.records() if record["type"] == "HandOver"]
    taken = {record["meta"]["origin"]: record for record in taker.records() if record["type"] == "Reception"}
    assert len(given) == 60
    for record in given:  # one message's life can be followed over both slots
        assert taken[record["id"]]["id"] in record["response"]["content"]
        assert taken[record["id"]]["created"] == record["created"]


def giver_has_given(of: Relay) -> float:
    """Entries that have changed hands in the life of this process, on either side."""
    return of.metric("handover_given_total") + of.metric("handover_taken_total")


def goes_on(giver: Relay, survivor: Relay, before: float) -> bool:
    return is_empty(giver) or giver_has_given(survivor) > before


def test_kills_of_either_side_at_random_instants_lose_nothing_and_double_nothing(
    lane: Lane, new_relay: NewRelay, sink: Sink
) -> None:
    alone = lane.slot("otp-0", sink, "Held")
    alone["delivery"]["routes"] = [{**fixed_route(sink), "port": free_port()}]  # it sends nothing itself
    giver = new_relay(**alone).start()
    giver.submit(*range(400))
    giver.change(delivery={"state": "Transferring"})
    taker = new_relay(**lane.slot("otp-1", sink, "Held")).start()
    chance = random.Random(11)
    for _ in range(5):
        victim = chance.choice((giver, taker))
        survivor = taker if victim is giver else giver
        victim.kill()
        before = giver_has_given(survivor)
        victim.start()
        eventually(partial(goes_on, giver, survivor, before), "some progress")
    eventually(lambda: is_empty(giver) and giver.metric("handover_in_doubt") == 0, "all handed over")
    eventually(
        lambda: taker.metric("handover_owed") == 0, "the giver needs no answer, whatever a kill kept it from saying"
    )
    assert taker.metric("queue_messages") == 400
    taker.change(delivery={"state": "Running"})
    sink.wait(400)
    eventually(lambda: is_empty(taker), "an empty queue")
    assert arrived(sink) == Counter(range(400))


def test_a_slot_that_is_emptied_sends_on_while_no_sibling_can_be_reached_and_gives_the_rest_to_one_that_comes_back(
    lane: Lane, new_relay: NewRelay, sink: Sink
) -> None:
    giver = new_relay(**lane.slot("otp-0", sink, "Transferring")).start()
    giver.submit(1, 2, 3)
    sink.wait(3)
    assert {message.helo for message in sink.arrived} == {"otp-0.brand.test"}
    dead = {**fixed_route(sink), "port": free_port()}
    giver.change(delivery={"routes": [dead]})
    giver.submit(4, 5)
    eventually(lambda: "TransientFailure" in json.dumps(giver.records()), "a try")
    new_relay(**lane.slot("otp-1", sink, "Running")).start()
    sink.wait(5)
    assert arrived(sink) == Counter([1, 2, 3, 4, 5])
    assert {message.helo for message in sink.arrived[3:]} == {"otp-1.brand.test"}
    eventually(lambda: is_empty(giver), "an empty queue")


def test_a_suspended_slot_that_is_emptied_sends_nothing_itself(lane: Lane, new_relay: NewRelay, sink: Sink) -> None:
    giver = new_relay(**lane.slot("otp-0", sink, "TransferringSuspended")).start()
    giver.submit(1, 2, 3)
    eventually(lambda: "cannot be reached" in giver.log(), "a try")
    taker = new_relay(**lane.slot("otp-1", sink, "Running")).start()
    sink.wait(3)
    assert {message.helo for message in sink.arrived} == {"otp-1.brand.test"}
    eventually(lambda: is_empty(giver) and is_empty(taker), "two empty queues")


def test_nobody_hands_over_but_a_sibling_with_its_own_certificate(lane: Lane, new_relay: NewRelay, sink: Sink) -> None:
    taker = new_relay(**lane.slot("otp-1", sink, "Running")).start()
    url = f"https://localhost:{lane.ports['otp-1']}/v1/handover/{'0' * 32}?giver=otp-0"
    foreign = credentials.make_ca("other", dt.datetime.now(dt.UTC))
    lane.certify("stranger", ("other.test",))
    leaf = credentials.make_leaf(foreign, ("localhost",), dt.datetime.now(dt.UTC))
    lane.write("foreign.crt", leaf.certificate)
    lane.write("foreign.key", leaf.key)

    def status(certificate: str | None, token: str | None = None) -> int | str:
        context = ssl.create_default_context(cafile=lane.folder / "ca.crt")
        if certificate:
            context.load_cert_chain(lane.folder / f"{certificate}.crt", lane.folder / f"{certificate}.key")
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return "no connection"

    assert status(None) == 403
    assert status(None, "secret-token-of-this-test") == 403
    assert status("stranger") == 403
    assert status("foreign") == "no connection"
    assert status("otp-0") == 200
    assert taker.metric("handover_taken_total") == 0


def test_a_bounce_at_one_slot_is_known_to_its_sibling(lane: Lane, new_relay: NewRelay, sink: Sink) -> None:
    lane.write("suppression.key", b"s" * 32)

    def slot(name: str) -> dict[str, Any]:
        suppression = {"path": str(lane.folder / f"list-{name}"), "keyFile": str(lane.folder / "suppression.key")}
        return {**lane.slot(name, sink, "Running"), "suppression": suppression}

    first = new_relay(**slot("otp-0")).start()
    second = new_relay(**slot("otp-1")).start()
    sink.answer_with = lambda _stage, address: "550 5.1.1 no such user" if address == "ann@isp.test" else None
    first.submit(1)
    eventually(lambda: second.metric("suppressions") == 1, "the sibling knows the address")
    with second.session() as client:
        client.ehlo_or_helo_if_needed()
        client.mail("otp@brand.test")
        code, text = client.rcpt("ann@isp.test")
    assert code == 550
    assert b"suppressed (hard-bounce)" in text


def test_a_complaint_is_counted_at_the_slot_that_its_mail_left_from(
    lane: Lane, new_relay: NewRelay, sink: Sink, signing_key: tuple[Path, str]
) -> None:
    lane.write("feedback.key", b"f" * 32)
    key_file, published = signing_key
    dns = NameServer(lane.folder / "dns", free_port(), f"s1._domainkey.isp IN TXT {published}")
    ports = {name: free_port() for name in lane.ports}

    def slot(name: str) -> dict[str, Any]:
        smtp = {"host": "127.0.0.1", "port": ports[name]}
        path = [{"name": "brand.test", "mode": "Off", "returnPath": {"domain": "b.brand.test"}}]
        feedback = {"keyFile": str(lane.folder / "feedback.key"), "smtp": smtp}
        whole = {**lane.slot(name, sink, "Running"), "domains": path, "feedback": feedback}
        policy = {"name": "isp", "mx": [sink.address], "reporters": ["fbl@isp.test"]}
        whole["delivery"] |= {"resolvers": [dns.address], "policies": [policy]}
        return whole

    first, second = (new_relay(**slot(name)).start() for name in lane.ports)
    first.submit(1)
    (sent,) = sink.wait(1)
    eventually(lambda: [one for one in first.records() if one["type"] == "Delivery"], "the delivery on record")
    report = f"Feedback-Type: abuse\r\nUser-Agent: L/1\r\nOriginal-Mail-From: <{sent.sender}>\r\n"
    fields = "From: fbl@isp.test\r\nMIME-Version: 1.0\r\nContent-Type: message/feedback-report\r\n"
    with smtplib.SMTP("127.0.0.1", ports["otp-1"], timeout=60) as peer:
        content = f"{fields}\r\n{report}".encode()
        peer.sendmail(
            "fbl@isp.test",
            ["fbl@b.brand.test"],
            dkim.sign(content, b"s1", b"isp.test", key_file.read_bytes()) + content,
        )
    (record,) = eventually(
        lambda: [one for one in second.records() if one["type"] == "Feedback"], "the complaint on record where it came"
    )
    dns.stop()
    assert record["site"] == "isp"
    assert first.metric("complaints_total{policy=isp}") == 1
    assert second.metric("complaints_total{policy=isp}") == 0


def test_mail_that_an_order_holds_is_not_handed_over_to_a_sibling_that_knows_nothing_of_it(
    lane: Lane, new_relay: NewRelay, sink: Sink
) -> None:
    giver = new_relay(**lane.slot("otp-0", sink, "Held")).start()
    request = partial(ask, lane, "otp-0")
    order = request("POST", "/v1/actions", b'{"action":"hold","queue":"isp.test","owner":"jane","reason":"wrong"}')
    giver.submit(1, 2, 3)
    with giver.session() as client:
        client.send_message(letter(4, recipient="bob@other.test"))
    new_relay(**lane.slot("otp-1", sink, "Running")).start()
    giver.change(delivery={"state": "Transferring"})
    sink.wait(1)
    eventually(lambda: giver.metric("queue_messages") == 3, "the other one is handed over")
    giver.kill()
    giver.start()  # now all of it is met for the first time by a slot that is being emptied
    eventually(lambda: request("GET", "/v1/actions", None)["actions"][0]["entries"] == 3, "three are held again")
    assert arrived(sink) == Counter([4])
    request("DELETE", f"/v1/actions/{order['actions'][0]['id']}?owner=jane&reason=right", None)
    sink.wait(4)
    assert arrived(sink) == Counter([1, 2, 3, 4])


def test_an_order_by_site_holds_mail_of_a_slot_that_is_emptied_too(lane: Lane, new_relay: NewRelay, sink: Sink) -> None:
    held = lane.slot("otp-0", sink, "Held")
    other = {**fixed_route(sink, "other.test"), "host": "127.0.0.98"}
    held["delivery"]["routes"] = [other, fixed_route(sink)]
    giver = new_relay(**held).start()
    request = partial(ask, lane, "otp-0")
    said = b'{"action":"hold","site":"route:%s","owner":"jane","reason":"wrong"}' % sink.address.encode()
    giver.submit(1, 2, 3)
    with giver.session() as client:
        client.send_message(letter(4, recipient="bob@other.test"))
    new_relay(**lane.slot("otp-1", sink, "Running")).start()
    order = request("POST", "/v1/actions", said)
    giver.change(delivery={"state": "Transferring"})
    sink.wait(1)
    eventually(lambda: request("GET", "/v1/actions", None)["actions"][0]["entries"] == 3, "three are held")
    assert arrived(sink) == Counter([4])
    eventually(lambda: giver.metric("queue_messages") == 3, "the other one is settled here")
    request("DELETE", f"/v1/actions/{order['actions'][0]['id']}?owner=jane&reason=right", None)
    sink.wait(4)
    assert arrived(sink) == Counter([1, 2, 3, 4])
    assert {message.helo for message in sink.arrived} == {"otp-1.brand.test"}


def ask(lane: Lane, slot: str, method: str, path: str, body: bytes | None) -> Any:
    """A request to the slot's admin API."""
    context = ssl.create_default_context(cafile=str(lane.folder / "ca.crt"))
    token = (lane.folder / "token").read_text()
    url = f"https://localhost:{lane.ports[slot]}{path}"
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"}, method=method)
    with urllib.request.urlopen(request, context=context, timeout=60) as answer:
        return json.load(answer)
