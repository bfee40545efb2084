"""What siblings say that they can send."""

import pytest
from msgspec.json import encode

from lane_relay.errors import RelayError
from lane_relay.handover.ability import Abilities, Ability


@pytest.mark.parametrize(
    ("said", "gmail", "gmx"),
    [
        (Ability(), True, True),
        (Ability(sends=False), False, False),
        (Ability(stopped=("gmail",)), False, True),
        (Ability(stopped=("",)), False, False),
    ],
)
async def test_a_sibling_can_send_what_it_says(said: Ability, gmail: bool, gmx: bool) -> None:
    async def fetch(_slot: str) -> bytes:
        return encode(said)

    abilities = Abilities(fetch)
    assert abilities.can_send("b", "gmail"), "not asked yet"
    await abilities.look(["b"])
    assert [abilities.can_send("b", site) for site in ("gmail", "gmx")] == [gmail, gmx]


async def test_one_that_says_nothing_or_nonsense_is_taken_as_able() -> None:
    answers = [encode(Ability(sends=False)), b"{", encode(Ability(sends=False)), None]

    async def fetch(_slot: str) -> bytes:
        answer = answers.pop(0)
        if answer is None:
            raise RelayError("404")
        return answer

    abilities = Abilities(fetch)
    found = []
    while answers:
        await abilities.look(["b"])
        found.append(abilities.can_send("b", "gmail"))
    assert found == [False, True, False, True]


async def test_a_sibling_that_warms_up_gets_no_more_than_it_has_room_for() -> None:
    async def fetch(_slot: str) -> bytes:
        return encode(Ability(room={"gmail": 2, "other": 0}))

    abilities = Abilities(fetch)
    abilities.gave("b", "gmail")  # not asked yet: nothing is known
    await abilities.look(["b"])
    found = []
    for _ in range(3):
        found.append(abilities.can_send("b", "gmail", "gmail"))
        abilities.gave("b", "gmail")
    assert found == [True, True, False]
    assert abilities.can_send("b", "yahoo", "yahoo"), "warm there"
    assert not abilities.can_send("b", "mx.isp.test", ""), "without a policy"
    await abilities.look(["b"])
    assert abilities.can_send("b", "gmail", "gmail"), "asked again"
    abilities.gave("b", "gmail", recipients=2)
    assert not abilities.can_send("b", "gmail", "gmail"), "one message for two"
