"""Pages of queued messages: each on exactly one, chosen by what was asked, recipients hidden where they are to be."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from lane_relay.api.messages import MessagesWanted
from lane_relay.deliver.explain import Place
from lane_relay.queued_messages import QueuedMessages
from lane_relay.records import Envelope, Message, QueueEntry, Route, message_id_text
from lane_relay.schedule.scheduled_queue import ScheduledQueue

KEY = b"k" * 32
HEAD = (
    b"Received: by otp-0 for <ann@isp.test>\r\nFrom: otp@brand.test\r\nTo: Ann <ann@isp.test>\r\n"
    b"Subject: a code\r\n for ann@isp.test\r\n"
)


class Queue:
    """Entries in a real schedule, their messages beside it."""

    def __init__(self) -> None:
        self.schedule = ScheduledQueue()
        self.messages: dict[int, Message] = {}
        self.key: bytes | None = None
        self.records: list[dict[str, Any]] = []
        self.looks = 0
        self.shown = QueuedMessages(self._look, self._waits, self._trace, self._peek, lambda: self.key)

    def add(
        self, number: int, *, domain: str = "isp.test", campaign: str = "", size: int = 100, more: str = ""
    ) -> None:
        """One message; `more`: a second domain that it is for."""
        id_ = (1_700_000_000_000 + number) << 48
        recipients = tuple(f"ann@{one}" for one in (domain, more) if one)
        self.messages[id_] = Message(
            id_,
            Envelope(f"list+ann={domain}@brand.test", recipients),
            HEAD + b"\r\nsecret body",
            message_id=f"<{number}@b>",
        )
        for index, recipient in enumerate(recipients):
            due = 1_700_000_000.0 + number % 7
            entry = QueueEntry(id_, 0, recipient.rpartition("@")[2], (index,), size, due, campaign=campaign)
            self.schedule.add(entry)

    async def page(self, **wanted: Any) -> tuple[list[int], str | None]:
        """Numbers of a page's messages, and where the next one begins."""
        said = await self.shown.page(MessagesWanted.model_validate(wanted))
        return [(int(one.id, 16) >> 48) - 1_700_000_000_000 for one in said.messages], said.next

    async def _look(self) -> AsyncIterator[tuple[Place, QueueEntry]]:
        self.looks += 1
        for portion in self.schedule.portions():
            place = Place("Scheduled", Route("", "", ()), None, tuple(portion))
            for entry in portion:
                yield place, entry
            await asyncio.sleep(0)

    def _waits(self, place: Place, entry: QueueEntry) -> dict[str, Any]:
        return {
            "domain": entry.domain, "recipients": len(entry.recipients), "campaign": entry.campaign,
            "attempts": entry.attempts, "state": place.state, "site": None, "dueAt": "2026-11-28T10:00:00Z",
        }  # fmt: skip

    async def _trace(self, name: str, _recipient: str) -> list[dict[str, Any]]:
        return [one for one in self.records if name in (one["id"], one["message_id"])]

    async def _peek(self, entry: QueueEntry) -> Message | None:
        return self.messages.get(entry.id)


async def test_pages_in_the_order_of_acceptance_hold_each_message_once_while_others_come_and_go() -> None:
    queue = Queue()
    for number in (*range(99, -1, -1), *range(100, 250)):
        queue.add(number)
    seen: list[int] = []
    next_: str | None = ""
    while next_ is not None:
        found, next_ = await queue.page(first=next_, limit=40)
        seen += found
        queue.add(1000 + len(seen))  # comes behind, and is met at the end
        for _ in queue.schedule.sweep(lambda entry: entry.id >> 48 == 1_700_000_000_005):
            pass  # one that was listed goes
    assert seen[:250] == list(range(250))
    assert seen == sorted(set(seen))
    assert queue.looks == 7


async def test_what_is_asked_for_is_found_and_nothing_else() -> None:
    queue = Queue()
    queue.add(1, campaign="spring", more="other.test")
    queue.add(2, domain="other.test", campaign="spring")
    queue.add(3)
    queue.records = [{"id": message_id_text(1_700_000_000_002 << 48), "message_id": "<2@b>", "type": "Reception"}]
    assert await queue.page() == ([1, 2, 3], None)
    assert await queue.page(domain="Other.test.") == ([1, 2], None)
    assert await queue.page(domain="isp.test", campaign="spring") == ([1], None)
    assert await queue.page(state="Ready") == ([], None)
    assert await queue.page(**{"message-id": "<2@b>"}) == ([2], None)
    assert await queue.page(**{"message-id": "<2@b>", "domain": "isp.test"}) == ([], None)
    assert await queue.page(id=message_id_text(1_700_000_000_003 << 48)) == ([3], None)
    looks = queue.looks
    assert await queue.page(**{"correlation-id": "unknown"}) == ([], None)
    assert queue.looks == looks  # the records do not know it: the queue need not be looked over


async def test_a_message_for_two_domains_is_one_message_with_two_entries() -> None:
    queue = Queue()
    queue.add(1, more="other.test")
    (said,) = (await queue.shown.page(MessagesWanted())).messages
    assert (said.recipients_left, said.sender, said.message_id) == (2, "list+ann=isp.test@brand.test", "<1@b>")
    assert [(one.domain, one.to) for one in said.entries] == [
        ("isp.test", ["ann@isp.test"]),
        ("other.test", ["ann@other.test"]),
    ]


async def test_large_messages_end_a_page_early_and_the_next_one_goes_on() -> None:
    queue = Queue()
    for number in range(4):
        queue.add(number, size=20 * 2**20)
    pages, next_ = [], ""
    for _ in range(4):
        found, following = await queue.page(first=next_)
        pages.append(found)
        next_ = following or ""
    assert (pages, next_) == ([[0], [1], [2], [3]], "")


async def test_a_message_that_has_gone_meanwhile_is_told_without_what_only_it_knows() -> None:
    queue = Queue()
    queue.add(1)
    queue.messages.clear()
    (said,) = (await queue.shown.page(MessagesWanted())).messages
    assert (said.sender, said.message_id, said.entries[0].to) == (None, None, [])


async def test_one_message_shows_its_header_and_last_reply_but_no_body() -> None:
    queue = Queue()
    queue.add(1)
    name = message_id_text(1_700_000_000_001 << 48)
    queue.records = [{"id": name, "message_id": "<1@b>", "type": "TransientFailure", "response": {"code": 451}}]
    said = await queue.shown.one(name)
    assert said is not None
    assert [(one.name, one.value) for one in said.header][2:] == [
        ("To", "Ann <ann@isp.test>"),
        ("Subject", "a code for ann@isp.test"),
    ]
    assert said.recipients == ["ann@isp.test"]
    assert said.last is not None
    assert said.last.response == {"code": 451}
    assert "secret" not in said.model_dump_json()
    for other in ("0" * 24, "x", name.upper(), ""):
        assert (await queue.shown.one(other) is not None) == (other.lower() == name and other == name)


async def test_where_recipients_are_digests_nothing_that_is_shown_names_them() -> None:
    queue = Queue()
    queue.key = KEY
    queue.add(1)
    shown = await queue.shown.one(message_id_text(1_700_000_000_001 << 48))
    assert shown is not None
    page = await queue.shown.page(MessagesWanted())
    for said in (shown.model_dump_json(), page.model_dump_json()):
        assert "ann@isp.test" not in said
        assert "ann=isp.test" not in said
    assert [one.name for one in shown.header] == ["From", "Subject"]
    assert shown.recipients[0].startswith("h:")
    assert shown.recipients[0].endswith("@isp.test")
