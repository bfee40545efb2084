"""What is asked of each message before it is attempted: the lane's screen, and orders about its sender.

Before it: `deliver`, which has the message in its hands. After it: `account`, which settles who is not attempted.
Invariant: it says of nobody that he may be attempted who was settled here.
"""

from msgspec.structs import replace

from lane_api.isppolicy import Category
from lane_relay.account.screen import Screen
from lane_relay.account.settle import Ending, Outcome
from lane_relay.account.settler import Settler
from lane_relay.clock import Clock
from lane_relay.deliver.explain import SiteState
from lane_relay.deliver.prepared import GONE, Gone, Held
from lane_relay.deliver.ready_queue import Hold, Limit
from lane_relay.orders.book import OrderBook
from lane_relay.orders.order import FINAL, Order, Verb
from lane_relay.records import Message, QueueEntry, Reply, age_key

__all__ = ["Screener", "ending_of", "held_by", "under_order"]

_MODE = "(delivery.mode)"


class Screener:
    """See lane_relay.deliver.prepared.Screening."""

    def __init__(self, screen: Screen, book: OrderBook, settler: Settler, clock: Clock) -> None:
        self._screen = screen
        self._book = book
        self._settler = settler
        self._clock = clock

    def admit(self, entry: QueueEntry, message: Message) -> Held | Gone | None:
        """See Screening."""
        if self._book.asks_senders:
            order = self._book.find_by_sender(entry, message.envelope.sender)
            if order is not None and order.verb in FINAL:
                order.entries += 1
                self._settler.end(entry, message, (ending_of(order, entry),))
                return GONE
            if order is not None:
                return held_by(order)
        why = self._screen.why_held(entry, message)
        if why:
            return Held(_MODE, why)
        endings = self._screen.endings(entry, message, self._clock.now())
        if not endings:
            return None
        gone = sum(len(ending.recipients) for ending in endings) == len(entry.recipients)
        self._settler.end(entry, message, endings)
        return GONE if gone else None


def ending_of(order: Order, entry: QueueEntry) -> Ending:
    """What becomes of the entry's recipients by an order that ends them."""
    dropped = order.verb is Verb.DROP
    reply = Reply(550, (f"5.7.0 {'Dropped' if dropped else 'Given up'} by order {order.id}: {order.reason}",))
    outcome = Outcome.DROPPED if dropped else Outcome.BOUNCED
    return Ending(entry.recipients, outcome, reply, Category.OTHER, order.key.replace(" ", "/"))


def under_order(state: SiteState, order: Order, entries: int, oldest_id: int) -> SiteState:
    """A site whose mail an order holds: so many entries wait there, since that one, that are not in its ready queue."""
    oldest = min((one for one in (state.oldest_id, oldest_id) if one), default=0, key=age_key)
    hold = Hold(Limit.ORDER, detail=held_by(order).reason)
    return replace(state, waiting=state.waiting + entries, oldest_id=oldest, hold=hold)


def held_by(order: Order) -> Held:
    """Why mail waits that is suspended or held."""
    said = "held" if order.verb is Verb.HOLD else "suspended"
    why = f"{said} by order {order.id} of {order.owner}: {order.reason}"
    return Held("", why, order.id, lasting=order.verb is Verb.HOLD)
