"""Which of several orders an entry falls under, and what the spool gives back of them."""

import asyncio
from itertools import permutations

import pytest

from lane_relay.orders.book import OrderBook, OrderError
from lane_relay.orders.order import By, Order, Selector, Verb
from lane_relay.records import QueueEntry, message_id_text
from lane_relay.spool.memory import MemorySpool, MemoryVolume
from tests.lane_relay.spool.making import CLOCK

STRONGEST_FIRST = (Verb.DROP, Verb.BOUNCE, Verb.HOLD, Verb.SUSPEND)
ENTRY = QueueEntry(5, 0, "isp.test", (0,), 9, 0.0, 0, "spring", "x.test")


def _order(verb: Verb, by: By = By.ALL, value: str = "", before: int = 0) -> Order:
    selector = Selector(by, value)
    until = message_id_text(before) if before else ""
    return Order(
        id=f"{verb}-{by}", verb=verb, selector=selector, owner="j", reason="r", created=1.0, expires=2.0, before=until
    )


def _book(*orders: Order, volume: MemoryVolume | None = None) -> OrderBook:
    book = OrderBook(MemorySpool(CLOCK, asyncio.get_running_loop(), volume))
    for order in orders:
        book.add(order)
    return book


@pytest.mark.parametrize("verbs", list(permutations(STRONGEST_FIRST, 2)))
async def test_the_order_that_leaves_least_to_the_others_holds(verbs: tuple[Verb, Verb]) -> None:
    book = _book(_order(verbs[0], By.QUEUE, "isp.test"), _order(verbs[1], By.CAMPAIGN, "spring"))
    found = book.find(ENTRY, "site", "policy")
    assert found is not None
    assert found.verb is min(verbs, key=STRONGEST_FIRST.index)


async def test_an_order_about_earlier_messages_leaves_later_ones_to_the_next() -> None:
    book = _book(_order(Verb.DROP, before=5), _order(Verb.SUSPEND))
    found = book.find(ENTRY, "", "")
    assert found is not None
    assert found.verb is Verb.SUSPEND


async def test_orders_are_read_back_as_they_were() -> None:
    volume = MemoryVolume()
    given = [_order(Verb.DROP, By.SENDER, "a@x.test", before=77), _order(Verb.HOLD)]
    _book(*given, volume=volume)
    assert _book(volume=volume).orders == given
    assert _book(volume=volume).asks_senders


async def test_fields_of_a_newer_release_are_passed_over_and_what_is_no_order_is_refused_with_the_fix() -> None:
    volume = MemoryVolume()
    _book(_order(Verb.HOLD), volume=volume)
    volume.flags["orders"] = volume.flags["orders"].replace('"id":', '"colour":"red","id":', 1)
    assert _book(volume=volume).orders == [_order(Verb.HOLD)]
    volume.flags["orders"] = volume.flags["orders"].replace('"hold"', '"explode"', 1)
    with pytest.raises(OrderError, match="run the newer image"):
        _book(volume=volume)
