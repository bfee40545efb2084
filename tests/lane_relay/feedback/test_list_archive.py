"""The suppression list of a slot that is to go, in the lane's archive, and back from there."""

import asyncio
from pathlib import Path

import zstandard

from lane_api.classes import TrafficClass
from lane_api.relayconfig import RelayConfig
from lane_api.relayfeedback import Suppression
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.feedback.exchange import Brought, header, read_line
from lane_relay.feedback.list_archive import ListArchive
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppression_store import PAGE_ROWS, SuppressionStore
from lane_relay.feedback.suppressions import Reason, Source
from tests.lane_relay.audit.s3_server import s3_server

PLACE = "archive/mail/otp/otp-0/suppressions"


class Slot:
    """A list and its way into an archive."""

    def __init__(self, folder: Path, archive: dict[str, object] | None = None, *, piece: int = 100_000) -> None:
        self.folder, self.is_drained = folder, True
        self.list = opened(folder / "list")
        self.archive = ListArchive(self.list, lambda: self.is_drained, piece)
        self.apply(archive or {"path": str(folder / "archive")})

    def apply(self, archive: dict[str, object]) -> None:
        self.archive.apply(
            RelayConfig.model_validate(
                {
                    "lane": {"namespace": "mail", "name": "otp"},
                    "slot": {"name": "otp-0", "hostname": "out1.brand.test"},
                    "spool": {"path": str(self.folder / "spool")},
                    "records": {"path": str(self.folder / "records"), "archive": archive},
                }
            )
        )

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / PLACE).glob("*.csv.zst"))


def opened(path: Path) -> SuppressionList:
    config = Suppression(path=str(path), key_file="unused", max_entries=10_000)
    return SuppressionList(config, TrafficClass.BULK, b"s" * 32, SuppressionStore.open(path, 10_000), SYSTEM_CLOCK)


async def complain(about: SuppressionList, *addresses: str) -> None:
    words = [about.word(about.digest(address), Reason.COMPLAINT, Source.COMPLAINT_REPORT) for address in addresses]
    await about.suppress([word for word in words if word is not None])


async def bring(into: SuppressionList, packed: bytes) -> None:
    """As POST /v1/suppressions does with what `zstd -d` gives."""
    first, *lines = zstandard.decompress(packed).decode().splitlines()
    columns = header(first)
    assert isinstance(columns, tuple)
    brought = [read_line(columns, line) for line in lines]
    assert all(isinstance(one, Brought) for one in brought)
    await into.bring([one for one in brought if isinstance(one, Brought)])


async def test_a_list_from_the_archive_is_the_list_that_was_put_there(tmp_path: Path) -> None:
    slot = Slot(tmp_path, piece=1)  # a page of the list each
    addresses = [f"a{number}@example.com" for number in range(PAGE_ROWS + 30)]
    await complain(slot.list, *addresses)
    await slot.list.lift(slot.list.digest(addresses[3]))
    assert await slot.archive.ship()
    assert slot.archive.has_all
    assert slot.archive.report(()) == {"words": PAGE_ROWS + 30, "readBy": [], "archived": True, "failure": ""}
    back = opened(tmp_path / "another")
    assert len(slot.files) == 2
    for file in reversed(slot.files):
        await bring(back, file.read_bytes())
    said = [back.is_suppressed(address, TrafficClass.BULK) for address in addresses]
    assert said == ["complaint"] * 3 + [""] + ["complaint"] * (PAGE_ROWS + 26)
    assert back.page("")[0] == slot.list.page("")[0]


async def test_nothing_is_put_before_the_slot_is_drained_and_what_comes_later_is_put_too(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.is_drained = False
    await complain(slot.list, "ann@example.com")
    assert await slot.archive.ship()
    assert (slot.files, slot.archive.has_all) == ([], False)
    slot.is_drained = True
    assert await slot.archive.ship()
    assert (len(slot.files), slot.archive.has_all) == (1, True)
    await complain(slot.list, "bob@example.com")
    assert not slot.archive.has_all
    assert await slot.archive.ship()
    assert (len(slot.files), slot.archive.has_all) == (2, True)


async def test_a_restart_puts_the_same_under_the_same_name(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    await complain(slot.list, "ann@example.com")
    assert await slot.archive.ship()
    await slot.list.close()
    again = Slot(tmp_path)
    assert not again.archive.has_all
    assert await again.archive.ship()
    assert (len(again.files), again.archive.has_all) == (1, True)


async def test_an_archive_that_takes_nothing_says_why_until_it_does(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    (tmp_path / "archive").write_bytes(b"")
    await complain(slot.list, "ann@example.com")
    assert not await slot.archive.ship()
    assert "cannot be used" in slot.archive.failure
    assert not slot.archive.has_all
    (tmp_path / "archive").unlink()
    assert await slot.archive.ship()
    assert (slot.archive.failure, slot.archive.has_all) == ("", True)


async def test_a_slip_in_the_buckets_secret_says_why_and_is_no_end(tmp_path: Path) -> None:
    with s3_server(tmp_path / "s3") as server:
        credentials = server.credentials(tmp_path / "credentials")
        slot = Slot(tmp_path, server.config(credentials, "lanes"))
        await complain(slot.list, "ann@example.com")
        (credentials / "ca.crt").write_bytes(b"hello")
        assert not await slot.archive.ship()
        assert "ca.crt holds no certificate" in slot.archive.failure
        (credentials / "ca.crt").unlink()
        assert await asyncio.wait_for(slot.archive.ship(), 60)
        assert (slot.archive.failure, slot.archive.has_all) == ("", True)


async def test_another_archive_gets_everything(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    await complain(slot.list, "ann@example.com")
    assert await slot.archive.ship()
    slot.apply({"path": str(tmp_path / "other")})
    assert not slot.archive.has_all
    assert await slot.archive.ship()
    assert len(list((tmp_path / "other").rglob("*.csv.zst"))) == 1


async def test_a_bucket_takes_it_as_well(tmp_path: Path) -> None:
    with s3_server(tmp_path / "s3") as server:
        slot = Slot(tmp_path, server.config(server.credentials(tmp_path / "credentials"), "lanes"))
        await complain(slot.list, "ann@example.com")
        assert await asyncio.wait_for(slot.archive.ship(), 60)
        assert slot.archive.has_all
