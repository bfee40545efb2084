"""Messages, journals and spools as the tests of this room need them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from lane_api.relayconfig import Records as RecordsConfig
from lane_api.relayconfig import Spool as SpoolConfig
from lane_relay.account.journal import Journal, journal_files
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError
from lane_relay.records import Envelope, Message, Notify, QueueEntry, RecipientOptions
from lane_relay.spool.base import Spool
from lane_relay.spool.entries import entries_of
from lane_relay.spool.files import Files
from lane_relay.spool.log import SegmentSpool

SPOOL = Path("/spool")
RECORDS = Path("/records")
NOW = 1_800_000_000.0
CLOCK = Clock(now=lambda: NOW, monotonic=lambda: 0.0)


def message_for(spool: Spool, recipients: tuple[str, ...] = ("user@example.com",), body: bytes = b"") -> Message:
    return Message(
        spool.new_id(),
        Envelope(
            "sender@lane.example",
            recipients,
            eight_bit=True,
            ret="HDRS",
            envid="QQ314159",
            options=tuple(RecipientOptions(Notify.SUCCESS | Notify.DELAY, f"rfc822;{one}") for one in recipients),
        ),
        body or b"Subject: hello\r\n\r\nbody\r\n",
        client="192.0.2.1",
        user="app",
        message_id="<1@lane.example>",
        correlation_id="order-1",
        from_domain="lane.example",
        campaign="spring-2026",
        expires_at=NOW + 600,
        triggered_at=NOW - 1.5,
        protocol="HTTPS",
        notice_at=NOW + 60.0,
    )


def record_of(what: str, message_id: int, recipients: tuple[str, ...] = ("user@example.com",)) -> bytes:
    recipient = recipients if len(recipients) > 1 else recipients[0]
    return json.dumps({"type": what, "id": f"{message_id:024x}", "recipient": recipient}).encode()


def reception_of(message: Message) -> bytes:
    return record_of("Reception", message.id, message.envelope.recipients)


async def put(spool: Spool, message: Message) -> list[QueueEntry]:
    """Stores a message and waits until it is on disk."""
    stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    spool.put(message, reception_of(message), answer_to(stored))
    location = await stored
    return list(entries_of(message, location, NOW))


def answer_to(stored: "asyncio.Future[int]") -> Callable[[int, SpoolError | None], None]:
    def done(location: int, error: SpoolError | None) -> None:
        if error is None:
            stored.set_result(location)
        else:
            stored.set_exception(error)

    return done


def settle(spool: Spool, entry: QueueEntry, what: str = "Delivery") -> None:
    spool.settle(entry, entry.recipients, [record_of(what, entry.id) for _ in entry.recipients])


def defer(spool: Spool, entry: QueueEntry, due: float) -> None:
    entry.due, entry.attempts = due, entry.attempts + 1
    spool.defer(entry, [record_of("TransientFailure", entry.id) for _ in entry.recipients])


def open_spool(
    files: Files,
    *,
    spool: Path = SPOOL,
    records: Path = RECORDS,
    segment_size: int = 2**25,
    budget: int = 2**33,
    active_bytes: int = 2**20,
    journal_budget: int = 2**30,
    tidy_every: float = 0.01,
    asked: frozenset[int] = frozenset(),
    clock: Clock = CLOCK,
) -> SegmentSpool:
    journal = Journal.open(RecordsConfig(path=str(records), max_size=journal_budget), clock, files)
    return SegmentSpool.open(
        SpoolConfig(path=str(spool), max_size=budget),
        journal,
        clock,
        asyncio.get_running_loop(),
        files=files,
        segment_size=segment_size,
        active_bytes=active_bytes,
        tidy_every=tidy_every,
        asked=asked,
    )


def journal_lines(files: Files, records: Path = RECORDS) -> list[dict[str, object]]:
    content = b"".join(files.read(path) for _, path in journal_files(files, records))
    return [json.loads(line) for line in content.splitlines()]


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for a condition; TimeoutError after the deadline."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # conditions are about files and figures that no event announces
            await asyncio.sleep(0.01)
