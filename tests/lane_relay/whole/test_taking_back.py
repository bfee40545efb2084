"""A slot that is gone for good, on the wire: what is in doubt with it is said, and a person takes it back."""

import json
import time
import urllib.error
from pathlib import Path

import pytest

from tests.lane_relay.running import Relay, Sink, eventually
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_handover import Lane, arrived, ask, is_empty

pytestmark = pytest.mark.timeout(300)

ORDER = b'{"action": "take-back", "sibling": "otp-1", "owner": "jane", "reason": "the volume is lost"}'
FORGET = b'{"action": "forget", "sibling": "otp-0", "owner": "jane", "reason": "its volume is lost"}'


def killed_in_a_transfer(giver: Relay, *numbers: int) -> list[str]:
    """As a giver is found whose sibling took its mail and never answered: their ids."""
    giver.start().submit(*numbers)
    giver.kill()
    ids = [record["id"] for record in giver.records() if record["type"] == "Reception"]
    note = {"to": "otp-1", "parcels": [[one, [0]] for one in ids], "at": 1_700_000_000.0}
    folder = Path(giver.config()["spool"]["path"]) / "handover"
    (folder / f"given-{'0' * 32}.json").write_text(json.dumps(note))
    return ids


def test_what_is_in_doubt_with_a_lost_sibling_is_explained_and_comes_back_by_order(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Lane(tmp_path)
    giver = new_relay(**lane.slot("otp-0", sink, "Held"))
    first, _ = killed_in_a_transfer(giver, 1, 2)
    giver.write({**giver.overrides, **lane.slot("otp-0", sink, "Running")})
    giver.start().submit(3)
    assert giver.metric("handover_in_doubt") == 1
    assert giver.metric("handover_in_doubt_age_seconds") > 1e6
    sink.wait(1)
    assert arrived(sink) == {3: 1}
    eventually(lambda: "cannot" in json.dumps(_doubts(lane)) or "Connect" in json.dumps(_doubts(lane)), "a reason")
    (doubt,) = _doubts(lane)
    assert (doubt["slot"], doubt["transfers"], doubt["entries"]) == ("otp-1", 1, 2)
    (message,) = ask(lane, "otp-0", "GET", f"/v1/explain?message={first}", None)["messages"]
    (place,) = message["queued"]
    assert (place["state"], place["heldBy"]["limit"]) == ("InDoubt", "sibling")
    assert "take-back" in place["heldBy"]["detail"]
    listed = ask(lane, "otp-0", "GET", "/v1/messages?state=InDoubt", None)["messages"]
    assert len(listed) == 2

    (action,) = ask(lane, "otp-0", "POST", "/v1/actions", ORDER)["actions"]

    assert (action["action"], action["sibling"], action["state"], action["entries"]) == (
        "take-back",
        "otp-1",
        "done",
        2,
    )
    sink.wait(3)
    assert arrived(sink) == {1: 1, 2: 1, 3: 1}
    eventually(lambda: giver.metric("handover_in_doubt") == 0, "nothing in doubt")
    (record,) = [record for record in giver.records() if record.get("user") == "jane"]
    assert (record["type"], record["meta"]["reason"]) == ("AdminAction", "the volume is lost")
    assert ask(lane, "otp-0", "GET", "/v1/actions", None)["actions"] == []
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(lane, "otp-0", "POST", "/v1/actions", ORDER)
    assert refused.value.code == 409
    refused.value.close()


def test_a_slot_says_what_givers_that_are_down_may_still_ask_it_until_they_have_come_back(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Lane(tmp_path)
    giver, taker = (new_relay(**lane.slot(name, sink, "Held")) for name in lane.ports)
    killed_in_a_transfer(giver, 1)
    taker.start()
    folder = Path(taker.config()["spool"]["path"]) / "handover"
    known, unknown = (folder / f"received-{one * 32}.json" for one in "01")
    for path in (known, unknown):  # as if it had the giver's mail; of the second the giver knows nothing
        path.write_text(json.dumps({"giver": "otp-0", "ids": ["a" * 24], "taken": [0]}))
    for _ in range(2):
        taker.kill()
        taker.start()
        assert taker.metric("handover_owed") == 2
    eventually(lambda: _owed(lane) and _owed(lane)[0]["reason"], "why it is not known")
    ((slot, transfers),) = [(one["slot"], one["transfers"]) for one in _owed(lane)]
    assert (slot, transfers) == ("otp-0", 2)

    giver.start()

    eventually(lambda: giver.metric("handover_in_doubt") == 0 and is_empty(giver), "the giver has its answer")
    eventually(lambda: not known.exists(), "the giver has said of one that it knows")
    refused = _refused(lane)
    assert "it answers" in refused or "is owed nothing" in refused
    giver.kill()
    unknown.write_text(json.dumps({"giver": "otp-0", "ids": ["a" * 24], "taken": [0]}))  # it may have been asked
    taker.kill()
    taker.start()
    (action,) = ask(lane, "otp-1", "POST", "/v1/actions", FORGET)["actions"]
    assert (action["action"], action["sibling"], action["state"], action["entries"]) == ("forget", "otp-0", "done", 1)
    assert _owed(lane) == []
    assert list(folder.iterdir()) == []
    (record,) = [record for record in taker.records() if record.get("user") == "jane"]
    assert (record["type"], record["meta"]["reason"]) == ("AdminAction", "its volume is lost")
    assert "is owed nothing" in _refused(lane)


def test_a_slot_that_starts_asks_at_once_what_its_givers_still_need(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Lane(tmp_path)
    giver, taker = (new_relay(**lane.slot(name, sink, "Held")).start() for name in lane.ports)
    taker.kill()
    folder = Path(taker.config()["spool"]["path"]) / "handover"
    (folder / f"received-{'1' * 32}.json").write_text('{"giver": "otp-0", "ids": [], "taken": []}')
    taker.start()
    eventually(lambda: not _owed(lane) and not list(folder.iterdir()), "nobody needs it")
    assert giver.metric("handover_in_doubt") == 0


def test_the_sender_of_mail_in_doubt_hears_once_that_nobody_knows_also_over_kills(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Lane(tmp_path)
    giver = new_relay(**lane.slot("otp-0", sink, "Held"))
    killed_in_a_transfer(giver, 1)
    ends = time.time() + 1.0
    running = lane.slot("otp-0", sink, "Running")
    running["delivery"]["lifetime"] = "1s"
    eventually(
        lambda: time.time() > ends, "its lifetime is over"
    )  # who is there at the start is looked at, or a minute later
    giver.write({**giver.overrides, **running})
    giver.start()
    (report,) = sink.wait(1)
    assert b"Action: delayed" in report.content
    assert b"It is not known whether your message was delivered" in report.content
    for number in (2, 3):  # each start looks at once
        # what is in doubt alone: a report whose delivery a kill cuts off may well arrive again
        eventually(lambda: giver.metric("queue_messages") == 1, "what was sent is settled")
        giver.kill()
        giver.start()
        giver.submit(number)
        sink.wait(number)
    told = [message for message in sink.arrived if b"may not have been delivered" in message.content]
    assert len(told) == 1
    eventually(lambda: giver.metric("queue_messages") == 1, "what is in doubt is left")
    assert giver.metric("handover_in_doubt") == 1
    assert giver.unaccounted() == 0


def _refused(lane: Lane) -> str:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(lane, "otp-1", "POST", "/v1/actions", FORGET)
    with refused.value as answer:
        assert answer.code == 409
        return answer.read().decode()


def _owed(lane: Lane) -> list[dict[str, object]]:
    found: list[dict[str, object]] = ask(lane, "otp-1", "GET", "/v1/slot", None)["handover"]["owed"]
    return found


def _doubts(lane: Lane) -> list[dict[str, object]]:
    found: list[dict[str, object]] = ask(lane, "otp-0", "GET", "/v1/slot", None)["handover"]["doubts"]
    return found
