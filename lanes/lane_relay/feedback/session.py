"""The session of somebody who brings returned mail: the listener's policy, and each mail's way to the desk.

Before it: `accept.connection`, which moves the bytes, and `listener`, which admits it. After it: the desk, which says
when a report is kept.
Invariants: there is no AUTH and no relaying, the only recipients are addresses of ours; one mail of a session is with
the desk at a time, and what the peer sends meanwhile is not read.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from lane_api.isppolicy import Stage
from lane_relay.accept.connection import MEMORY_FULL, Connection
from lane_relay.feedback.addresses import Addressee
from lane_relay.feedback.taking import CLOSED, take_mail
from lane_relay.records import Reply
from lane_relay.smtp.address import Mailbox
from lane_relay.smtp.server import Event, MessageReceived, StartTls

if TYPE_CHECKING:
    from lane_relay.feedback.listener import FeedbackListener

__all__ = ["FeedbackSession"]

STOPPING: Final = Reply(421, ("4.3.2 This host stops, try another",))
_NOBODY: Final = Reply(550, ("5.1.1 There is no such mailbox here",))


class FeedbackSession(Connection):
    """The driver of one `smtp.server`, and the policy it asks."""

    __slots__ = ("_found", "_listener", "_with_desk")

    closing = STOPPING
    held_while_waiting = -1

    def __init__(self, listener: "FeedbackListener", client: str) -> None:
        super().__init__(listener, client=client)
        self._listener = listener
        self._found: list[Addressee] = []
        self._with_desk = False

    @property
    def _has_message(self) -> bool:
        return self._with_desk

    @property
    def may_be_sent_away(self) -> bool:
        """Anybody, but for what is with the desk."""
        return not self._with_desk

    # -- smtp.server's policy

    def sender(self, _sender: Mailbox | None, size: int) -> Reply | None:
        """Anybody may report; most do it from the null sender."""
        self._found = []
        if not self._listener.takes:
            return CLOSED
        if self._listener.held_bytes + size > self._listener.memory_budget:
            return MEMORY_FULL
        return self._listener.pace(self.counted_as)

    def recipient(self, recipient: Mailbox, _count: int) -> Reply | None:
        """Only addresses of ours; of all others none is told from another."""
        found = self._listener.find(recipient)
        if found is None:
            return _NOBODY
        self._found.append(found)
        return None

    def refused(self, stage: Stage, _reply: Reply, _sender: str | None, _recipients: Sequence[str]) -> bool:
        """Counted, without a record: anybody may knock, and records have an end."""
        if stage is Stage.RCPT:
            self._listener.count_refusal()
        return True

    # -- events

    def _handle(self, event: Event | None) -> None:
        if isinstance(event, MessageReceived):
            self._with_desk = True
            self._choose_reading()
            self._listener.own(self._take(tuple(self._found), event.content))
        elif isinstance(event, StartTls):
            self._start_tls()
        self._finish(event)

    async def _take(self, addressees: tuple[Addressee, ...], content: bytes) -> None:
        """One mail through the desk, for each of its addressees."""
        reply = await take_mail(self._listener, addressees, content, self.client, self._server.helo)
        self._with_desk = False
        self._go_on(partial(self._server.reply, reply))
