"""Which recipients are not to be attempted any more, asked before each attempt; pure.

Invariant: a recipient is named by one ending at most, and the first reason in this order counts: the lane's mail is
discarded, its time is over, its address is suppressed. Before: `deliver` has an entry and its message in its hands.
After: `settler.end` settles those that are named; the others go on.
"""

from typing import Protocol

from lane_api.classes import TrafficClass
from lane_api.isppolicy import Category
from lane_api.relayconfig import RelayConfig
from lane_relay.account.settle import Ending, Outcome, end_of_life
from lane_relay.records import Message, QueueEntry, Reply

__all__ = ["Screen", "Suppressions"]

_DISCARDED = Reply(550, ("5.7.0 Not sent: delivery.mode of the lane is Discard",))
_EXPIRED = Reply(451, ("4.4.7 Not sent within its lifetime",))
_EXPIRED_ITSELF = Reply(451, ("4.4.7 Not sent before the time that its sender gave it (X-Lane-Expires-In, DELIVERBY)",))


class Suppressions(Protocol):
    """Who is not to be mailed; implemented by the lane's suppression list."""

    def is_suppressed(self, recipient: str, traffic_class: TrafficClass, from_domain: str = "") -> str:
        """Why mail of this class must not go to the address, such as `complaint of 2026-11-02`; empty: it may.

        `recipient` is as it stands in the envelope. Cheap, from memory: it is asked for each recipient of an attempt.
        """


class Screen:
    """What the configuration and the suppression list say about a message that is due."""

    def __init__(self, config: RelayConfig, suppressions: Suppressions | None = None) -> None:
        """None: nobody is suppressed."""
        self._suppressions = suppressions
        self.apply(config)

    def apply(self, config: RelayConfig) -> None:
        """A new configuration is in force."""
        self._lifetime = config.delivery.lifetime
        self._class = config.lane.traffic_class
        self._discards = config.delivery.mode == "Discard"
        self._redirect_to = config.delivery.redirect_to.lower()

    def endings(self, entry: QueueEntry, message: Message, now: float) -> tuple[Ending, ...]:
        """Who of the entry's recipients is not to be attempted at this Unix time, and what becomes of them."""
        if self._discards:
            return (Ending(entry.recipients, Outcome.DROPPED, _DISCARDED, Category.OTHER, "delivery.mode"),)
        if now > end_of_life(message, self._lifetime):
            own = message.expires_at and now > message.expires_at
            reply = _EXPIRED_ITSELF if own else _EXPIRED
            return (Ending(entry.recipients, Outcome.EXPIRED, reply, Category.MESSAGE_EXPIRED),)
        return _suppressed(self._suppressions, self._class, entry, message) if self._suppressions is not None else ()

    def why_held(self, entry: QueueEntry, message: Message) -> str:
        """Why none of the entry's recipients may be attempted for now, though nothing becomes of them; or empty."""
        if not self._redirect_to:
            return ""
        recipients = message.envelope.recipients
        if all(recipients[index].lower() == self._redirect_to for index in entry.recipients):
            return ""
        return "delivery.mode is Redirect, and the message was accepted for its own recipients: set Live, or drop it"


def _suppressed(
    suppressions: Suppressions, traffic_class: TrafficClass, entry: QueueEntry, message: Message
) -> tuple[Ending, ...]:
    found = []
    for index in entry.recipients:
        why = suppressions.is_suppressed(message.envelope.recipients[index], traffic_class, message.from_domain)
        if why:
            reply = Reply(550, (f"5.7.1 Not sent: the address is suppressed ({why})",))
            found.append(Ending((index,), Outcome.SUPPRESSED, reply, Category.POLICY_RELATED, "suppression"))
    return tuple(found)
