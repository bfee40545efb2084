"""External: somebody else steers what the slot's pod sends, by its label or annotations; the proof decides.

The relay binds nothing. The pod carries `lanewright.dev/slot: SLOT` from its beginning, which egress gateways select by
(docs/egress.md), and the annotations that the pool asks for, with the slot's own values in them.
"""

from lane_operator.egress.claims import BY_PROOF, NOTICED_LATE, ONE_FAMILY, EngineClaim, Limits, SlotClaim, addressless
from lane_operator.inputs import Refusal

__all__ = ["LIMITS", "claim"]

LIMITS = Limits(
    source_check=BY_PROOF,
    leaks_at_start=True,
    texts=(
        "whether the slot's traffic leaves from its address is your network's doing: until it does the slot waits",
        NOTICED_LATE,
        "in the first seconds of a pod most networks let it out from its node's address: the proof waits for its own",
        ONE_FAMILY,
    ),
)


def claim(slot: SlotClaim) -> EngineClaim | Refusal:
    """Annotations, where the pool asks for some."""
    if slot.address is None:
        return addressless(slot)
    second = slot.address.second
    own = {"{ip}": slot.address.ip, "{slot}": slot.slot, "{namespace}": slot.namespace}
    if second is not None:
        own["{second}"] = second.ip
    return EngineClaim(
        annotations={
            one.name: _filled(one.value, own)
            for one in slot.config.pod_annotations
            if second is not None or "{second}" not in one.value  # not to be had yet: what steers half of it does harm
        }
    )


def _filled(text: str, own: dict[str, str]) -> str:
    for place, value in own.items():
        text = text.replace(place, value)
    return text
