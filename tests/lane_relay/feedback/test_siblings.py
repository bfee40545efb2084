"""Slots of one lane copy from one another's suppression lists until they are the same."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import Suppression
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.errors import RelayError
from lane_relay.feedback.siblings import CURSOR_FIELD, MORE_FIELD, SiblingLists, ask_siblings
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppression_store import SuppressionStore
from lane_relay.feedback.suppressions import Reason, Source
from lane_relay.mail.token import Token, TokenKind


def opened(path: Path) -> SuppressionList:
    config = Suppression(path=str(path), key_file="unused")
    return SuppressionList(config, TrafficClass.BULK, b"s" * 32, SuppressionStore.open(path, 1000), SYSTEM_CLOCK)


async def complain(about: SuppressionList, *addresses: str) -> None:
    words = [about.word(about.digest(address), Reason.COMPLAINT, Source.COMPLAINT_REPORT) for address in addresses]
    await about.suppress([word for word in words if word is not None])


class Ways:
    """Reaches lists of this process as the admin port would, and counts the rows that went over."""

    def __init__(self, **lists: SuppressionList) -> None:
        self.lists = lists
        self.rows = 0
        self.away = False
        self.asks_as = "second"

    @property
    def siblings(self) -> tuple[str, ...]:
        return tuple(self.lists)

    async def fetch(self, slot: str, name: str, params: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
        if self.away:
            raise RelayError("away")
        self.lists[slot].read_by(self.asks_as, params["after"])
        rows, cursor, more = self.lists[slot].rows_after(params["after"])
        self.rows += len(rows)
        return b"".join(rows), {CURSOR_FIELD: cursor, MORE_FIELD: "true" if more else "false"}


async def test_what_one_slot_hears_all_know_and_nothing_goes_over_twice(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    ways = Ways(first=first)
    lists = SiblingLists(second, ways, tmp_path / "kept" / "siblings.json")
    await complain(first, *[f"a{number}@example.com" for number in range(30)])
    await lists.follow("first")
    assert second.rows == 30
    assert second.is_suppressed("a7@example.com", TrafficClass.BULK) == "complaint"
    await complain(first, "late@example.com")
    ways.rows = 0
    await SiblingLists(second, ways, tmp_path / "kept" / "siblings.json").follow("first")  # a restart knows its place
    assert ways.rows == 1
    assert second.is_suppressed("late@example.com", TrafficClass.BULK)


async def test_what_was_taken_back_at_one_is_taken_back_at_the_other_whoever_asks_first(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    here = SiblingLists(first, Ways(second=second), tmp_path / "a.json")
    there = SiblingLists(second, Ways(first=first), tmp_path / "b.json")
    await complain(first, "ann@example.com")
    await there.follow("first")
    assert await second.lift(second.digest("ann@example.com")) == 1
    await there.follow("first")
    await here.follow("second")
    for known in (first, second):
        assert not known.is_suppressed("ann@example.com", TrafficClass.BULK)


async def test_a_sibling_that_is_away_leaves_its_cursor_where_it_was(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    ways = Ways(first=first)
    lists = SiblingLists(second, ways, tmp_path / "siblings.json")
    await complain(first, "ann@example.com")
    ways.away = True
    with pytest.raises(RelayError):
        await lists.follow("first")
    ways.away = False
    await lists.follow("first")
    assert second.rows == 1


async def test_nonsense_from_a_sibling_is_left_out(tmp_path: Path) -> None:
    second = opened(tmp_path / "b")

    class Nonsense(Ways):
        async def fetch(self, slot: str, name: str, params: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
            return b"\xff" * 101, {MORE_FIELD: "true"}

    await SiblingLists(second, Nonsense(), tmp_path / "siblings.json").follow("first")
    assert second.rows == 0


class Asked(Ways):
    """Siblings that say where a message went, one of which is away and one talks nonsense."""

    @property
    def siblings(self) -> tuple[str, ...]:
        return ("away", "nonsense", "none", "has-it", "not-asked")

    async def fetch(self, slot: str, name: str, params: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
        assert (name, params) == ("complaint", {"message": f"{7:024x}", "index": "2", "reporter": "fbl@isp.test"})
        assert slot != "not-asked"
        if slot == "away":
            raise RelayError("away")
        return {"nonsense": b"[]", "none": b'{"site": ""}', "has-it": b'{"site": "google"}'}[slot], {}


async def test_a_complaint_finds_the_slot_that_its_mail_left_from_whoever_is_away() -> None:
    assert await ask_siblings(Asked(), Token(TokenKind.PERSON, 7, 2), "fbl@isp.test") == "google"
    assert await ask_siblings(Ways(), Token(TokenKind.PERSON, 7, 2), "fbl@isp.test") == ""


async def test_a_sibling_has_the_list_once_it_asks_for_what_comes_behind_its_end(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    lists = SiblingLists(second, Ways(first=first), tmp_path / "b.json")
    assert first.at_its_end(()) == []
    await complain(first, "ann@example.com")
    await lists.follow("first")
    assert first.at_its_end(()) == []  # it was given the word; whether it kept it, its next question says
    await lists.follow("first")
    assert first.at_its_end(()) == ["second"]
    await complain(first, "bob@example.com")
    assert first.at_its_end(()) == []
    await lists.follow("first")
    await lists.follow("first")
    assert first.at_its_end(()) == ["second"]


async def test_what_was_taken_back_is_waited_for_as_well(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    lists = SiblingLists(second, Ways(first=first), tmp_path / "b.json")
    await complain(first, "ann@example.com")
    for _ in range(2):
        await lists.follow("first")
    await first.lift(first.digest("ann@example.com"))
    assert first.at_its_end(()) == []


async def test_words_of_a_list_that_is_still_there_are_not_waited_for_and_those_of_one_that_went_are(
    tmp_path: Path,
) -> None:
    first, second, third = (opened(tmp_path / name) for name in "abc")
    lists = SiblingLists(second, Ways(first=first), tmp_path / "b.json")
    from_third = SiblingLists(first, Ways(third=third), tmp_path / "a.json")
    for _ in range(2):
        await lists.follow("first")
    await complain(third, "ann@example.com")
    await from_third.follow("third")
    assert first.at_its_end(("second", "third")) == ["second"]
    assert first.at_its_end(("second",)) == []
    await lists.follow("first")
    await lists.follow("first")
    assert first.at_its_end(("second",)) == ["second"]


async def test_after_a_restart_a_sibling_has_the_list_when_it_has_asked_again(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    await complain(first, "ann@example.com")
    for _ in range(2):
        await SiblingLists(second, Ways(first=first), tmp_path / "b.json").follow("first")
    await first.close()
    again = opened(tmp_path / "a")
    lists = SiblingLists(second, Ways(first=again), tmp_path / "b.json")
    assert again.at_its_end(()) == []
    for _ in range(2):
        await lists.follow("first")
    assert again.at_its_end(()) == ["second"]


async def test_a_sibling_that_begins_anew_has_the_list_no_more(tmp_path: Path) -> None:
    first = opened(tmp_path / "a")
    await complain(first, "ann@example.com")
    _, cursor, _ = first.rows_after("")
    first.read_by("second", cursor)
    assert first.at_its_end(()) == ["second"]
    first.read_by("second", "")
    assert first.at_its_end(()) == []
