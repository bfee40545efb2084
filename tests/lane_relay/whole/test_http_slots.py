"""HTTP intake of a lane of several slots, as real processes: a key is known to all of them, whoever is killed."""

import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lane_relay.accept.http.witnesses import witnesses_of
from tests.lane_relay.accept.http.client import Answered, code, post
from tests.lane_relay.running import Relay, Sink, eventually
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_handover import Lane
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)


class Slots:
    """The slots of one lane, each with HTTP intake; started."""

    def __init__(self, folder: Path, new_relay: NewRelay, sink: Sink, *names: str) -> None:
        lane = Lane(folder)
        for name in names:
            if name not in lane.ports:
                lane.ports[name] = free_port()
                lane.certify(name, ("localhost",))
        self.http = {name: free_port() for name in names}
        self.relays: dict[str, Relay] = {}
        for name in names:
            two = Lane.slot.__get__(_Pair(lane, name, next(other for other in names if other != name)))
            config = two(name, sink, "Running")
            config["handover"]["siblings"] = [
                {"slot": other, "host": "localhost", "port": lane.ports[other]} for other in names if other != name
            ]
            listen = {"host": "127.0.0.1", "port": self.http[name], "plain": True}
            self.relays[name] = new_relay(**config, intake={"http": listen})
        for relay in self.relays.values():
            relay.start(ready=False)
        for relay in self.relays.values():
            eventually(relay.is_ready, "a slot that is ready")

    def post(self, slot: str, body: Any, key: str) -> Answered:
        return post(self.http[slot], body, key=key)

    def accepted(self, slot: str, body: Any, key: str) -> Answered:
        """The answer once it is 200."""
        found: list[Answered] = []

        def ask() -> bool:
            found.append(self.post(slot, body, key))
            return found[-1].status == 200

        eventually(ask, f"200 from {slot}")
        return found[-1]

    def receptions(self) -> Counter[tuple[str, str]]:
        """(recipient, id) of what any slot has taken."""
        records = [one for relay in self.relays.values() for one in relay.records()]
        return Counter((one["recipient"], one["id"]) for one in records if one["type"] == "Reception")


class _Pair:
    """A lane as one of its slots sees it: itself and another."""

    def __init__(self, lane: Lane, name: str, other: str) -> None:
        self.folder = lane.folder
        self.ports = {slot: lane.ports[slot] for slot in (name, other)}


@pytest.fixture
def two(tmp_path: Path, new_relay: NewRelay, sink: Sink) -> Slots:
    return Slots(tmp_path, new_relay, sink, "otp-0", "otp-1")


def test_a_key_that_one_slot_has_answered_is_answered_by_the_other_with_the_same(two: Slots, sink: Sink) -> None:
    for number in range(4):  # the witnesses are asked in either order
        request = code(f"ann{number}@isp.test", "bad address", f"bob{number}@isp.test")
        first = two.post("otp-0", request, f"k{number}")
        again = two.post("otp-1", request, f"k{number}")
        assert (first.status, first.body["slot"], first.body["accepted"]) == (200, "otp-0", 2)
        assert (again.status, again.body) == (200, first.body)
        assert again.headers["Idempotent-Replayed"] == "true"
        other = two.post("otp-1", code(subject="Another"), f"k{number}")
        assert (other.status, "another request" in other.body["detail"]) == (422, True)
    sink.wait(8)
    assert sum(two.receptions().values()) == 8
    eventually(lambda: two.relays["otp-0"].metric("http_keys_total{settled=Here}") == 4, "four it has itself")
    eventually(lambda: two.relays["otp-1"].metric("http_keys_total{settled=Sibling}") == 8, "and the other one's")


def test_one_key_at_both_slots_at_once_is_taken_by_one(two: Slots, sink: Sink) -> None:
    bodies: dict[str, list[Any]] = {f"k{number}": [] for number in range(20)}
    start = threading.Barrier(2)

    def client(slot: str) -> None:
        for key, answers in bodies.items():
            start.wait(60)
            answers.append(two.accepted(slot, code(f"{key}@isp.test"), key).body)

    threads = [threading.Thread(target=client, args=(slot,)) for slot in two.http]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert all(first == second for first, second in bodies.values())
    assert two.receptions() == Counter(
        (one["to"], one["id"]) for first, _ in bodies.values() for one in first["results"]
    )
    sink.wait(20)


def test_a_request_whose_slot_was_killed_waits_for_that_slot_and_is_sent_once(two: Slots, sink: Sink) -> None:
    request, dead = code("ann@isp.test"), two.relays["otp-0"]
    first = two.post("otp-0", request, "k1")
    dead.kill()
    away = two.post("otp-1", request, "k1")
    assert (away.status, away.body["code"], "otp-0" in away.body["detail"]) == (503, "451 4.3.2", True)
    assert int(away.headers["Retry-After"]) > 0
    new = two.post("otp-1", code("bob@isp.test"), "k2")  # mail goes on
    assert (new.status, new.body["slot"]) == (200, "otp-1")
    assert two.relays["otp-1"].metric("http_keys_total{settled=OneWitness}") == 1
    dead.start()
    assert two.accepted("otp-1", request, "k1").body == first.body
    assert two.post("otp-0", code("bob@isp.test"), "k2").body == new.body
    sink.wait(2)
    assert sum(two.receptions().values()) == 2


def test_what_a_slot_refused_for_now_another_may_take(tmp_path: Path, new_relay: NewRelay, sink: Sink) -> None:
    slots = Slots(tmp_path, new_relay, sink, "otp-0", "otp-1")
    slots.relays["otp-0"].change(intake={"limits": {"messageRatePerClient": "1/h"}})
    assert slots.post("otp-0", code("ann@isp.test"), "k0").status == 200
    for number in range(1, 4):
        full = slots.post("otp-0", code(f"u{number}@isp.test"), f"k{number}")
        assert full.status == 429
        taken = slots.post("otp-1", code(f"u{number}@isp.test"), f"k{number}")
        assert (taken.status, taken.body["slot"]) == (200, "otp-1")


def test_a_slot_that_is_no_witness_of_the_key_is_found_by_all(tmp_path: Path, new_relay: NewRelay, sink: Sink) -> None:
    names = ("otp-0", "otp-1", "otp-2")
    slots = Slots(tmp_path, new_relay, sink, *names)
    for number in range(6):
        asked = [*names[number % 3 :], *names[: number % 3]]
        answers = [slots.post(slot, code(f"u{number}@isp.test"), f"k{number}") for slot in asked]
        assert [one.status for one in answers] == [200, 200, 200]
        assert answers[0].body == answers[1].body == answers[2].body
        assert answers[0].body["slot"] == asked[0]
    assert sum(slots.receptions().values()) == 6


def test_kills_of_either_slot_and_keys_that_go_to_any_send_each_message_exactly_once(two: Slots, sink: Sink) -> None:
    requests = {f"key-{number}": code(*(f"u{number}x{one}@isp.test" for one in range(20))) for number in range(24)}
    answers: dict[str, Any] = {}
    turns: Counter[int] = Counter()
    ended: set[int] = set()
    done = threading.Event()
    names = tuple(two.http)

    def all_went_on(since: dict[int, int]) -> bool:
        return all(number in ended or turns[number] > since.get(number, 0) + 1 for number in range(6))

    def client(number: int) -> None:
        at = number
        for key in list(requests)[number::6]:
            while key not in answers and not done.is_set():
                at += 1
                try:
                    answer = two.post(names[at % 2], requests[key], key)
                except OSError:
                    done.wait(0.02)
                    continue
                turns[number] += 1
                if answer.status == 200 and not any(one["code"].startswith("4") for one in answer.body["results"]):
                    answers[key] = answer.body
                else:
                    assert answer.status in (200, 409, 503), answer.body
                    done.wait(0.02)
        ended.add(number)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for kill in range(4):
            eventually(lambda kill=kill: len(answers) >= kill * 3, "progress")  # type: ignore[misc]  # bound at once
            victim = two.relays[names[kill % 2]]
            victim.kill()
            victim.start()
            # what was begun with one slot away is answered before the other one goes
            eventually(partial(all_went_on, dict(turns)), "every client goes on")
        for thread in threads:
            thread.join(120)
    finally:
        done.set()
    assert len(answers) == len(requests)
    told = Counter((one["to"], one["id"]) for body in answers.values() for one in body["results"])
    assert two.receptions() == told
    sink.wait(24 * 20)


def test_witnesses_are_the_same_for_every_slot_and_change_little_with_the_lane() -> None:
    slots = [f"otp-{number}" for number in range(5)]
    for number in range(200):
        key = number.to_bytes(16, "big")
        found = witnesses_of(key, slots)
        assert found == witnesses_of(key, reversed(slots))
        assert len(set(found)) == 2
        for changed in (slots[:-1], slots[1:], [*slots, "otp-5"]):
            assert set(found) & set(witnesses_of(key, changed))
    firsts = Counter(witnesses_of(number.to_bytes(16, "big"), slots)[0] for number in range(1000))
    assert min(firsts.values()) > 120
    assert witnesses_of(b"k", ["otp-0"]) == ("otp-0",)
