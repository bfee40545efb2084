"""What replies, and their absence, come to: the Attempt that is handed on, and what the site lives by afterwards.

Before it: `dispatcher`, with what sessions report. After it: `account`, through `on_attempt`, and the ready queue.
Invariants: every entry that comes here leaves as exactly one Attempt; what is done to a site was said by a verdict.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_api.relayconfig import RelayRetry
from lane_relay.clock import Clock
from lane_relay.deliver.default_rules import ONE_HOST_RULES
from lane_relay.deliver.lookahead import Lookahead
from lane_relay.deliver.outcomes import failure_of, reply_results, same_results, summarise
from lane_relay.deliver.prepared import Prepared
from lane_relay.deliver.ready_queue import Destination, Failure, Hold
from lane_relay.deliver.rules import ReplyTable
from lane_relay.deliver.session import Session
from lane_relay.deliver.trouble import Trouble
from lane_relay.records import Attempt, Message, QueueEntry, RecipientResult, Reply, Verdict
from lane_relay.smtp.client import RecipientReply

__all__ = ["Judgement", "Told"]

_CHUNK: Final = 500
"""Entries told of a failure in one turn of the loop."""


class Told(Enum):
    """How far the entries of a destination have been told of its failure."""

    ALL = "all"
    PART = "part"
    """There are more that can be told at once."""
    UNREAD = "unread"
    """The next one is on its way from disk."""


class Judgement:
    """Of one slot. All methods are for the event loop's thread."""

    def __init__(
        self, table: ReplyTable, lookahead: Lookahead, clock: Clock, on_attempt: Callable[[Attempt], None]
    ) -> None:
        self._table = table
        self._lookahead = lookahead
        self._clock = clock
        self._on_attempt = on_attempt
        self.attempts = self.delivered = 0

    def of_trouble(self, session: Session, trouble: Trouble, now: float, retry: RelayRetry) -> bool:
        """A session will never be ready; True if entries of its destination are to be told, by `tell`."""
        destination = session.destination
        site = destination.site
        failure = failure_of(self._table, site.policy, trouble)
        slows = failure.verdict.action is Action.BACKOFF
        if slows:
            site.slow_down(failure.verdict, str(failure.reply), now)
        # of the source or of its pace the other hosts would say the same; of itself a host says nothing about the next
        everybody = trouble.ours or (slows and failure.verdict.rule not in ONE_HOST_RULES)
        blamed = destination.targets if everybody else (session.target,)
        if not site.failed(destination, blamed, failure, now, retry):
            return False
        if everybody and not trouble.ours:
            destination.begin_elsewhere(session.target)
        destination.blame = failure
        # what is published may be another by the next attempt: all of them are to ask for their route again
        binds = trouble.tls is not None and session.target.demand is not None
        of_all = binds or failure.verdict.action is Action.BOUNCE
        destination.blame_left = destination.waiting if of_all else 1
        return True

    def of_replies(self, session: Session, prepared: Prepared, replies: tuple[RecipientReply, ...]) -> bool:
        """The peer has answered for every recipient; True if the session is of no more use."""
        results = reply_results(self._table, session.destination.site.policy, replies)
        return self.report(session.destination, prepared, results, session)

    def report(
        self,
        destination: Destination,
        prepared: Prepared,
        results: tuple[RecipientResult, ...],
        session: Session | None,
    ) -> bool:
        """Hands the Attempt on and lives by what it says of the site; True if the session is of no more use."""
        site, entry, message = destination.site, prepared.entry, prepared.message
        summary = summarise(results)
        self.attempts += 1
        site.attempts += 1
        if summary.delivered:
            self.delivered += 1
            site.delivered += 1
        if summary.slow_down is not None:
            site.slow_down(summary.slow_down.verdict, str(summary.slow_down.reply), self._clock.monotonic())
        now = self._clock.now()
        if session is None:
            tls = destination.blame.tls if destination.blame is not None else None
            attempt = Attempt(entry, message, site.name, now, now, results, tls=tls)
        else:
            began = session.started_at or now
            attempt = Attempt(entry, message, site.name, began, now, results, session.peer, session.tls, session.number)
        self._lookahead.done(destination, prepared)
        self._on_attempt(attempt)
        return summary.end_session

    def tell(self, destination: Destination) -> Told:
        """Attempts for the entries that a failed connection was for, a portion of them; the others wait."""
        done = 0
        while destination.blame is not None and destination.blame_left and done < _CHUNK:
            prepared = self._lookahead.next(destination)
            if prepared is None:
                break
            done += 1
            destination.blame_left -= 1
            self.report(destination, prepared, same_results(prepared.entry, destination.blame), None)
        if destination.blame_left and destination.waiting:
            return Told.PART if done == _CHUNK else Told.UNREAD
        destination.blame = None
        destination.looks_ahead = destination.preparing > 0
        self._lookahead.empty(destination)
        return Told.ALL

    def overdue(self, site: str, hold: Hold, entry: QueueEntry, message: Message | None) -> None:
        """An entry waited here past its lifetime: an attempt that could not be made; None: it cannot be read."""
        if message is None:
            return
        text = f"4.4.7 not sent within its lifetime; held by {hold.limit}"
        reply = Reply(451, (f"{text}: {hold.detail}" if hold.detail else text,))
        verdict = Verdict(Category.MESSAGE_EXPIRED, Action.RETRY, Scope.MESSAGE)
        now = self._clock.now()
        self.attempts += 1
        results = same_results(entry, Failure(Stage.CONNECT, reply, verdict))
        self._on_attempt(Attempt(entry, message, site, now, now, results))
