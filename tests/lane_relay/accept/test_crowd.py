"""A full house: who makes room, and for whom nobody does."""

import asyncio
import ssl
from collections import Counter

import pytest

from lane_relay.accept.crowd import STRANGERS_S, Crowd
from tests.lane_relay.accept.clients import SENDER, Hands, Raw, eventually
from tests.lane_relay.accept.conftest import Start, make_config


class Somebody:
    """A guest that says what it is."""

    def __init__(self, client: str, last_active: float = 0.0) -> None:
        self.counted_as, self.last_active = client, last_active
        self.may_be_sent_away, self.is_in_transaction, self.is_gone = True, False, False
        self.patience = 0.0

    def send_away(self) -> None:
        self.is_gone = True

    def sweep(self, _now: float, patience: float) -> None:
        self.patience = patience


def full_house(*clients: str) -> tuple[Crowd[Somebody], list[Somebody]]:
    crowd: Crowd[Somebody] = Crowd()
    guests = [Somebody(client) for client in clients]
    assert all(crowd.admit(guest, len(guests), 0.0) for guest in guests)
    return crowd, guests


def test_the_client_with_the_most_makes_room_with_its_longest_silent() -> None:
    crowd, guests = full_house("a", "b", "b", "b", "c", "c")
    guests[1].last_active = 5.0
    newcomers = [Somebody("d", 5.0) for _ in range(3)]

    assert all(crowd.admit(one, 6, 5.0) for one in newcomers)
    assert [one.is_gone for one in guests] == [False, False, True, True, True, False]
    assert (crowd.count("b"), crowd.count("d"), len(crowd), crowd.take_sent_away()) == (1, 3, 6, 3)


def test_who_spoke_since_it_was_looked_at_stays() -> None:
    crowd, guests = full_house("a", "b", "c")
    assert crowd.admit(Somebody("d", 1.0), 3, 1.0)
    guests[1].last_active = 2.0
    assert crowd.admit(Somebody("e", 2.0), 3, 2.0)
    assert [one.is_gone for one in guests] == [True, False, True]


def test_who_has_logged_in_since_it_was_looked_at_stays_though_the_clock_shows_the_same() -> None:
    crowd, guests = full_house("a", "b", "c")
    assert crowd.admit(Somebody("d"), 3, 0.0)
    guests[1].may_be_sent_away = False
    assert crowd.admit(Somebody("e"), 3, 0.0)
    assert [one.is_gone for one in guests] == [True, False, True]


def test_nobody_goes_who_may_submit_or_whose_transaction_goes_on() -> None:
    crowd, guests = full_house("a", "b")
    guests[0].may_be_sent_away = False
    guests[1].is_in_transaction = True
    assert not crowd.admit(Somebody("c"), 2, STRANGERS_S - 1)
    assert crowd.admit(Somebody("c"), 2, STRANGERS_S)
    assert [one.is_gone for one in guests] == [False, True]


def test_in_a_crowd_strangers_have_less_time() -> None:
    crowd, guests = full_house("a", "b", "c", "d")
    guests[0].may_be_sent_away = False
    crowd.sweep(1.0, 6, 300.0)
    assert [one.patience for one in guests] == [300.0] * 4
    crowd.sweep(1.0, 5, 300.0)
    assert [one.patience for one in guests] == [300.0, *[STRANGERS_S] * 3]


def test_looking_for_somebody_who_may_go_costs_once_through_all_for_all_of_them() -> None:
    looked: Counter[str] = Counter()

    class Counted(Somebody):
        @property
        def may_be_sent_away(self) -> bool:
            looked["at"] += 1
            return True

        @may_be_sent_away.setter
        def may_be_sent_away(self, _value: bool) -> None:
            pass

    crowd: Crowd[Somebody] = Crowd()
    assert all(crowd.admit(Counted(f"c{number}"), 1000, 0.0) for number in range(2000))
    assert looked["at"] < 5000


async def test_silent_strangers_shut_out_neither_the_lanes_clients_nor_others(start: Start) -> None:
    limits = {"sessions": 6, "sessionsPerClient": 3}
    listener = await start(make_config(clients=["127.0.0.1/32"], limits=limits))
    silent = [await Raw.connect(listener.ports[0], f"127.0.1.{number % 2}") for number in range(6)]
    for client in silent:
        assert (await client.ask(b""))[0].startswith("220 ")
    own = [await Raw.connect(listener.ports[0]) for _ in range(3)]
    for client in own:
        assert (await client.ask(b""))[0].startswith("220 ")
    stranger = await Raw.connect(listener.ports[0], "127.0.2.1")
    assert (await stranger.ask(b""))[0].startswith("220 ")
    assert (await silent[0].rest()).startswith("421 4.7.0 Too many sessions, and this one brought nothing")

    others = [await Raw.connect(listener.ports[0], f"127.0.3.{number}") for number in range(10)]
    for client in others:
        assert (await client.ask(b""))[0].startswith("220 ")
    await own[0].hello()
    assert (await own[0].ask(f"MAIL FROM:<{SENDER}>\r\n".encode()))[0].startswith("250 ")
    assert listener.session_count == 6
    listener.sweep()
    assert listener.counters.refused == {"421 4.7.0": 14}
    for client in (*silent, *own, *others, stranger):
        await client.close()
    await eventually(lambda: not listener.session_count)


async def test_a_house_full_of_the_lanes_own_refuses(start: Start) -> None:
    listener = await start(make_config(clients=["127.0.0.0/8"], limits={"sessions": 2}))
    clients = [await Raw.connect(listener.ports[0]) for _ in range(3)]
    said = [(await client.ask(b""))[0][:9] for client in clients]
    assert said == ["220 out1.", "220 out1.", "421 4.7.0"]
    assert listener.counters.refused == {"421 4.7.0": 1}
    for client in clients:
        await client.close()


@pytest.mark.parametrize("port", [0, 1], ids=["a handshake that does not come", "TLS"])
async def test_who_stops_behind_starttls_or_in_tls_makes_room_as_well(
    start: Start, trusting: ssl.SSLContext, port: int
) -> None:
    listener = await start(make_config(clients=["127.0.0.1/32"], limits={"sessions": 2}))
    silent = []
    for number in range(2):
        client = await Raw.connect(listener.ports[port], f"127.0.1.{number}", trusting if port else None)
        await client.ask(b"")
        await client.hello()
        if not port:
            assert (await client.ask(b"STARTTLS\r\n"))[0].startswith("220 ")
        silent.append(client)
    own = [await Raw.connect(listener.ports[0]) for _ in range(2)]
    for client in own:
        assert (await client.ask(b""))[0].startswith("220 ")
    for client in silent:
        with pytest.raises((EOFError, ConnectionError)):
            async with asyncio.timeout(60):
                await client.reader.readexactly(1)
    for client in (*silent, *own):
        await client.close()
    await eventually(lambda: not listener.session_count and not listener._tasks)


async def test_from_four_fifths_on_a_silent_stranger_has_half_a_minute(start: Start) -> None:
    hands = Hands()
    listener = await start(make_config(clients=["127.0.0.1/32"], limits={"sessions": 5}), clock=hands.clock)
    strangers = [await Raw.connect(listener.ports[0], f"127.0.1.{number}") for number in range(3)]
    own = await Raw.connect(listener.ports[0])
    for client in (*strangers, own):
        assert (await client.ask(b""))[0].startswith("220 ")
    hands.time += STRANGERS_S
    listener.sweep()

    for client in strangers:
        assert (await client.rest()).startswith("421 4.4.2 Nothing came for too long")
        await client.close()
    await eventually(lambda: listener.session_count == 1)
    await own.close()
