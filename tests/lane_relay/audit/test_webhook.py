"""The webhook against a real receiver: in order, at least once, signed, with gaps told, and holding nothing up."""

import asyncio
import hashlib
import hmac
import os
import shutil
from itertools import repeat
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from lane_api.relayconfig import Webhook
from lane_relay.account.journal import Journal
from lane_relay.audit.chain import Chain
from lane_relay.audit.webhook import BATCH_BYTES, LONGEST_LINE, WebhookSender
from tests.lane_relay.audit.making import Time, fill, open_journal, record, records_config, seal_all
from tests.lane_relay.audit.receiving import Books, Receiver, receiving
from tests.lane_relay.spool.making import until

KEY = b"shared with the receiver"


class Slot:
    """A journal and its sender."""

    def __init__(self, folder: Path, receiver: Receiver, *, max_size: int = 64_000) -> None:
        self.time = Time()
        self.folder = folder / "records"
        self.secret = folder / "secret"
        self.secret.mkdir()
        (self.secret / "key").write_bytes(KEY + b"\n")
        self.url = receiver.url
        self.journal: Journal
        self.chain: Chain
        self._max_size = max_size
        self.open()
        self.sender = self.new_sender()

    def open(self) -> None:
        """As at a start: what is in the folder, or nothing."""
        config = records_config(self.folder, max_size=self._max_size)
        self.journal, self.chain = open_journal(self.folder, self.time, config=config)

    def new_sender(self, url: str = "") -> WebhookSender:
        """As after a restart."""
        sender = WebhookSender(self.chain, self.time.clock, lambda: 0.5, lambda: self.journal.last_seq)
        sender.apply(Webhook(url=url or self.url, secret_dir=str(self.secret)))
        return sender


@pytest.fixture
def slot(tmp_path: Path, receiver: Receiver) -> Slot:
    return Slot(tmp_path, receiver)


async def test_every_record_comes_once_and_in_order_also_while_more_are_written(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    for count in (7, 1, 20, 30):
        fill(slot.journal, count)
        assert await slot.sender.send(http) is None
    assert receiver.numbers == list(range(1, 59))
    assert slot.sender.lag() == 0
    assert all(batch["gap"] is None for batch in receiver.batches)
    assert (receiver.batches[0]["lane"], receiver.batches[0]["slot"]) == ("mail/otp", "otp-0")
    for batch in receiver.batches:
        assert (batch["records"][0]["seq"], batch["records"][-1]["seq"]) == (batch["first_seq"], batch["last_seq"])


async def test_a_receiver_can_check_who_sent_what_and_when(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    (slot.secret / "authorization").write_text("Bearer abc\n")
    fill(slot.journal, 3)
    assert await slot.sender.send(http) is None
    ((headers, body),) = receiver.requests
    signed = headers["Lanewright-Timestamp"].encode() + b"." + body
    assert headers["Lanewright-Signature"] == "sha256=" + hmac.new(KEY, signed, hashlib.sha256).hexdigest()
    assert headers["Authorization"] == "Bearer abc"
    assert headers["Lanewright-Records"] == "1-3"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 429, 500, 503])
async def test_what_is_not_taken_is_sent_again(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession, status: int
) -> None:
    fill(slot.journal, 3)
    receiver.status = status
    receiver.headers = {"Retry-After": "17", "Location": f"{receiver.url}-elsewhere"}  # followed, that would be a 404
    assert await slot.sender.send(http) == 17.0
    assert (slot.sender.seq, slot.sender.failures, slot.sender.lag()) == (0, 1, 3)
    assert f"answers {status}" in slot.sender.failure

    receiver.status = 200
    assert await slot.sender.send(http) is None
    assert receiver.numbers == [1, 2, 3]
    assert slot.sender.failure == ""


async def test_a_receiver_that_is_down_or_stalls_is_tried_again(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    fill(slot.journal, 3)
    down = slot.new_sender("http://127.0.0.1:9/records")
    assert await down.send(http) == 0.0
    assert "127.0.0.1:9" in down.failure

    receiver.stalled = asyncio.Event()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as hasty:
        assert await slot.sender.send(hasty) == 0.0
    assert slot.sender.failures == 1
    receiver.stalled.set()
    assert await slot.sender.send(http) is None
    assert receiver.numbers[-3:] == [1, 2, 3]


async def test_a_restart_goes_on_after_the_last_batch_that_was_taken(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    fill(slot.journal, 12)
    assert await slot.sender.send(http) is None
    fill(slot.journal, 5)
    assert await slot.new_sender().send(http) is None
    assert receiver.numbers == list(range(1, 18))


async def test_a_new_receiver_gets_all_that_is_kept(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    fill(slot.journal, 12)
    assert await slot.sender.send(http) is None
    async with receiving() as other:
        again = slot.new_sender(other.url)
        assert (again.lag(), again.gaps) == (12, 0)
        assert await again.send(http) is None
        assert other.numbers == list(range(1, 13))
    assert receiver.numbers == list(range(1, 13))


async def test_what_one_receiver_takes_while_another_is_named_is_nothing_to_the_other(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    fill(slot.journal, 5)
    receiver.stalled = asyncio.Event()
    sending = asyncio.create_task(slot.sender.send(http))
    await receiver.asked.wait()
    async with receiving() as other:
        slot.sender.apply(Webhook(url=other.url, secret_dir=str(slot.secret)))
        receiver.stalled.set()
        assert await sending is None
        assert other.numbers == [1, 2, 3, 4, 5]
    assert receiver.numbers == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kept", ["{", "[]", '{"seq": 4}', '{"url": "URL", "seq": 6, "gaps": 2}'])
async def test_where_it_was_is_believed_only_within_the_records_that_there_are(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession, kept: str
) -> None:
    fill(slot.journal, 5)
    slot.folder.joinpath("webhook.json").write_text(kept.replace("URL", slot.url))
    again = slot.new_sender()
    assert (again.lag(), again.gaps) == (5, 0)
    assert await again.send(http) is None
    assert receiver.numbers == [1, 2, 3, 4, 5]


def test_slots_that_lost_a_receiver_at_once_come_back_at_different_times(slot: Slot) -> None:
    waits = []
    for jitter in (0.0, 0.5, 0.99):
        sender = WebhookSender(slot.chain, slot.time.clock, repeat(jitter).__next__, lambda: 0)
        waits.append([sender._wait(tries) for tries in (1, 2, 3, 9, 10, 10**6)])
    assert waits[0] == [0.5, 1.0, 2.0, 128.0, 150.0, 150.0]
    assert waits[1] == [0.75, 1.5, 3.0, 192.0, 225.0, 225.0]
    assert all(150.0 < wait <= 300.0 for wait in waits[2][-2:])


async def test_what_the_budget_dropped_unsent_is_told_as_a_gap_and_held_nothing_up(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    fill(slot.journal, 10)
    assert await slot.sender.send(http) is None
    receiver.status = 503
    fill(slot.journal, 500)
    seal_all(slot.journal)
    assert await slot.sender.send(http) == 0.0
    assert slot.journal.disk_bytes <= 65_000

    receiver.status = 200
    slot.sender = slot.new_sender()
    assert await slot.sender.send(http) is None
    gaps = [batch["gap"] for batch in receiver.batches if batch["gap"]]
    assert len(gaps) == 1
    assert gaps[0][0] == 11
    after = receiver.numbers[10:]
    assert after == list(range(gaps[0][1] + 1, 511))
    assert slot.sender.gaps == gaps[0][1] - 10
    assert slot.sender.lag() == 0


async def test_a_batch_that_is_too_large_for_the_receiver_is_halved(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    fill(slot.journal, 40)
    receiver.largest = 700
    for _ in range(6):
        if await slot.sender.send(http) is None:
            break
    assert receiver.numbers == list(range(1, 41))
    assert max(len(body) for _, body in receiver.requests[6:]) <= 700


async def test_memory_is_one_batch_whatever_waits(
    tmp_path: Path, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    slot = Slot(tmp_path, receiver, max_size=2**28)
    fill(slot.journal, 12_000)
    assert await slot.sender.send(http) is None
    assert receiver.numbers == list(range(1, 12_001))
    assert max(len(body) for _, body in receiver.requests) <= BATCH_BYTES + 1000


async def test_half_a_line_waits_until_it_is_whole(slot: Slot, receiver: Receiver, http: aiohttp.ClientSession) -> None:
    fill(slot.journal, 2)
    (path,) = slot.folder.glob("records-*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"seq":3,"ty')
    assert await slot.sender.send(http) is None
    assert receiver.numbers == [1, 2]


async def test_a_secret_without_a_key_is_said(slot: Slot, http: aiohttp.ClientSession) -> None:
    fill(slot.journal, 1)
    (slot.secret / "key").unlink()
    assert await slot.sender.send(http) == 0.0
    assert "the webhook's Secret needs one" in slot.sender.failure


async def test_a_slot_says_what_the_receiver_does_not_have_yet_and_waits_for_nothing_that_is_gone(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    fill(slot.journal, 5)
    assert slot.sender.report()["unsent"] == 5
    slot.journal.finish()
    for path in slot.folder.glob("records-*"):
        path.unlink()  # as retention does while the receiver is away
    assert await slot.sender.send(http) is None
    assert slot.sender.report()["unsent"] == 0
    fill(slot.journal, 2)
    assert slot.sender.report()["unsent"] == 2
    assert await slot.sender.send(http) is None
    assert [(batch["first_seq"], batch["gap"]) for batch in receiver.batches] == [(6, [1, 5])]


async def test_a_record_of_more_than_a_batch_is_sent_alone_and_those_behind_it_come(
    tmp_path: Path, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    slot = Slot(tmp_path, receiver, max_size=2**30)
    fill(slot.journal, 3)
    long = record(4, recipient=["a" * 250 + f"{at}@isp.example" for at in range(8000)])
    assert len(long) > BATCH_BYTES
    assert slot.journal.append(4, [long])
    fill(slot.journal, 3)
    assert await slot.sender.send(http) is None
    assert receiver.numbers == list(range(1, 8))
    assert all(batch["gap"] is None for batch in receiver.batches)
    assert slot.sender.lag() == 0


async def test_a_record_that_a_receiver_finds_too_large_is_passed_over_counted_and_logged(
    tmp_path: Path, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    slot = Slot(tmp_path, receiver, max_size=2**30)
    receiver.largest = BATCH_BYTES + 1024
    assert slot.journal.append(1, [record(1, recipient="a" * 2 * BATCH_BYTES)])
    fill(slot.journal, 3)
    with capture_logs() as logged:
        while await slot.sender.send(http) is not None:
            pass
    assert receiver.numbers == [2, 3, 4]
    assert receiver.batches[0]["gap"] == [1, 1]
    assert slot.sender.report()["neverSent"] == 1
    assert any(one["log_level"] == "error" and one.get("record") == 1 for one in logged)


async def test_a_line_that_no_writer_of_ours_wrote_is_passed_over_and_told_as_a_gap(
    tmp_path: Path, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    slot = Slot(tmp_path, receiver, max_size=2**30)
    assert slot.journal.append(1, [record(1, recipient="a" * (LONGEST_LINE + 5))])
    fill(slot.journal, 3)
    with capture_logs() as logged:
        assert await slot.sender.send(http) is None
    assert receiver.numbers == [2, 3, 4]
    assert receiver.batches[0]["gap"] == [1, 1]
    assert slot.sender.report()["neverSent"] == 1
    assert [one["event"] for one in logged if one["log_level"] == "error"] == ["a line of the records is passed over"]


async def test_a_slot_whose_volume_is_new_is_no_old_news_to_a_receiver(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    books = Books()
    fill(slot.journal, 30)
    assert await slot.sender.send(http) is None
    assert books.read(receiver.batches) == list(range(1, 31))
    receiver.batches.clear()

    shutil.rmtree(slot.folder)  # it was lost for good
    slot.open()
    fill(slot.journal, 5)
    assert await slot.new_sender().send(http) is None
    assert books.read(receiver.batches) == [1, 2, 3, 4, 5]


async def test_a_journal_has_one_name_from_its_first_record_on(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    fill(slot.journal, 2)
    assert await slot.sender.send(http) is None  # nothing is sealed yet
    slot.journal.close()
    slot.open()
    fill(slot.journal, 1)
    assert await slot.new_sender().send(http) is None
    seal_all(slot.journal)
    slot.open()
    fill(slot.journal, 1)
    assert await slot.new_sender().send(http) is None
    assert {batch["journal"] for batch in receiver.batches} == {slot.chain.journal}
    assert Books().read(receiver.batches) == [1, 2, 3, 4]


@pytest.mark.parametrize(("at", "octet"), [(0, 0), (9, 0xFF)], ids=["form", "text"])
@pytest.mark.parametrize("damaged", [1, 3, 8], ids=["first", "between", "last"])
async def test_a_damaged_record_is_told_as_a_gap_and_holds_up_no_other(
    tmp_path: Path, receiver: Receiver, http: aiohttp.ClientSession, damaged: int, at: int, octet: int
) -> None:
    slot = Slot(tmp_path, receiver)
    fill(slot.journal, 8)
    begins = b'{"seq":%d,' % damaged
    path = next(one for one in slot.folder.glob("records-*.jsonl") if begins in one.read_bytes())
    content = bytearray(path.read_bytes())
    content[content.index(b'"type"', content.index(begins)) + at] = octet
    path.write_bytes(content)

    assert await slot.sender.send(http) is None
    fill(slot.journal, 2)
    assert await slot.sender.send(http) is None

    told = [one["seq"] for batch in receiver.batches for one in batch["records"]]
    assert told == [number for number in range(1, 11) if number != damaged]
    assert slot.sender.report()["neverSent"] == 1


@pytest.mark.parametrize("digits", [17, 5000])
@pytest.mark.parametrize("damaged", [1, 3, 8], ids=["first", "between", "last"])
async def test_a_number_of_more_digits_than_a_record_can_have_holds_up_no_other(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession, damaged: int, digits: int
) -> None:
    fill(slot.journal, 8)
    slot.journal.finish()  # what is written to is never longer than its writer knows
    begins = b'{"seq":%d,' % damaged
    path = next(one for one in slot.folder.glob("records-*.jsonl") if begins in one.read_bytes())
    path.write_bytes(path.read_bytes().replace(begins, b'{"seq":%b,' % (b"9" * digits)))

    assert await slot.sender.send(http) is None
    fill(slot.journal, 2)
    assert await slot.sender.send(http) is None

    assert receiver.numbers == [number for number in range(1, 11) if number != damaged]
    assert slot.sender.report()["neverSent"] == 1


@pytest.mark.timeout(20)
async def test_a_volume_that_takes_its_time_over_the_cursor_holds_nothing_else_up(
    slot: Slot, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    part = slot.folder / "webhook.json.new"
    os.mkfifo(part)  # whoever opens it to write waits until somebody reads
    fill(slot.journal, 3)
    sending = asyncio.create_task(slot.sender.send(http))
    await until(lambda: slot.sender.seq == 3)
    reader = os.open(part, os.O_RDONLY | os.O_NONBLOCK)
    assert await sending is None
    os.close(reader)
    assert receiver.numbers == [1, 2, 3]
