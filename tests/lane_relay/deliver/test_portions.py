"""A message for more recipients than one transaction takes: everybody gets one answer, in as few transactions as go."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.isppolicy import Stage
from lane_relay.deliver.portions import Portion, after, first, without_taken
from lane_relay.records import Attempt, Reply
from lane_relay.smtp.client import RecipientReply
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to
from tests.lane_relay.deliver.scripted_peer import DROP, Peer, running

TAKEN = Reply(250, ("2.0.0 queued",))
FULL = Reply(452, ("4.5.3 Too many recipients",))


def said(indexes: tuple[int, ...], reply: Reply, stage: Stage = Stage.END_OF_DATA) -> tuple[RecipientReply, ...]:
    return tuple([RecipientReply(index, stage, reply) for index in indexes])


def test_a_transaction_is_for_so_many_as_the_site_allows() -> None:
    portion = first((0, 1, 2, 3, 4), 2)
    assert (portion.recipients, portion.left) == ((0, 1), (2, 3, 4))
    portion = after(said((0, 1), TAKEN), portion, 2)
    assert (portion.recipients, portion.left) == ((2, 3), (4,))


@pytest.mark.parametrize("refusal", ["452 4.5.3 Too many recipients", "452 too many recipients", "552 5.5.3 too many"])
def test_one_too_many_is_in_the_next_transaction_which_is_no_larger_than_what_was_taken(refusal: str) -> None:
    code, _, text = refusal.partition(" ")
    replies = said((0, 1), TAKEN) + said((2, 3, 4), Reply(int(code), (text,)), Stage.RCPT)
    portion = after(replies, first((0, 1, 2, 3, 4), 100), 100)
    assert (portion.recipients, portion.left) == ((2, 3), (4,))
    assert [answer.index for answer in portion.answered] == [0, 1]


def test_a_full_mailbox_is_no_sign_of_too_many() -> None:
    replies = said((0,), TAKEN) + said((1,), Reply(452, ("4.2.2 mailbox full",)), Stage.RCPT)
    assert after(replies, first((0, 1), 100), 100) == Portion(answered=replies)


def test_a_peer_that_takes_none_at_all_is_not_asked_again() -> None:
    replies = said((0, 1), FULL, Stage.RCPT)
    assert after(replies, first((0, 1), 100), 100) == Portion(answered=replies)


def test_what_is_said_of_the_message_is_said_of_those_who_are_left() -> None:
    spam = Reply(550, ("5.7.1 spam",))
    portion = after(said((0,), spam), first((0, 1, 2), 1), 1)
    assert not portion.recipients
    assert [(answer.index, answer.reply) for answer in portion.answered] == [(0, spam), (1, spam), (2, spam)]


def test_a_peer_that_closes_has_answered_for_those_who_are_left() -> None:
    busy, unknown = Reply(421, ("4.7.0 try again later",)), Reply(550, ("5.1.1 unknown",))
    replies = said((0,), unknown, Stage.RCPT) + said((1,), busy, Stage.RCPT)
    portion = after(replies, first((0, 1, 2, 3), 2), 2)
    assert (portion.recipients, portion.left) == ((), ())
    assert [(answer.index, answer.reply) for answer in portion.answered] == [
        (0, unknown),
        (1, busy),
        (2, busy),
        (3, busy),
    ]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 8))
def test_everybody_is_answered_once_whatever_the_peer_takes(count: int, most: int, takes: int) -> None:
    portion = first(tuple(range(count)), most)
    transactions = 0
    while portion.recipients:
        transactions += 1
        assert len(portion.recipients) <= most
        now = portion.recipients
        replies = said(now[:takes], TAKEN) + said(now[takes:], FULL, Stage.RCPT)
        portion = after(replies, portion, most)
    assert sorted(answer.index for answer in portion.answered) == list(range(count))
    assert transactions <= count


def test_only_who_has_the_message_is_settled_early() -> None:
    portion = Portion((2,), (3,), said((0,), TAKEN) + said((1,), FULL, Stage.RCPT))
    taken, rest = without_taken(portion)
    assert ([one.index for one in taken], [one.index for one in rest.answered]) == ([0], [1])
    assert (rest.recipients, rest.left) == ((2,), (3,))
    assert without_taken(rest) == ((), rest)


ROUTE_POLICY = {"name": "isp", "domains": ["peer.test"], "recipients_per_message": 3}


def _results(relay: Delivery) -> list[tuple[int, str]]:
    return sorted((result.index, str(result.reply)[:3]) for attempt in relay.attempts for result in attempt.results)


def _recipients(peer: Peer) -> list[int]:
    return [len(message.recipients) for message in peer.messages]


async def test_a_message_for_many_goes_out_in_several_transactions_of_one_connection() -> None:
    peer = Peer()
    async with running(peer), delivering(policies=[ROUTE_POLICY]) as relay:
        relay.send(route_to(peer.port, site="isp", policy="isp"), *[f"u{number}@peer.test" for number in range(8)])
        await relay.attempted(3)
        assert (_recipients(peer), peer.connections) == ([3, 3, 2], 1)
        assert _results(relay) == [(number, "250") for number in range(8)]
        assert {address for message in peer.messages for address in message.recipients} == {
            f"u{number}@peer.test" for number in range(8)
        }


def _takes(most: int, refusal: bytes) -> Callable[[str], bytes | str]:
    """A peer that takes so many recipients a transaction."""
    taken = 0

    def answer(line: str) -> bytes | str:
        nonlocal taken
        if line.startswith("MAIL"):
            taken = 0
            return b"250 2.1.0 ok\r\n"
        taken += 1
        return b"250 2.1.5 ok\r\n" if taken <= most else refusal

    return answer


async def test_a_peer_that_takes_fewer_gets_the_rest_at_once_on_the_same_connection() -> None:
    script = _takes(3, b"452 4.5.3 Error: too many recipients\r\n")
    peer = Peer({"mail": script, "rcpt": script})
    async with running(peer), delivering() as relay:
        relay.send(route_to(peer.port), *[f"u{number}@peer.test" for number in range(8)])
        await relay.attempted(3)
        assert (_recipients(peer), peer.connections) == ([3, 3, 2], 1)
        assert _results(relay) == [(number, "250") for number in range(8)]


async def test_who_has_the_message_is_settled_before_the_next_ones_transaction_begins() -> None:
    settled: list[int] = []
    relays: list[Delivery] = []

    def answer(_line: str) -> bytes | str:
        settled.append(sum(len(attempt.results) for attempt in relays[0].attempts))
        return b"250 2.1.0 ok\r\n"

    peer = Peer({"mail": answer})
    async with running(peer), delivering(policies=[ROUTE_POLICY]) as relay:
        relays.append(relay)
        relay.send(route_to(peer.port, site="isp", policy="isp"), *[f"u{number}@peer.test" for number in range(8)])
        await relay.attempted(3)
        assert settled == [0, 3, 6]  # a crash repeats the transaction in flight, not those before it


async def test_a_connection_that_breaks_midway_leaves_what_was_taken_delivered() -> None:
    ends: Iterator[bytes | str] = iter([b"250 2.0.0 queued\r\n", DROP])
    peer = Peer({"end": lambda _line: next(ends)})
    async with running(peer), delivering(policies=[ROUTE_POLICY]) as relay:
        relay.send(route_to(peer.port, site="isp", policy="isp"), *[f"u{number}@peer.test" for number in range(8)])
        await relay.attempted(2)
        assert _results(relay) == [(number, "250" if number < 3 else "421") for number in range(8)]


def _deferred_now(attempt: Attempt) -> list[int]:
    return [result.index for result in attempt.results if result.verdict.retry_after == 0.0]


async def test_who_must_wait_for_the_pace_is_due_again_at_once() -> None:
    policy = {**ROUTE_POLICY, "message_rate": "1/h"}
    peer = Peer()
    async with running(peer), delivering(policies=[policy]) as relay:
        relay.send(route_to(peer.port, site="isp", policy="isp"), *[f"u{number}@peer.test" for number in range(5)])
        (attempt,) = await relay.attempted(1)
        assert _deferred_now(attempt) == [3, 4]
        assert _recipients(peer) == [3]


async def test_a_transaction_is_a_message_for_the_limit_of_a_connection() -> None:
    policy = {**ROUTE_POLICY, "messages_per_connection": 2}
    peer = Peer()
    async with running(peer), delivering(policies=[policy]) as relay:
        relay.send(route_to(peer.port, site="isp", policy="isp"), *[f"u{number}@peer.test" for number in range(8)])
        _, attempt = await relay.attempted(2)
        assert _deferred_now(attempt) == [6, 7]
        assert (_recipients(peer), peer.connections) == ([3, 3], 1)
