"""Which messages are queued, a page at a time in the order of acceptance, and what one of them says of itself.

Invariants: changes nothing; a page is one look over the queue, with the loop free between portions, and one look goes
on at a time, however many ask; of what it looks at, no more than a page is kept; a body is read for its envelope and
header, so many octets a page. A message that stays where it is is on exactly one page, since pages follow spool ids;
one that goes from the schedule into delivery, or back, while a look goes on may be missed by it.
Before it: `pipeline`, which gives it the explainer's look and the spool. After it: `api`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from heapq import heappush, heappushpop
from typing import Any, Final

from msgspec import Struct, field

from lane_relay.api.messages import HeaderField, Listed, MessageShown, MessagesPage, MessagesWanted, QueuedFor
from lane_relay.audit.recipients import digest, hide
from lane_relay.clock import rfc3339
from lane_relay.deliver.explain import Place
from lane_relay.records import Message, QueueEntry, message_id_text, received_at

__all__ = ["QueuedMessages"]

_ENTRIES: Final = 100
"""Of one message that are told one by one, and recipients of one entry."""
_RECIPIENTS: Final = 1000
_PAGE_OCTETS: Final = 32 * 2**20
"""Of bodies that are read for one page; the next page begins behind them."""
_HEADER_OCTETS: Final = 64 * 1024
_LAST: Final = ("type", "timestamp", "recipient", "response", "bounce_classification", "rule")
_SAFE: Final = frozenset(
    b"date from sender subject message-id mime-version content-type content-transfer-encoding feedback-id "
    b"x-correlation-id precedence auto-submitted".split()
)
"""Fields that are shown where recipients are digests: others, such as To or Received, may name them."""

Look = Callable[[], AsyncIterator[tuple[Place, QueueEntry]]]


class _Found(Struct):
    """A message that a look has met."""

    entry: QueueEntry
    recipients: int = 0
    places: list[tuple[Place, QueueEntry]] = field(default_factory=list)

    def add(self, place: Place, entry: QueueEntry) -> None:
        """One more of its entries; one that moved meanwhile is met twice."""
        if any(known is entry for _, known in self.places):
            return
        self.recipients += len(entry.recipients)
        if len(self.places) < _ENTRIES:
            self.places.append((place, entry))


class QueuedMessages:
    """Of one slot."""

    def __init__(
        self,
        look: Look,
        waits: Callable[[Place, QueueEntry], dict[str, Any]],
        trace: Callable[[str, str], Awaitable[list[dict[str, Any]]]],
        peek: Callable[[QueueEntry], Awaitable[Message | None]],
        recipients_key: Callable[[], bytes | None],
    ) -> None:
        """`look()` meets every entry; `waits` says where one is; `peek` reads a message that may go meanwhile;
        `recipients_key()`: recipients are told as digests with it."""
        self._look = look
        self._waits = waits
        self._trace = trace
        self._peek = peek
        self._recipients_key = recipients_key
        self._looking = asyncio.Lock()

    async def page(self, wanted: MessagesWanted) -> MessagesPage:
        """One page; raises OSError if a name has to be looked up in records that cannot be read."""
        ids = await self._ids(wanted)
        found = await self._find(wanted, ids) if ids is None or ids else {}
        listed: list[Listed] = []
        octets = 0
        for number, id_ in enumerate(sorted(found)):
            known = found[id_]
            octets += known.entry.size
            if number == wanted.limit or (listed and octets > _PAGE_OCTETS):
                return MessagesPage(messages=listed, next=message_id_text(id_))
            listed.append(self._listed(known, await self._peek(known.entry)))
            await asyncio.sleep(0)  # a message that is in memory is read without a turn of the loop
        return MessagesPage(messages=listed, next=None)

    async def one(self, message_id: str) -> MessageShown | None:
        """A queued message by its spool id; None if there is none."""
        if not re.fullmatch("[0-9a-f]{24}", message_id):
            return None
        found = await self._find(MessagesWanted(id=message_id), None)
        if not found:
            return None
        (known,) = found.values()
        message = await self._peek(known.entry)
        try:
            records = await self._trace(message_id, "")
        except OSError:  # the message itself can be told
            records = []
        last = {key: records[-1][key] for key in _LAST if key in records[-1]} if records else None
        return MessageShown.model_validate(
            {
                **self._listed(known, message).model_dump(by_alias=True, exclude_unset=True),
                "recipients": self._addresses(message, range(_RECIPIENTS)),
                "header": self._header(message) if message is not None else [],
                "expiresAt": rfc3339(known.entry.expires_at) if known.entry.expires_at else None,
                "last": last,
            }
        )

    async def _ids(self, wanted: MessagesWanted) -> set[int] | None:
        """Spool ids of the names that were given, as the records know them; None: no name was given."""
        ids: set[int] | None = None
        for name, of in ((wanted.message_id, "message_id"), (wanted.correlation_id, "correlation_id")):
            if name:
                records = await self._trace(name, "")
                named = {int(one["id"], 16) for one in records if one.get("id") and one.get(of) == name}
                ids = named if ids is None else ids & named
        return ids

    async def _find(self, wanted: MessagesWanted, ids: set[int] | None) -> dict[int, _Found]:
        """Those with the lowest ids, one more than the page has."""
        first, only = int(wanted.first or "0", 16), int(wanted.id, 16) if wanted.id else None
        domain, campaign, state = wanted.domain.lower().rstrip("."), wanted.campaign, wanted.state
        found: dict[int, _Found] = {}
        highest: list[int] = []  # negated: the heap's head is the highest id
        async with self._looking:
            async for place, entry in self._look():
                id_ = entry.id
                if (
                    id_ < first
                    or (only is not None and id_ != only)
                    or (ids is not None and id_ not in ids)
                    or (domain and entry.domain != domain)
                    or (campaign and entry.campaign != campaign)
                    or (state and place.state != state)
                ):
                    continue
                known = found.get(id_)
                if known is None:
                    if len(found) <= wanted.limit:
                        heappush(highest, -id_)
                    elif id_ < -highest[0]:
                        del found[-heappushpop(highest, -id_)]
                    else:
                        continue
                    known = found[id_] = _Found(entry)
                known.add(place, entry)
        return found

    def _listed(self, known: _Found, message: Message | None) -> Listed:
        entry = known.entry
        return Listed(
            id=message_id_text(entry.id),
            received_at=rfc3339(received_at(entry.id)),
            size=entry.size,
            sender=self._hidden(message, message.envelope.sender) if message is not None else None,
            message_id=message.message_id if message is not None else None,
            correlation_id=message.correlation_id if message is not None else None,
            recipients_left=known.recipients,
            entries=[
                QueuedFor.model_validate(
                    self._waits(place, one) | {"to": self._addresses(message, one.recipients[:_ENTRIES])}
                )
                for place, one in known.places
            ],
        )

    def _addresses(self, message: Message | None, indexes: range | tuple[int, ...]) -> list[str]:
        if message is None:
            return []
        all_, key = message.envelope.recipients, self._recipients_key()
        chosen = [all_[index] for index in indexes if index < len(all_)]
        return chosen if key is None else [digest(key, one) for one in chosen]

    def _hidden(self, message: Message, text: str) -> str:
        """A text in which recipients may be repeated, as a sender with VERP does."""
        return self._hiding(message)(text)

    def _hiding(self, message: Message) -> Callable[[str], str]:
        """The same for several texts: a message for ten thousand makes it once."""
        key = self._recipients_key()
        return str if key is None else hide(key, message.envelope.recipients)

    def _header(self, message: Message) -> list[HeaderField]:
        header = message.body[: _HEADER_OCTETS + 4].partition(b"\r\n\r\n")[0][:_HEADER_OCTETS]
        is_safe, hidden = self._recipients_key() is None, self._hiding(message)
        fields = []
        for line in re.sub(rb"\r\n(?=[ \t])", b"", header).split(b"\r\n"):
            name, colon, value = line.partition(b":")
            if colon and (is_safe or name.strip().lower() in _SAFE):
                text = value.strip().decode("utf-8", "replace")
                fields.append(HeaderField(name=name.decode("ascii", "replace"), value=hidden(text)))
        return fields
