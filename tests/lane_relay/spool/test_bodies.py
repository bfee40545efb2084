"""Fresh messages in memory: what was read back from the disk to be sent counts as well."""

from lane_relay.records import Envelope, Message
from lane_relay.spool.bodies import BodyCache

SIZE = 100_000


def _message(number: int) -> Message:
    return Message(number, Envelope("otp@brand.test", ("ann@isp.test",)), bytes(SIZE))


def test_what_was_read_back_takes_the_room_of_fresh_messages_the_newest_of_which_leave() -> None:
    cache = BodyCache(5 * (SIZE + 2000))
    for number in range(5):
        cache.offer(_message(number))
    cache.lend(SIZE)
    cache.lend(SIZE)
    assert [number for number in range(5) if cache.get(number)] == [0, 1, 2]
    assert cache.bytes + cache.lent <= 5 * (SIZE + 2000)
    cache.offer(_message(6))
    assert cache.get(6) is None
    cache.give_back(SIZE)
    cache.give_back(SIZE)
    cache.offer(_message(7))
    assert (cache.lent, cache.get(7) is not None) == (0, True)


def test_more_read_back_than_the_bound_leaves_nothing_fresh() -> None:
    cache = BodyCache(SIZE + 2000)
    cache.offer(_message(1))
    for _ in range(4):
        cache.lend(SIZE)
    assert (cache.bytes, cache.get(1)) == (0, None)
