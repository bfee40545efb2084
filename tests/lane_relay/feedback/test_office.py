"""Feedback as the pipeline makes it: files of keys that come late, and sites that are not believed."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lane_api.classes import TrafficClass
from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.errors import ConfigError
from lane_relay.feedback.office import FeedbackOffice, Neighbours
from lane_relay.records import Attempt, Envelope, Message, Peer, QueueEntry, RecipientResult, Reply, Verdict
from lane_relay.supervisor import Supervisor
from tests.lane_relay.deliver.delivery import until


def config(folder: Path, **suppression: Any) -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "otp"},
            "slot": {"name": "otp-0", "hostname": "out1.brand.test"},
            "spool": {"path": str(folder / "spool")},
            "records": {"path": str(folder)},
            "suppression": {"path": str(folder / "list"), "keyFile": str(folder / "own"), **suppression},
        }
    )


async def test_a_key_that_comes_after_its_configuration_is_taken_when_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "own").write_bytes(b"o" * 32)
    spool = SimpleNamespace(flag=lambda _name: "", new_id=lambda: 1)
    nothing = cast("Any", None)
    around = Neighbours(
        cast("Any", spool), nothing, nothing, nothing, nothing, SYSTEM_CLOCK, nothing, Supervisor(lambda: 0.5)
    )
    office = FeedbackOffice(config(tmp_path), around, keys_again_s=0.01)
    known = office.suppressions
    assert known is not None
    own = known.digest("ann@isp.test")
    running = asyncio.ensure_future(office.run(None, None))
    shared = config(tmp_path, scope="Namespace", namespaceKeyFile=str(tmp_path / "namespace"))
    with pytest.raises(ConfigError, match="namespaceKeyFile"):
        office.apply(shared)
    assert known.digest("ann@isp.test") == own  # the last good one serves
    (tmp_path / "namespace").write_bytes(b"n" * 32)
    await until(lambda: known.digest("ann@isp.test") != own)
    assert known.digests("ann@isp.test")[1:] == [own]
    assert office.is_suppressed("ann@isp.test", TrafficClass.BULK) == ""
    running.cancel()
    await asyncio.wait([running])
    await office.close()


class Flags:
    """A spool's flags, which outlive the office."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def flag(self, name: str) -> str:
        return self.kept.get(name, "")

    def set_flag(self, name: str, value: str) -> None:
        self.kept[name] = value

    def new_id(self) -> int:
        return 1


UNKNOWN = RecipientResult(
    0,
    Stage.RCPT,
    Reply(550, ("5.1.1 The email account that you tried to reach does not exist",)),
    Verdict(Category.BAD_MAILBOX, Action.BOUNCE, Scope.RECIPIENT),
)


async def test_an_attempt_that_breaks_the_list_is_told_and_the_next_one_is_learnt(tmp_path: Path) -> None:
    """The attempt is settled by then: nothing but the word is missing."""
    of = Office(tmp_path, Flags())
    of.says(1, "ann@isp.test", of_recipient=7)  # whom the message has not
    assert of.supervisor.broken == {"complaint-counts": 0, "hard-bounces": 1}
    of.says(2, "gone@isp.test")
    assert await of.refuses("gone@isp.test") == "hard-bounce"
    await of.office.close()


class Office:
    """The office of a slot whose ISP tells lies."""

    def __init__(self, folder: Path, spool: Flags) -> None:
        (folder / "own").write_bytes(b"o" * 32)
        self.at = 1_800_000_000.0
        clock = SimpleNamespace(now=lambda: self.at, monotonic=lambda: self.at)
        nothing = cast("Any", None)
        self.supervisor = Supervisor(lambda: 0.5)
        around = Neighbours(
            cast("Any", spool), nothing, nothing, nothing, nothing, cast("Any", clock), nothing, self.supervisor
        )
        self.office = FeedbackOffice(config(folder), around)

    def says(self, number: int, address: str, of_recipient: int = 0) -> None:
        """The ISP does not know this mailbox."""
        envelope = Envelope("otp@brand.test", (address,))
        message = Message(number, envelope, b"", from_domain="brand.test")
        entry = QueueEntry(number, 0, "isp.test", (0,), 0, self.at)
        peer = Peer("mx.isp.test", "192.0.2.1", 25, "192.0.2.2")
        result = RecipientResult(of_recipient, UNKNOWN.stage, UNKNOWN.reply, UNKNOWN.verdict)
        self.office.attempted(Attempt(entry, message, "isp", self.at, self.at, (result,), peer))

    async def refuses(self, address: str) -> str:
        """What intake says, once all that was told is on the list."""
        await until(lambda: not self.office.under_way)
        return self.office.is_suppressed(address, TrafficClass.BULK)


async def test_three_hundred_users_whom_their_isp_does_not_know_for_a_minute_are_not_locked_out(tmp_path: Path) -> None:
    spool = Flags()
    of = Office(tmp_path, spool)
    of.says(1, "gone@isp.test")
    assert await of.refuses("gone@isp.test") == "hard-bounce"
    of.at += 3600
    for number in range(300):
        of.says(100 + number, f"user{number}@isp.test")
        of.at += 0.1
    assert [await of.refuses(f"user{number}@isp.test") for number in range(300)] == [""] * 300
    assert of.office.doubted == {"isp": 1}
    assert of.office.counters.held_back["isp"] == 300
    assert await of.refuses("gone@isp.test") == "hard-bounce"
    await of.office.close()
    again = Office(tmp_path, spool)
    again.at = of.at + 60
    assert again.office.doubted == {"isp": 1}
    again.at += 3600
    assert not again.office.doubted
    again.says(1000, "user7@isp.test")  # the ISP is well again, and says it of this one still
    assert await again.refuses("user7@isp.test") == "hard-bounce"
    assert await again.refuses("user8@isp.test") == ""
    await again.office.close()


async def test_a_bad_list_that_is_sent_to_once_more_a_day_later_is_suppressed(tmp_path: Path) -> None:
    of = Office(tmp_path, Flags())
    for day in range(2):
        for number in range(50):
            of.says(1000 * day + number, f"bad{number}@isp.test")
        found = [await of.refuses(f"bad{number}@isp.test") for number in range(50)]
        assert found == ["hard-bounce" if day else ""] * 50
        assert of.office.doubted == {"isp": 1}
        of.at += 25 * 3600
    await of.office.close()
