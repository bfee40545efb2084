"""The generator against a scripted ISP that stands in for a submission port: open loop, complete ledger."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.internet.policy import Fault, Policy, Rate, RecipientRule, Reply, Stage
from e2e.internet.records import Message
from e2e.load import ledger
from e2e.load.generate import LoadConfig, letters, recipients
from tests.e2e_internet.isps import running_isps

FAST = Policy(round_trip_s=0)


def config(folder: Path, host: str = "127.0.0.1", port: int = 25, **more: Any) -> LoadConfig:
    values = {
        "stream": "otp", "host": host, "port": port, "sender": "otp@notify.example.com",
        "domains": ("a.test", "d{n}.b.test"), "distinct": 3, "messages": 60, "rate": 400.0, "sessions": 3,
        "ledger": folder / "ledger.jsonl",
    }  # fmt: skip
    return LoadConfig.model_validate(values | more)


async def generate(made: LoadConfig, folder: Path) -> list[ledger.Entry]:
    file = folder / "load.json"
    file.write_text(made.model_dump_json())
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "e2e.load.generate", "--config", str(file))
    assert await asyncio.wait_for(process.wait(), 120) == 0
    return ledger.read(made.ledger)


async def run(folder: Path, policy: Policy, **more: Any) -> tuple[list[ledger.Entry], list[Message]]:
    async with running_isps(folder, b=policy) as (control, at):
        entries = await generate(config(folder, *at["b"], **more), folder)
        return entries, await control.messages("b")


def test_recipients_take_the_domains_in_turn_and_number_the_rounds() -> None:
    made = config(Path())

    assert list(itertools.islice(recipients(made), 8)) == [
        "user0@a.test", "user1@d0.b.test", "user2@a.test", "user3@d1.b.test",
        "user4@a.test", "user5@d2.b.test", "user6@a.test", "user7@d0.b.test",
    ]  # fmt: skip


def test_fifty_thousand_messages_reach_fifty_thousand_domains_of_five_zones() -> None:
    made = config(Path(), domains=tuple(f"d{{n}}.bulk-{zone}.example" for zone in "gocyx"), distinct=10_000)

    domains = {address.partition("@")[2] for address in itertools.islice(recipients(made), 50_000)}

    assert len(domains) == 50_000


def test_messages_are_due_at_a_fixed_rate_whatever_happens() -> None:
    made = list(letters(config(Path(), rate=10.0, messages=5), 100.0, "run"))

    assert [letter.scheduled for letter in made] == pytest.approx([100.0, 100.1, 100.2, 100.3, 100.4])
    assert len({letter.message_id for letter in made}) == 5
    assert all(3500 < len(letter.content) < 4200 for letter in made)


@pytest.mark.parametrize("tls", ["none", "starttls"])
async def test_every_accepted_message_is_in_the_ledger_and_arrives_unaltered(tmp_path: Path, tls: str) -> None:
    entries, arrived = await run(tmp_path, FAST, tls=tls)

    found = ledger.compare(entries, arrived, {"otp": frozenset({"127.0.0.1"})})
    assert (found.accepted, len(arrived)) == (60, 60)
    assert (found.lost, found.duplicated, found.altered, found.misdirected, found.unknown) == ([], {}, [], [], [])
    assert all(entry.scheduled <= entry.sent <= entry.replied for entry in entries)
    assert {one.tls for one in arrived} == {tls != "none"}
    assert {one.correlation_id for one in arrived} == {entry.correlation_id for entry in entries}


async def test_temporary_refusals_are_tried_again_and_permanent_ones_are_not(tmp_path: Path) -> None:
    policy = FAST.model_copy(
        update={
            "recipients": (
                RecipientRule(match="user3@*", reply=Reply(code=451, text="4.3.0 Later"), times=2),
                RecipientRule(match="user5@*", reply=Reply(code=550, text="5.1.1 Nobody")),
            )
        }
    )
    entries, arrived = await run(tmp_path, policy, messages=8)

    by_user = {entry.recipient.partition("@")[0]: entry for entry in entries}
    assert len(by_user) == 8
    assert (by_user["user3"].outcome, by_user["user3"].tries) == ("accepted", 3)
    assert (by_user["user5"].outcome, by_user["user5"].code, by_user["user5"].tries) == ("refused", 550, 1)
    assert len(arrived) == 7


async def test_a_connection_that_breaks_before_the_end_of_data_is_opened_again(tmp_path: Path) -> None:
    policy = FAST.model_copy(update={"faults": {Stage.DATA: Fault(action="drop", every=5)}})

    entries, arrived = await run(tmp_path, policy, messages=20, rate=1000.0)

    found = ledger.compare(entries, arrived, {})
    assert (found.accepted, found.lost, found.duplicated) == (20, [], {})


async def test_a_connection_that_breaks_after_the_end_of_data_leaves_the_message_in_doubt(tmp_path: Path) -> None:
    policy = FAST.model_copy(update={"faults": {Stage.END_OF_DATA: Fault(action="drop", times=1)}})

    entries, arrived = await run(tmp_path, policy, messages=5)

    assert sorted(entry.outcome for entry in entries) == ["accepted"] * 4 + ["in-doubt"]
    assert len(arrived) == 4


async def test_a_server_that_limits_the_rate_delays_messages_but_not_their_schedule(tmp_path: Path) -> None:
    policy = FAST.model_copy(update={"message_rate": Rate(messages=2, seconds=0.5)})

    entries, arrived = await run(tmp_path, policy, messages=6, rate=1000.0, sessions=2)

    found = ledger.compare(entries, arrived, {})
    assert (found.accepted, found.lost) == (6, [])
    schedule = sorted(entry.scheduled for entry in entries)
    assert schedule[-1] - schedule[0] == pytest.approx(0.005, abs=1e-4)
    assert found.latency["otp"].most >= 0.9  # the last two could not go before two windows had passed
