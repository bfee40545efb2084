"""Refusals of clients that may not submit: some records, and a count of the rest."""

from lane_relay.accept.strangers import StrangerBudget
from tests.lane_relay.accept.clients import Hands, Raw
from tests.lane_relay.accept.conftest import Spool, Start, make_config

MAIL = b"MAIL FROM:<otp@notify.example.com>\r\n"


def test_each_client_has_its_share_and_all_together_have_a_limit() -> None:
    budget = StrangerBudget(0.0, per_client=2, in_all=5)

    assert [budget.admits("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [budget.admits(f"192.0.2.{number}") for number in range(2, 6)] == [True, True, True, False]
    assert (budget.renew(59.0), budget.renew(60.0), budget.renew(120.0)) == (0, 2, 0)
    assert budget.admits("192.0.2.1")


async def refuse(port: int, times: int) -> None:
    """So many refusals in sessions that are closed for none of them."""
    for _ in range(times // 5):
        client = await Raw.connect(port)
        await client.hello()
        assert {answer[0] for answer in await client.ask(MAIL * 5, 5)} == {"5"}
        await client.close()


async def test_a_stranger_cannot_fill_the_journal_with_refusals(start: Start, spool: Spool) -> None:
    hands = Hands()
    listener = await start(make_config(clients=["192.0.2.0/24"]), clock=hands.clock)
    await refuse(listener.ports[0], 40)
    assert (len(spool.rejections), listener.counters.refused) == (20, {"530 5.7.0": 40})

    hands.time += 61
    listener.sweep()
    await refuse(listener.ports[0], 10)
    assert len(spool.rejections) == 30


async def test_every_refusal_of_the_lanes_own_clients_is_recorded(start: Start, spool: Spool) -> None:
    listener = await start(make_config(clients=["127.0.0.0/8"], senders=["@else.example"]))
    await refuse(listener.ports[0], 40)

    assert len(spool.rejections) == 40
