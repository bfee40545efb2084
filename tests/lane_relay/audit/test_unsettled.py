"""Of a slot whose volume is lost: what it accepted and nobody settled, by records that were kept elsewhere."""

import json
from pathlib import Path
from typing import Any

from lane_relay.audit.evidence import DirectoryStore
from lane_relay.audit.unsettled import unsettled
from tests.lane_relay.audit.making import NOON, Time, command, open_journal, seal_all
from tests.lane_relay.audit.test_trace import life, spool_id, write


def record(kind: str, number: int, recipient: Any = None, *, slot: str = "otp-0", **fields: Any) -> bytes:
    made = json.loads(life(number)[0])
    made |= {"type": kind, "slot": slot, "recipient": recipient or f"user{number}@isp.test"} | fields
    return json.dumps(made, separators=(",", ":")).encode()


def kept(folder: Path, *records: bytes) -> DirectoryStore:
    """The records of one slot, sealed."""
    journal, _ = open_journal(folder, Time())
    write(journal, list(records))
    seal_all(journal)
    return DirectoryStore(folder)


def test_who_has_an_end_on_record_is_settled_and_who_waits_is_not(tmp_path: Path) -> None:
    ends = ("Delivery", "Bounce", "Expiration", "Suppression", "HandOver", "AdminAction")
    settled = [one for number, kind in enumerate(ends) for one in (life(number)[0], record(kind, number))]
    found = unsettled(kept(tmp_path, *settled, life(50)[0], life(51)[0], record("TransientFailure", 51)))

    assert [(one.id, one.recipients) for one in found.messages] == [
        (spool_id(50), ("user50@isp.test",)),
        (spool_id(51), ("user51@isp.test",)),
    ]
    assert (found.messages[0].message_id, found.messages[0].correlation_id) == ("<50@brand.test>", "order-50")
    assert (found.reach[0].slot, found.reach[0].last_seq) == ("otp-0", 15)


def test_of_a_message_for_many_those_are_told_who_wait(tmp_path: Path) -> None:
    many = ["ann@isp.test", "bob@isp.test", "cid@isp.test"]
    found = unsettled(kept(tmp_path, record("Reception", 1, many), record("Delivery", 1, "bob@isp.test")))
    assert [one.recipients for one in found.messages] == [("ann@isp.test", "cid@isp.test")]


def test_what_another_slot_took_over_is_not_lost_though_the_giver_never_said_so(tmp_path: Path) -> None:
    kept(tmp_path / "otp-0", life(1)[0], life(2)[0])
    meta = {"from_slot": "otp-0", "origin": spool_id(1)}
    over = record("Reception", 9, "user1@isp.test", slot="otp-1", reception_protocol="HandOver", meta=meta)
    kept(tmp_path / "otp-1", over)

    found = unsettled(DirectoryStore(tmp_path), "otp-0")
    assert [one.id for one in found.messages] == [spool_id(2)]
    assert [one.slot for one in found.reach] == ["otp-0"]
    assert {one.slot for one in unsettled(DirectoryStore(tmp_path)).messages} == {"otp-0", "otp-1"}


def test_the_command_lists_them_and_says_how_far_the_records_reach(tmp_path: Path) -> None:
    kept(tmp_path, life(3)[0])
    said = command("audit", "unsettled", tmp_path, "--slot", "otp-0")
    assert said.returncode == 1
    assert f"{spool_id(3)}" in said.stdout
    assert "user3@isp.test" in said.stdout
    assert "1 message, 1 recipient" in said.stdout
    assert "otp-0: records to 1" in said.stdout

    (line,) = command("audit", "unsettled", tmp_path, "--json").stdout.splitlines()
    assert json.loads(line)["accepted"] == NOON + 0.003 or json.loads(line)["id"] == spool_id(3)


def test_nothing_open_is_said_too_and_a_slot_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    kept(tmp_path, *life(3))
    said = command("audit", "unsettled", tmp_path)
    assert (said.returncode, "0 messages" in said.stdout) == (0, True)
    assert command("audit", "unsettled", tmp_path, "--slot", "otp-7").returncode == 2
