"""The orders that stand: which one an entry falls under, and how they are kept in the spool.

Invariants: what is said to stand is in the spool; looking an entry up costs a few dictionary look-ups, however many
orders and entries there are; of several orders that fit, the one that leaves least to the others holds (drop, bounce,
hold, suspend). Before: `keeper` places and revokes. After: `keeper` and `screener` ask.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import DecodeError
from msgspec.json import Decoder, Encoder

from lane_relay.errors import RelayError
from lane_relay.orders.order import NULL_SENDER, By, Order, Selector, Verb
from lane_relay.orders.restored import RESTORED
from lane_relay.records import QueueEntry, message_id_text
from lane_relay.spool.base import Spool

__all__ = ["MOST", "OrderBook", "OrderError", "fits"]

MOST: Final = 200
"""Orders that may stand at a time: they are written again with each segment of the log."""
_FLAG: Final = "orders"
_STANDS_FOR_ENTRIES: Final = {Verb.DROP: 0, Verb.BOUNCE: 1, Verb.HOLD: 2, Verb.SUSPEND: 3}

_decoder: Final = Decoder(list[Order])
_encoder: Final = Encoder()


class OrderError(RelayError):
    """An order that cannot be given or revoked; the message names the fix."""


class OrderBook:
    """Of one slot; all on the event loop's thread."""

    def __init__(self, spool: Spool) -> None:
        """Finds those that the spool kept; raises OrderError if it cannot read them."""
        self._spool = spool
        kept = spool.flag(_FLAG)
        try:
            self.orders: list[Order] = _decoder.decode(kept) if kept else []
        except DecodeError as failed:
            raise OrderError(f"the orders in the spool cannot be read ({failed}): run the newer image") from failed
        self._by: dict[tuple[By, str], list[Order]] = {}
        self._addresses: dict[str, list[Order]] = {}
        self.asks_sites = False
        """Some order needs the site that an entry would go to."""
        self._arrange()

    @property
    def is_empty(self) -> bool:
        """No order stands that mail on its way could fall under; cheap, since it is asked for each message."""
        return not self._by

    @property
    def asks_senders(self) -> bool:
        """Some order needs the message's sender, which an entry does not know."""
        return bool(self._addresses)

    def add(self, order: Order) -> None:
        """Another one stands; raises OrderError if there are too many, SpoolError if it cannot be kept."""
        if len(self.orders) >= MOST and order.id != RESTORED:  # a volume put back may be full of orders
            raise OrderError(f"{MOST} orders stand already: revoke some, see GET /v1/actions")
        self._keep([*self.orders, order])

    def remove(self, gone: Iterable[Order]) -> None:
        """These do not stand any more."""
        ids = {order.id for order in gone}
        self._keep([order for order in self.orders if order.id not in ids])

    def save(self) -> None:
        """What was changed in an order is kept."""
        self._keep(self.orders)

    def follow(self, now: float) -> None:
        """Orders that were given by a clock that was ahead stand from now on, for as long as they were to."""
        ahead = [order for order in self.orders if order.expires and order.created > now]
        for order in ahead:
            order.created, order.expires = now, now + (order.expires - order.created)
        if ahead:
            self.save()

    def get(self, order_id: str) -> Order | None:
        """The order of this id, if it stands."""
        return next((order for order in self.orders if order.id == order_id), None)

    def find(self, entry: QueueEntry, site: str, policy: str) -> Order | None:
        """The order that an entry on its way to this site falls under, as far as the entry tells."""
        found: list[Order] = []
        by = self._by
        for key in (
            (By.ALL, ""),
            (By.QUEUE, entry.domain),
            (By.CAMPAIGN, entry.campaign),
            (By.SENDER, f"@{entry.sender_domain}" if entry.sender_domain else NULL_SENDER),
            (By.SITE, site),
            (By.POLICY, policy),
            (By.MESSAGE, message_id_text(entry.id)),
        ):
            orders = by.get(key)
            if orders:
                found += orders
        return _strongest(found, entry) if found else None

    def find_by_sender(self, entry: QueueEntry, sender: str) -> Order | None:
        """The order about this very address that an entry falls under."""
        orders = self._addresses.get(_address(sender))
        return _strongest(orders, entry) if orders else None

    def _keep(self, orders: list[Order]) -> None:
        self._spool.set_flag(_FLAG, _encoder.encode(orders).decode() if orders else "")
        self.orders = orders
        self._arrange()

    def _arrange(self) -> None:
        self._by, self._addresses = {}, {}
        for order in self.orders:
            if order.verb in _STANDS_FOR_ENTRIES:
                selector = order.selector
                if _is_address(selector):
                    self._addresses.setdefault(selector.value, []).append(order)
                else:
                    self._by.setdefault((selector.by, selector.value), []).append(order)
        self.asks_sites = any(by in (By.SITE, By.POLICY) for by, _ in self._by)


def fits(selector: Selector, entry: QueueEntry) -> bool:
    """Whether an entry that waits is chosen, or may be: its sender's address and its site are not known here."""
    match selector.by:
        case By.ALL:
            return True
        case By.QUEUE:
            return entry.domain == selector.value
        case By.CAMPAIGN:
            return entry.campaign == selector.value
        case By.SENDER:
            domain = "" if selector.value == NULL_SENDER else selector.value.rpartition("@")[2]
            return entry.sender_domain == domain
        case By.MESSAGE:
            return message_id_text(entry.id) == selector.value
        case _:
            return False


def _strongest(orders: list[Order], entry: QueueEntry) -> Order | None:
    id_text = ""
    best: Order | None = None
    for order in orders:
        if order.before:
            id_text = id_text or message_id_text(entry.id)
            if id_text >= order.before:
                continue
        if best is None or _STANDS_FOR_ENTRIES[order.verb] < _STANDS_FOR_ENTRIES[best.verb]:
            best = order
    return best


def _is_address(selector: Selector) -> bool:
    return selector.by is By.SENDER and not selector.value.startswith("@") and selector.value != NULL_SENDER


def _address(sender: str) -> str:
    """An envelope sender as selectors spell it."""
    local, _, domain = sender.rpartition("@")
    return f"{local}@{domain.lower()}"
