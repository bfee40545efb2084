"""Where a message is to leave from: here, or from a sibling slot. Pure.

Reasons, in this order: this slot is to be emptied; the ISP refuses its address, and a standby slot stands in; its
address is for other ISPs; a sibling's address is for this one; today's warm-up is used up; a standby address is to stay
warm. What came from a sibling stays, but for the first three, so that nothing goes to and fro. A slot that is to be
emptied sends on while no sibling can be reached.
Before it: `resolve`, which knows the site. After it: `giver`, or `deliver`.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from hashlib import blake2b
from typing import Final

from lane_api.relayconfig import RelayConfig, Sibling

__all__ = ["Place", "Whither", "choose"]


class Place(Enum):
    """Not a sibling."""

    HERE = 0
    NOWHERE = 1
    """It must not leave from here, and no sibling can be reached: it waits."""


Whither = Place | str
"""The name of the sibling, or a Place."""

_DRAWS: Final = 1 << 64
_MOST_IN_STANDBY: Final = 0.5
"""Part of the mail, however many the standby slots are."""


def choose(
    config: RelayConfig,
    message_id: int,
    policy: str,
    *,
    is_up: Callable[[str], bool],
    came_from_sibling: bool,
    has_budget: bool = True,
    can_send: Callable[[str], bool] = lambda _slot: True,
    is_quarantined: bool = False,
    was_tried: bool = False,
) -> Whither:
    """Where to; `policy` is that of the site, or empty. `has_budget`: today's warm-up allows another recipient.

    `can_send`: mail for this site leaves from the sibling now; what might as well wait here goes to no other.
    `is_quarantined`: the ISP refuses this slot's address. `was_tried`: the ISP has seen the message from here.
    """
    handover = config.handover
    if handover is None:
        return Place.HERE
    up = [one for one in handover.siblings if one.role != "Leaving" and is_up(one.slot)]
    general = [one for one in up if not one.isps and one.role == "Active"]
    segment = [one for one in up if policy in one.isps and one.role == "Active"] if policy else []
    if config.delivery.transfers:
        sibling = _one_of(segment or general or up, message_id)
        if sibling:
            return sibling
    if is_quarantined:
        able = [one for one in up if one.stands_in and _is_for(one, policy) and can_send(one.slot)]
        return _one_of(able, message_id) or Place.HERE
    mine = config.egress.isps
    if mine and policy not in mine:
        return _one_of(segment or general, message_id) or Place.NOWHERE
    if came_from_sibling:
        return Place.HERE
    if segment and not mine:
        return _one_of(segment, message_id) or Place.HERE
    if not has_budget:
        return _one_of([one for one in general if one.warm and can_send(one.slot)], message_id) or Place.HERE
    if was_tried:  # a greylist waits for the same address
        return Place.HERE
    chosen = _standby(config, handover.standby_share, up, policy, message_id)
    return chosen if chosen and can_send(chosen) else Place.HERE


def _standby(config: RelayConfig, share: float, up: Sequence[Sibling], policy: str, message_id: int) -> str:
    """A small part of an active slot's mail keeps each standby address known to the ISPs; empty: it stays.

    Of what must leave from an address for some ISPs only one for the same gets any.
    """
    standby = [one for one in up if one.role == "Standby" and _is_for(one, policy)]
    if config.egress.isps:
        standby = [one for one in standby if one.isps]
    part = min(share * len(standby), _MOST_IN_STANDBY)
    if not standby or config.slot.role == "Standby" or _draw(message_id, "standby") >= part * _DRAWS:
        return ""
    return _one_of(standby, message_id)


def _is_for(sibling: Sibling, policy: str) -> bool:
    """Mail for this ISP may leave from its address."""
    return not sibling.isps or policy in sibling.isps


def _one_of(siblings: Sequence[Sibling], message_id: int) -> str:
    """One of them, the same for the same message while the same are up (rendezvous hashing); empty for none."""
    if len(siblings) < 2:
        return siblings[0].slot if siblings else ""
    return max(siblings, key=lambda one: _draw(message_id, one.slot)).slot


def _draw(message_id: int, salt: str) -> int:
    """A number below 2**64 that only depends on the two."""
    return int.from_bytes(blake2b(salt.encode(), digest_size=8, key=message_id.to_bytes(12, "big")).digest(), "big")
