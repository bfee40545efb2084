"""What slots say of their addresses, put beside the record of who holds which: `with_sightings`, pure.

Comes after the allocation. They are figures: written at most as often as the settings allow, and no claim depends on
one. Invariant: a proof that is renewed, or a step that goes on, changes nothing: what is settled is not written.
"""

from collections.abc import Callable
from ipaddress import ip_address

from lane_api.ippool import AddressStatus, AddressWarmUp, IPPoolStatus
from lane_operator.inputs import Key, SlotObservation

__all__ = ["with_sightings"]

_DENIED = frozenset({"Mismatch", "Unproved", "PortBlocked"})
_Sighted = Callable[[Key, str], SlotObservation | None]


def with_sightings(status: IPPoolStatus, sighted: _Sighted) -> IPPoolStatus:
    """The status with what was seen of each address that is held; `sighted(lane, slot)` is what the slot said last."""
    seconds = {(row.lane, row.slot): row.ip for row in status.addresses if row.first}
    rows = tuple(_seen(row, seconds.get((row.lane, row.slot), ""), sighted) for row in status.addresses)
    return status if rows == status.addresses else status.model_copy(update={"addresses": rows})


def _seen(row: AddressStatus, second: str, sighted: _Sighted) -> AddressStatus:
    """What a slot that cannot be asked, or still speaks of another address, said before stays.

    Of a pair a slot tells of the one that is worse off; what is said of both stands with the first.
    """
    if not row.lane or row.released_at is not None or row.first:
        return row
    namespace, _, lane = row.lane.partition("/")
    seen = sighted((namespace, lane), row.slot)
    if seen is None or not seen.reachable:
        return row
    is_it = _is_same(row.ip, seen.proof_address)
    if not is_it and not _is_same(second, seen.proof_address):
        return row
    is_denied = is_it and seen.proof_state in _DENIED  # and mail leaves from the second all the same
    return row.model_copy(
        update={
            "verified_at": (row.verified_at or seen.proof_at) if seen.may_send and not is_denied else None,
            "warmup": _warm_up(row.warmup, seen),
        }
    )


def _warm_up(before: AddressWarmUp | None, seen: SlotObservation) -> AddressWarmUp | None:
    now = seen.warmup
    if now is None:
        return None
    stays = before is not None and (before.step, before.isp) == (now.step, now.isp)
    return before if stays else AddressWarmUp(step=now.step, isp=now.isp, since=now.since)


def _is_same(ip: str, said: str) -> bool:
    """The same address, whatever its spelling."""
    try:
        return ip_address(ip) == ip_address(said)
    except ValueError:  # it has not said one yet
        return False
