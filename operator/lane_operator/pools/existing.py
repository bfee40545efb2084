"""Claims read back from what there is of a lane's slots: for a slot that runs though nobody can assign to it now.

Its pool is gone, broken, or does not know it any more. The slot goes on with the address that it has, and must be
visited, drained and reported like any other; pure. Comes beside the allocation and never against it.
"""

from collections.abc import Iterable, Mapping

from lane_api.ippool import PoolAddress
from lane_api.lane_status import SlotRole
from lane_api.names import STANDBY_FROM, slot_index
from lane_api.queue import DrainPolicy
from lane_operator.inputs import Claim, Lane, Manifest
from lane_operator.marks import address_of, pool_key, slot_of
from lane_operator.pools.ports import port_block_of

__all__ = ["claims_of_existing"]


def claims_of_existing(
    lane: Lane, workloads: Iterable[Manifest], hostnames: Mapping[str, str], claims: Iterable[Claim] = ()
) -> tuple[Claim, ...]:
    """The lane's claims by slot index: those given, and one for each other slot that has a workload.

    `hostnames`: slot -> the HELO name that it has, as far as its configuration can be read.
    """
    found = {claim.slot_name: claim for claim in claims}
    for workload in workloads:
        slot = slot_of(workload)
        index = slot_index(lane.name, slot)
        if slot not in found and index is not None:
            found[slot] = _claim(lane, slot, index, workload, hostnames.get(slot, ""))
    return tuple(sorted(found.values(), key=lambda claim: claim.slot_index))


def _claim(lane: Lane, slot: str, index: int, workload: Manifest, hostname: str) -> Claim:
    ip = address_of(workload)
    going = SlotRole.HELD if lane.spec.drain.policy is DrainPolicy.HOLD else SlotRole.DRAINING
    role, last = SlotRole.ACTIVE, lane.spec.replicas
    if index >= STANDBY_FROM:
        role, last = SlotRole.STANDBY, STANDBY_FROM + lane.spec.standby_replicas
    serves = index < last and lane.deleting_since is None
    return Claim(
        slot_index=index,
        slot_name=slot,
        # as it was validated when it was assigned; here it is only told, and never makes another address
        address=PoolAddress.model_construct(ip=ip, hostname=hostname) if ip else None,
        role=role if serves else going,
        port_block=port_block_of(workload),
        pool=pool_key(workload) or lane.pool_key,
        found=True,
    )
