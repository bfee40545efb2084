"""Gives, lists and revokes orders, and carries them out, also over a restart.

Invariants: an order is on disk, with its AdminAction record, before it is answered; an entry is in one place at any
time: where it waited, held under an order, or with the finisher; however many entries there are, the loop is free
between portions. Before: `/v1/actions`, and the pipeline with each entry on its way. After: the dispatcher's held
entries, the schedule, `finisher`.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import structlog

from lane_api.relayconfig import RelayConfig
from lane_relay.account.settler import Settler
from lane_relay.clock import Clock, rfc3339
from lane_relay.deliver.explain import Place
from lane_relay.errors import SpoolError
from lane_relay.orders.book import OrderBook, OrderError, fits
from lane_relay.orders.finisher import Finisher
from lane_relay.orders.order import FINAL, WITH_SIBLING, By, Order, OrderRequest, Verb
from lane_relay.orders.places import Places
from lane_relay.orders.restored import RESTORED, forgive, hold_of_restored, leave_journal
from lane_relay.orders.screener import held_by
from lane_relay.records import QueueEntry, Route, Unroutable, message_id_text
from lane_relay.spool.base import Spool

__all__ = ["Look", "OrderKeeper", "WithSibling"]

_log = structlog.get_logger("orders")

_TICK_S: Final = 1.0
"""An order ends so late at most."""
_SAVE_EVERY_S: Final = 10.0
"""What orders have done so far is kept so often; a crash forgets as much of the count."""
_OURSELVES: Final = "lane-relay"
WithSibling = Callable[[str, str, str], Awaitable[int]]
"""(sibling, owner, reason): does what is ordered about it; of how much. Raises RelayError, SpoolError."""
Look = Callable[[], AsyncGenerator[tuple[Place, QueueEntry]]]
_NAMED: Final = 5
"""Orders that an answer names; two hundred may stand."""
_NOWHERE: Final = Route("", "", ())
_HOLDING: Final = (Verb.HOLD, Verb.SUSPEND)
_SITES: Final = (By.SITE, By.ALL)
_TOLD_BY_ENTRIES: Final = (By.QUEUE, By.CAMPAIGN, By.SENDER, By.MESSAGE)
_ENDS: Final = {Verb.RESUME: Verb.SUSPEND, Verb.RELEASE: Verb.HOLD}


class OrderKeeper:
    """The orders of one slot."""

    def __init__(
        self,
        spool: Spool,
        book: OrderBook,
        settler: Settler,
        clock: Clock,
        places: Places,
        config: Callable[[], RelayConfig],
        with_sibling: Mapping[Verb, WithSibling] | None = None,
        begin_journal: Callable[[], None] = lambda: None,
    ) -> None:
        """`config()` is the one in force; `with_sibling`: absent where the slot has none. A volume that may be an older
        copy is held from now on, and what comes is recorded in another journal, which `begin_journal` begins.
        """
        self._spool = spool
        self._book = book
        self._settler = settler
        self._clock = clock
        self._places = places
        self._finisher = Finisher(spool, book, settler, clock, places.go_on)
        self._work = asyncio.Event()
        self._saved_at = 0.0
        self._saved: dict[str, int] = {}
        self._config = config
        self._with_sibling = with_sibling
        self._begin_journal = begin_journal
        self._holds_restored()

    def apply(self) -> None:
        """A configuration is in force; it may be the first that knows which volume this is."""
        if not self._spool.state.failed and self._holds_restored():
            self._places.look_again()

    def _holds_restored(self) -> bool:
        """Whether the volume has turned out to be an older copy, so that what it brought is held from now on."""
        self._leave_journal()
        restored = hold_of_restored(self._spool, self._config(), self._clock.now())
        if restored is None or self._book.get(RESTORED) is not None:
            return False
        self.stand(restored)
        _log.error("mail on the volume is held", reason=restored.reason)
        return True

    def _leave_journal(self) -> None:
        """What fails is tried again with the next configuration."""
        try:
            if leave_journal(self._spool, self._config(), self._begin_journal):
                _log.warning("the records go on in another journal: the volume may be an older copy")
        except OSError as error:
            _log.error("the records cannot go on in another journal for now", reason=str(error))

    # -- given and revoked

    async def place(self, body: bytes, waiting: Look) -> list[dict[str, Any]]:
        """Gives an order, or ends those that `resume` and `release` are about; gives what stands, or has ended.

        `body` is an OrderRequest as JSON; `waiting()` meets every entry: an order that nothing falls under says
        so. Raises ValidationError, OrderError, and SpoolError if it cannot be kept.
        """
        request = OrderRequest.model_validate_json(body)
        if request.action in _ENDS:
            return await self._end_all(request)
        note = self._note_on(request)
        stays = request.action in _HOLDING
        if not note and not stays:  # what it ends could not be found afterwards
            note = await _note_on_mail(request, waiting)
        order = await (self._done_with_sibling if request.action in WITH_SIBLING else self._place)(request)
        if not note and stays:  # in force before a look that may take a second
            note = await _note_on_mail(request, waiting)
        return [{**self._shown(order), "note": note}]

    def _note_on(self, request: OrderRequest) -> str:
        """What whoever gives an order should know, though it is kept as it is."""
        by, value = request.selector.by, request.selector.value
        policies = {one.name for one in self._config().delivery.policies}
        if by is By.POLICY and value not in policies:
            return "the lane has no ISPPolicy of this name, so no mail falls under the order"
        if by is By.SITE and value not in policies and not self._places.has_site(value):
            return "no site is named so now (GET /v1/sites names those that are known): the order is for later mail"
        return next(
            (
                f"order {one.id} of {one.owner} says {_of_what(one, request)} {_until(one)}"
                for one in self._book.orders
                if one.verb is request.action
                and one.verb in _HOLDING
                and (one.selector == request.selector or one.selector.by is By.ALL)
            ),
            "",
        )

    async def _place(self, request: OrderRequest) -> Order:
        now = self._clock.now()
        order = Order(
            id=secrets.token_hex(4),
            verb=request.action,
            selector=request.selector,
            owner=request.owner,
            reason=request.reason,
            created=now,
            expires=now + request.expires_in,
            before=message_id_text(self._spool.new_id()) if request.action in (*FINAL, Verb.REQUEUE) else "",
        )
        self.stand(order)
        await self._spool.flush()
        if order.verb is not Verb.REQUEUE:
            self._places.look_again()
        return order

    async def _done_with_sibling(self, request: OrderRequest) -> Order:
        """Done, and recorded, by hand-over: nothing of it stands."""
        if self._with_sibling is None:
            raise OrderError("this slot has no siblings: nothing is in doubt, and nothing owed")
        done = await self._with_sibling[request.action](request.selector.value, request.owner, request.reason)
        return Order(
            id=secrets.token_hex(4),
            verb=request.action,
            selector=request.selector,
            owner=request.owner,
            reason=request.reason,
            created=self._clock.now(),
            expires=0.0,
            swept=True,
            entries=done,
        )

    def stand(self, order: Order) -> None:
        """Takes an order in; it is on disk after the next flush of the spool. Raises as `place` does."""
        self._book.add(order)
        self._note(order.verb, order, order.owner, order.reason)
        self._work.set()

    def counts(self) -> dict[str, int]:
        """How many orders stand, by verb."""
        found = dict.fromkeys((Verb.SUSPEND, Verb.HOLD, Verb.BOUNCE, Verb.DROP, Verb.REQUEUE), 0)
        for order in self._book.orders:
            found[order.verb] += 1
        return {str(verb): count for verb, count in found.items()}

    @property
    def unreadable(self) -> int:
        """Entries that an order was to end and whose message is damaged, in this process's life."""
        return self._finisher.unreadable.total()

    def stands(self, order_id: str) -> Order | None:
        """The order of this id, if it stands."""
        return self._book.get(order_id)

    async def revoke(self, order_id: str, owner: str, reason: str) -> dict[str, Any]:
        """Ends an order; raises OrderError if there is none of this id."""
        order = self._book.get(order_id)
        if order is None:
            raise OrderError(f"no order {order_id!r:.80} stands: see GET /v1/actions")
        return (await self._end([order], owner, reason))[0]

    def standing(self) -> list[dict[str, Any]]:
        """Every order as `/v1/actions` shows it."""
        return [self._shown(order) for order in self._book.orders]

    def _shown(self, order: Order) -> dict[str, Any]:
        holds = order.verb in _HOLDING
        state = "standing" if order.verb not in (Verb.REQUEUE, *WITH_SIBLING) else "done"
        return {
            "id": order.id,
            "action": order.verb,
            order.selector.by: order.selector.value or True,
            "owner": order.owner,
            "reason": order.reason,
            "created": rfc3339(order.created),
            "expires": rfc3339(order.expires) if order.expires else None,
            "state": state if order.swept or holds else "working",
            "entries": self._places.held(order.key) if holds else order.entries,
            "unreadable": self._finisher.unreadable[order.id],
            "note": "",
        }

    def holding(self) -> list[tuple[Order, int]]:
        """Orders of persons that mail waits for now, and how many entries each holds."""
        found = [(one, self._places.held(one.key)) for one in self._book.orders if one.verb in _HOLDING]
        return [(order, count) for order, count in found if count and order.id != RESTORED]

    def stops(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Sites and policies whose mail waits here for a person, also mail that is still to come; site "": all."""
        found = [one for one in self._book.orders if one.verb in _HOLDING and one.id != RESTORED]
        sites = ["" if one.selector.by is By.ALL else one.selector.value for one in found if one.selector.by in _SITES]
        return tuple(sites), tuple([one.selector.value for one in found if one.selector.by is By.POLICY])

    async def _end_all(self, request: OrderRequest) -> list[dict[str, Any]]:
        verb, selector = _ENDS[request.action], request.selector
        standing = [one for one in self._book.orders if one.verb is verb]
        found = [one for one in standing if one.selector == selector]
        others = _named([one for one in standing if one.selector != selector])
        if not found:
            if not others:
                raise OrderError(f"no {verb} stands: see GET /v1/actions")
            fix = "say what one of them says, or revoke it by its id"
            raise OrderError(f"no {verb} with this selector stands, but {others}: {fix}")
        note = f"still stands: {others}" if others and selector.by is By.ALL else ""
        return [{**ended, "note": note} for ended in await self._end(found, request.owner, request.reason)]

    async def _end(self, orders: list[Order], owner: str, reason: str) -> list[dict[str, Any]]:
        """As they were when they ended: what they held goes on with this."""
        ended = [{**self._shown(order), "state": "ended"} for order in orders]
        self._remove(orders, owner, reason)
        await self._spool.flush()
        return ended

    def _remove(self, orders: list[Order], owner: str, reason: str) -> None:
        self._book.remove(orders)
        for order in orders:
            self._note("revoke", order, owner, reason)
            if order.id == RESTORED:
                forgive(self._spool, self._config())
            self._places.release(order.key)
        self._work.set()

    def _note(self, action: str, order: Order, owner: str, reason: str) -> None:
        """The order in the journal; what it is about is in the words of the request."""
        said = f"{action} {order.id}: {order.verb} {order.selector.by} {order.selector.value}".rstrip()
        self._spool.record([self._settler.writer.admin_action(said, owner, reason, self._clock.now())])
        _log.info("order", action=action, order=order.id, owner=owner, reason=reason)

    # -- on an entry's way

    @property
    def is_idle(self) -> bool:
        """No entry needs to be shown to `takes`; cheap."""
        return self._book.is_empty

    @property
    def is_quiet(self) -> bool:
        """Nothing that was ordered is still to be done."""
        return self._finisher.is_empty and not self._work.is_set()

    def takes(self, entry: QueueEntry, destination: Route | Unroutable | None) -> bool:
        """Whether an order stops an entry on its way to delivery; then it is held, or with the finisher.

        None: its site is not known, and orders by site or policy do not count.
        """
        route = destination if isinstance(destination, Route) else _NOWHERE
        return self._does(self._book.find(entry, route.site, route.policy), entry, route)

    @property
    def asks_sites(self) -> bool:
        """Some order needs to know where an entry would go, also of one that leaves for a sibling."""
        return self._book.asks_sites

    def takes_with_sender(self, entry: QueueEntry, sender: str, destination: Route | Unroutable | None = None) -> bool:
        """The same for an entry that leaves for a sibling, which knows nothing of the orders here."""
        if self.is_idle and not self._book.asks_senders:
            return False
        return self.takes(entry, destination) or self._does(self._book.find_by_sender(entry, sender), entry, _NOWHERE)

    def _does(self, order: Order | None, entry: QueueEntry, route: Route) -> bool:
        if order is None:
            return False
        if order.verb in FINAL:
            self._finisher.add(order, entry)
            self._work.set()
        else:
            self._places.hold(entry, route, held_by(order))
        return True

    # -- carried out

    async def run(self) -> None:
        """Carries orders out and ends them in time, for ever; begun once recovery has given back all entries."""
        for order in self._book.orders:  # what a restart found waits in the schedule
            order.swept = order.swept and order.verb not in FINAL
        while True:
            self._work.clear()
            await self._carry_out()
            try:
                async with asyncio.timeout(_TICK_S):
                    await self._work.wait()
            except TimeoutError:
                continue

    async def _carry_out(self) -> None:
        try:
            self._expire()
            for order in list(self._book.orders):
                if not order.swept and order.verb not in (Verb.HOLD, Verb.SUSPEND):
                    await self._sweep(order)
            await self._finisher.finish()
            self._save_counts()
        except SpoolError as failed:  # nothing can be kept any more; a restart goes on from what is on disk
            _log.error("orders wait", reason=str(failed))

    def _expire(self) -> None:
        now = self._clock.now()
        self._book.follow(now)
        over = [order for order in self._book.orders if order.expires and order.expires <= now]
        if over:
            self._remove(over, _OURSELVES, "its time is over")

    async def _sweep(self, order: Order) -> None:
        """Everything in the schedule that the order is about, or may be."""
        now = self._clock.now()
        for portion in self._places.sweep(lambda entry: _waits_for(order, entry, now)):
            for entry in portion:
                if order.verb is Verb.REQUEUE:
                    entry.due = now
                    order.entries += 1
                    self._places.go_on(entry)
                else:
                    self._finisher.add(order, entry)
            await self._finisher.finish()
            await asyncio.sleep(0)
            if self._book.get(order.id) is None:
                return
        order.swept = True
        self._book.save()

    def _save_counts(self) -> None:
        now = self._clock.monotonic()
        counts = {order.id: order.entries for order in self._book.orders}
        if now - self._saved_at >= _SAVE_EVERY_S and counts != self._saved:
            self._saved_at, self._saved = now, counts
            self._book.save()


async def _note_on_mail(request: OrderRequest, waiting: Look) -> str:
    """That no entry is, or may be, one that the order is about; empty where one is, or entries do not tell."""
    selector = request.selector
    if selector.by not in _TOLD_BY_ENTRIES:
        return ""
    async with aclosing(waiting()) as entries:
        async for _, entry in entries:
            if fits(selector, entry):
                return ""
    if selector.by is By.MESSAGE:
        return "nothing that waits here has this id: GET /v1/trace?id= tells what became of it"
    so = "the order is for later mail" if request.action in _HOLDING else "nothing is done"
    return f"nothing that waits here is chosen by this {selector.by} (GET /v1/messages lists what waits): {so}"


def _waits_for(order: Order, entry: QueueEntry, now: float) -> bool:
    if not fits(order.selector, entry) or message_id_text(entry.id) >= order.before:
        return False
    return order.verb is not Verb.REQUEUE or entry.due > now


def _named(orders: Sequence[Order]) -> str:
    """These orders in words, the first few of many."""
    more = f" and {len(orders) - _NAMED} more (GET /v1/actions)" if len(orders) > _NAMED else ""
    return ", ".join(f"{one.id}, {one.words}" for one in orders[:_NAMED]) + more


def _of_what(standing: Order, asked: OrderRequest) -> str:
    return "the same" if standing.selector == asked.selector else "so of all mail"


def _until(order: Order) -> str:
    return f"until {rfc3339(order.expires)}" if order.expires else "without an end"
