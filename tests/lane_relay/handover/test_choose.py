"""Where a message leaves from."""

from collections import Counter
from typing import Any

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.handover.choose import Place, Whither, choose


def config(state: str = "Running", isps: tuple[str, ...] = (), role: str = "Active", **siblings: Any) -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out.test", "role": role},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "egress": {"isps": isps},
            "delivery": {"state": state},
            "handover": {
                "caFile": "/ca",
                "siblings": [
                    {"slot": name, "host": f"{name}.test", "port": 1, **values} for name, values in siblings.items()
                ],
            },
        }
    )


def whither(of: RelayConfig, policy: str = "", number: int = 1, *, down: str = "", **more: Any) -> Whither:
    return choose(of, number << 48, policy, is_up=lambda slot: slot != down, came_from_sibling=False, **more)


def spread(of: RelayConfig, policy: str = "", count: int = 3000, **more: Any) -> Counter[Whither]:
    return Counter(whither(of, policy, number, **more) for number in range(count))


def test_a_slot_without_siblings_sends_all_itself() -> None:
    assert whither(config()) is Place.HERE
    alone = config().model_copy(update={"handover": None})
    assert whither(alone) is Place.HERE


def test_a_slot_that_is_emptied_gives_all_to_those_that_are_up() -> None:
    of = config("Transferring", one={}, two={})
    found = spread(of)
    assert set(found) == {"one", "two"}
    assert min(found.values()) > 1000
    assert set(spread(of, down="one")) == {"two"}
    assert whither(config("Transferring", one={}), down="one") is Place.HERE, "its own address is as good as before"
    assert whither(config("Transferring", spare={"role": "Standby"})) == "spare"


def test_a_slot_that_leaves_itself_is_given_nothing() -> None:
    assert whither(config("Transferring", one={"role": "Leaving"})) is Place.HERE
    assert whither(config("Transferring", one={"role": "Leaving"}, two={})) == "two"


def test_an_address_for_some_isps_sends_their_mail_and_no_other() -> None:
    of = config(isps=("gmail",), one={}, yahoo={"isps": ["yahoo"]})
    assert whither(of, "gmail") is Place.HERE
    assert whither(of, "yahoo") == "yahoo"
    assert whither(of, "other") == "one"
    assert whither(of, "") == "one"
    assert whither(of, "", down="one") is Place.NOWHERE


def test_an_isp_s_mail_goes_to_the_address_that_is_for_it_and_stays_while_that_is_down() -> None:
    of = config(gmail={"isps": ["gmail"]}, one={})
    assert whither(of, "gmail") == "gmail"
    assert whither(of, "gmail", down="gmail") is Place.HERE
    assert whither(of, "yahoo") is Place.HERE


def test_mail_beyond_today_s_warm_up_goes_to_a_sibling_at_once() -> None:
    of = config(one={})
    assert whither(of, has_budget=False) == "one"
    assert whither(of, has_budget=False, down="one") is Place.HERE
    both = config(one={"warm": False}, two={})
    assert set(spread(both, has_budget=False)) == {"two"}
    assert whither(config(one={"warm": False}), has_budget=False) is Place.HERE  # it waits there as well as here


def test_mail_beyond_the_warm_up_goes_to_a_sibling_that_can_send_it_or_waits() -> None:
    of = config(one={}, two={})
    assert set(spread(of, has_budget=False, can_send=lambda slot: slot != "one")) == {"two"}
    assert set(spread(of, has_budget=False, can_send=lambda _slot: False)) == {Place.HERE}
    spare = config(spare={"role": "Standby"})
    assert set(spread(spare, can_send=lambda _slot: False)) == {Place.HERE}
    assert whither(config("Transferring", one={}), can_send=lambda _slot: False) == "one"


def test_a_standby_slot_gets_its_share_and_gives_none_away() -> None:
    of = config(spare={"role": "Standby"})
    assert 30 < spread(of)["spare"] < 180  # 3 % of 3000
    both = spread(config(spare={"role": "Standby"}, other={"role": "Standby"}))
    assert all(30 < both[slot] < 180 for slot in ("spare", "other")), "3 % each: with less an ISP forgets an address"
    assert set(spread(config(role="Standby", one={}, spare={"role": "Standby"}))) == {Place.HERE}


@pytest.mark.parametrize("policy", ["", "gmail"])
def test_what_came_from_a_sibling_goes_on_only_where_it_must(policy: str) -> None:
    def again(of: RelayConfig) -> Whither:
        return choose(of, 1 << 48, policy, is_up=lambda _slot: True, came_from_sibling=True, has_budget=False)

    assert again(config(one={}, gmail={"isps": ["gmail"]}, spare={"role": "Standby"})) is Place.HERE
    assert again(config("Transferring", one={})) == "one"
    assert again(config(isps=("yahoo",), one={})) == "one"


def test_a_message_goes_to_the_same_sibling_again_while_that_is_up() -> None:
    of = config("Transferring", one={}, two={}, three={})
    first = [whither(of, number=number) for number in range(100)]
    assert [whither(of, number=number) for number in range(100)] == first
    moved = [whither(of, number=number, down="two") for number in range(100)]
    assert all(now == before for before, now in zip(first, moved, strict=True) if before != "two")


def test_a_standby_slot_s_part_is_the_same_of_each_isp_and_the_same_again() -> None:
    of = config(spare={"role": "Standby"})
    chosen = [number for number in range(3000) if whither(of, "gmail", number) == "spare"]
    assert 30 < len(chosen) < 180
    assert [number for number in range(3000) if whither(of, "yahoo", number) == "spare"] == chosen


def test_a_standby_slot_gets_nothing_that_was_tried_here() -> None:
    assert set(spread(config(spare={"role": "Standby"}), was_tried=True)) == {Place.HERE}


def test_a_standby_slot_gets_nothing_that_must_leave_from_an_address_for_some_isps_but_one_for_the_same() -> None:
    gmail = {"isps": ["gmail"]}
    segmented = config(isps=("gmail",), one={}, spare={"role": "Standby"}, like={"role": "Standby", **gmail})
    assert set(spread(segmented, "gmail")) == {Place.HERE, "like"}
    assert set(spread(config(seg=gmail, spare={"role": "Standby"}), "gmail")) == {"seg"}
    of = config(like={"role": "Standby", **gmail})
    assert set(spread(of, "gmail")) == {Place.HERE, "like"}, "its part, and not all of the ISP's mail"
    assert set(spread(of, "yahoo")) == {Place.HERE}


STANDS_IN = {"role": "Standby", "standsIn": True}


def test_what_an_isp_refuses_from_here_goes_to_the_slot_that_stands_in() -> None:
    of = config(one={}, spare=STANDS_IN, idle={"role": "Standby"})
    assert set(spread(of, "gmail", is_quarantined=True, was_tried=True)) == {"spare"}
    assert "spare" not in {whither(of, "yahoo", number, was_tried=True) for number in range(300)}
    assert set(spread(of, "gmail", is_quarantined=True, can_send=lambda slot: slot != "spare")) == {Place.HERE}
    assert whither(of, "gmail", is_quarantined=True, down="spare") is Place.HERE
    assert whither(config(one={}), "gmail", is_quarantined=True) is Place.HERE, "nobody is named"
    others = config(spare={**STANDS_IN, "isps": ["yahoo"]})
    assert whither(others, "gmail", is_quarantined=True) is Place.HERE


def test_what_came_from_a_sibling_goes_on_to_a_stand_in_too() -> None:
    of = config(spare=STANDS_IN)
    taken = {"is_up": lambda _slot: True, "came_from_sibling": True}
    assert choose(of, 1 << 48, "gmail", is_quarantined=True, **taken) == "spare"  # type: ignore[arg-type]
