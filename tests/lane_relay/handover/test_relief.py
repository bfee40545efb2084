"""When mail that a quarantine stops looks for its way again."""

from typing import Any

from msgspec.json import encode

from lane_api.relayconfig import HandOver
from lane_relay.handover.ability import Abilities, Ability
from lane_relay.handover.relief import Relief


class Rig:
    """A slot that some sites refuse, and what its standby slot says."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.said = Ability()
        self.up = True
        self.looks = 0
        self.abilities = Abilities(self._fetch)
        self.relief = Relief(self.abilities, lambda _slot: self.up, lambda: frozenset(self.refused), self._look)

    async def _fetch(self, _slot: str) -> bytes:
        return encode(self.said)

    def _look(self) -> None:
        self.looks += 1

    def siblings(self, **values: Any) -> None:
        spare = {"slot": "spare", "host": "spare.test", "port": 1, "role": "Standby", **values}
        self.relief.apply(HandOver.model_validate({"caFile": "/ca", "siblings": [spare]}))

    def looks_after(self) -> int:
        self.relief.look()
        return self.looks


def test_nothing_looks_again_until_somebody_stands_in() -> None:
    rig = Rig()
    rig.siblings()
    rig.refused = {"gmail"}
    assert rig.looks_after() == 0
    assert (rig.relief.is_promised, rig.relief.unrelieved()) == (False, frozenset({"gmail"}))
    rig.siblings(standsIn=True)
    assert rig.looks_after() == 1
    assert rig.looks_after() == 1, "once"
    assert (rig.relief.is_promised, rig.relief.unrelieved()) == (True, frozenset())
    assert rig.relief.is_relieved("gmail")


def test_another_site_that_refuses_looks_again() -> None:
    rig = Rig()
    rig.siblings(standsIn=True)
    assert rig.looks_after() == 0
    rig.refused = {"gmail"}
    assert rig.looks_after() == 1
    rig.refused = {"gmail", "yahoo"}
    assert rig.looks_after() == 2
    rig.refused = {"yahoo"}
    assert rig.looks_after() == 2


async def test_one_that_comes_back_or_has_room_again_looks_again() -> None:
    rig = Rig()
    rig.siblings(standsIn=True)
    rig.refused, rig.up = {"gmail"}, False
    assert rig.looks_after() == 0
    assert rig.relief.unrelieved() == {"gmail"}
    rig.up = True
    assert rig.looks_after() == 1
    rig.said = Ability(room={"gmail": 0})
    await rig.abilities.look(["spare"])
    assert rig.looks_after() == 1
    assert rig.relief.unrelieved() == {"gmail"}
    rig.said = Ability(room={"gmail": 1})
    await rig.abilities.look(["spare"])
    assert rig.looks_after() == 2


def test_what_every_site_refuses_is_about_each() -> None:
    rig = Rig()
    rig.refused = {""}
    assert rig.relief.is_quarantined("gmail")
    rig.refused = {"yahoo"}
    assert not rig.relief.is_quarantined("gmail")


async def test_a_slot_in_standby_could_stand_in_where_it_can_send() -> None:
    rig = Rig()
    rig.siblings()
    assert rig.relief.has_standby("gmail")
    rig.said = Ability(stopped=("gmail",))
    await rig.abilities.look(["spare"])
    assert not rig.relief.has_standby("gmail")
    rig.siblings(role="Active")
    assert not rig.relief.has_standby("yahoo")
