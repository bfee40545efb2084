"""Keys take turns, whatever they have; each one's items keep their order."""

import sys
from collections import deque
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from lane_relay.turns import Turns, sift, swept


def _line(*items: str) -> Turns[str]:
    """Of items such as a1, whose key is their first letter."""
    turns: Turns[str] = Turns()
    for item in items:
        turns.append(item[0], item)
    return turns


def _all(turns: Turns[str]) -> list[str]:
    return [turns.popleft() for _ in range(len(turns))]


def test_one_key_alone_is_a_plain_queue() -> None:
    assert _all(_line("a1", "a2", "a3")) == ["a1", "a2", "a3"]


def test_two_keys_take_turns_and_the_longer_one_goes_on_alone() -> None:
    assert _all(_line("a1", "a2", "a3", "a4", "b1", "b2")) == ["a1", "b1", "a2", "b2", "a3", "a4"]


def test_who_comes_late_is_served_next_but_for_those_whose_turn_it_is() -> None:
    turns = _line(*[f"a{number}" for number in range(500)])
    assert turns.popleft() == "a0"
    assert turns.append("b", "b1")
    assert not turns.append("b", "b2")
    assert [turns.popleft() for _ in range(4)] == ["a1", "b1", "a2", "b2"]


def test_what_is_put_back_is_next_also_where_its_key_had_nothing_left() -> None:
    turns = _line("a1", "b1", "c1")
    item = turns.popleft()
    turns.appendleft("a", item)
    assert (turns.first, turns.key) == ("a1", "a")
    assert _all(turns) == ["a1", "b1", "c1"]


def test_what_is_left_of_an_item_is_the_first_of_its_key_once_all_others_had_their_turn() -> None:
    turns = _line("a1", "a2", "b1", "c1")
    turns.appendleft("a", turns.popleft(), is_next=False)
    assert _all(turns) == ["b1", "c1", "a1", "a2"]
    turns = _line("a1", "b1", "b2")
    turns.appendleft("a", turns.popleft(), is_next=False)
    assert _all(turns) == ["b1", "a1", "b2"]
    turns = _line("a1", "a2")
    turns.appendleft("a", turns.popleft(), is_next=False)
    assert _all(turns) == ["a1", "a2"]


def test_sweeping_takes_out_what_is_unwanted_in_portions_also_while_others_take_turns() -> None:
    turns = _line(*[f"a{number}" for number in range(9)], "b1", "c1")
    swept_away = [turns.popleft() and part for part in swept(turns, lambda item: item in {"a2", "a5", "b1", "c1"}, 3)]
    assert [item for part in swept_away for item in part] == ["a2", "a5"], "b1 and c1 were served meanwhile"
    assert len(turns) == 11 - 2 - len(swept_away)


def test_what_one_key_has_is_told_in_order_and_stays() -> None:
    turns = _line("a1", "b1", "a2")
    assert (turns.all_of("a"), turns.all_of("b"), turns.all_of("c")) == (["a1", "a2"], ["b1"], [])
    assert _all(turns) == ["a1", "b1", "a2"]


def test_a_key_without_items_is_forgotten() -> None:
    turns = _line("a1", "b1", "b2")
    assert turns.in_turn() == ["a", "b"]
    assert turns.popleft() == "a1"
    assert turns.in_turn() == ["b"]
    assert [turns.count(key) for key in "ab"] == [0, 2]
    turns.clear()
    assert (turns.in_turn(), len(turns), list(turns)) == ([], 0, [])


def test_taking_out_leaves_the_order_of_the_rest_and_forgets_an_emptied_key() -> None:
    turns = _line("a1", "a2", "a3", "a4", "b1")
    end, found = turns.take_out("a", 1, 2, lambda item: item == "a2")
    assert (end, found) == (2, ["a2"])
    assert turns.take_out("b", 0, 10, lambda _item: True) == (0, ["b1"])
    assert (turns.in_turn(), len(turns)) == (["a"], 3)
    assert turns.take_out("c", 0, 10, lambda _item: True) == (0, [])
    assert _all(turns) == ["a1", "a3", "a4"]


def test_sifting_a_part_takes_only_what_is_asked_for_and_keeps_the_order() -> None:
    for queue in (deque(range(20)), list(range(20))):
        end, found = sift(queue, 5, 6, lambda number: number % 2 == 0)
        assert (end, found) == (8, [6, 8, 10])
        assert list(queue) == [number for number in range(20) if number not in (6, 8, 10)]
        assert queue[end] == 11


def test_sifting_ends_where_no_more_is_taken() -> None:
    for queue in (deque(range(6)), list(range(6))):
        assert sift(queue, 1, 5, lambda number: None if number == 4 else number == 2) == (3, [2])
        assert list(queue) == [0, 1, 3, 4, 5]


def test_the_next_turn_takes_no_longer_for_half_a_million_than_for_two() -> None:
    """Counted in steps of the interpreter, not in seconds."""

    def steps(items: int) -> int:
        turns: Turns[int] = Turns()
        for item in range(items):
            turns.append("big", item)
        turns.append("small", -1)
        for _ in range(items // 2):
            turns.popleft()
        count = 0

        def trace(_frame: object, event: str, _arg: object) -> object:
            nonlocal count
            count += event == "line"
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]  # a local tracer of the same shape
        try:
            turns.append("third", 0)
            turns.popleft()
            turns.popleft()
        finally:
            sys.settrace(None)
        return count

    assert steps(100_000) <= steps(100) + 5


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "back", "sift"]), st.sampled_from("abc")), max_size=200))
def test_whatever_happens_nothing_is_lost_and_nobody_is_served_twice_before_another_once(
    steps: list[tuple[str, str]],
) -> None:
    turns: Turns[str] = Turns()
    mine: dict[str, deque[str]] = {key: deque() for key in "abc"}
    for number, (step, key) in enumerate(steps):
        item = f"{key}{number}"
        if step == "put":
            assert turns.append(key, item) == (not mine[key])
            mine[key].append(item)
        elif step == "back":
            turns.appendleft(key, item)
            mine[key].appendleft(item)
            assert turns.first == item
        elif step == "sift":
            _, found = turns.take_out(key, 1, 3, lambda one: one.endswith("3"))
            for one in found:
                mine[key].remove(one)
        elif turns:
            order = turns.in_turn()
            assert turns.key == order[0]
            assert turns.popleft() == mine[order[0]].popleft()
            assert turns.in_turn() == [*order[1:], *([order[0]] if mine[order[0]] else [])]
        assert len(turns) == sum(map(len, mine.values()))
        assert {one: turns.count(one) for one in mine} == {one: len(items) for one, items in mine.items()}
        assert sorted(turns) == sorted(item for items in mine.values() for item in items)


def test_long_queues_of_many_keys_stay_in_order() -> None:
    turns = _line(*[f"{key}{number:03}" for number in range(100) for key in "ab"])
    taken = _all(turns)
    assert list(islice(taken, 4)) == ["a000", "b000", "a001", "b001"]
    assert [item for item in taken if item[0] == "a"] == [f"a{number:03}" for number in range(100)]
