"""A Cold lane shares no From domain with a lane of another class: its complaints would be theirs.

Where it does, the Cold lane is the one that stops, whichever came first. Two domains are shared when one is the other
or lies below it; siblings under one organizational domain are only told apart by DNS (DMARC's tree walk).
"""

from lane_api.classes import TrafficClass
from lane_api.conditions import Reason
from lane_operator.inputs import Lane, References, Refusal

__all__ = ["shared_domains"]


def shared_domains(lane: Lane, references: References) -> tuple[Refusal, ...]:
    """One refusal for each domain of a Cold lane that a lane of another class has; none for other lanes."""
    if lane.spec.traffic_class is not TrafficClass.COLD:
        return ()
    return tuple(
        Refusal(
            Reason.DOMAIN_SHARED,
            f"Cold mail from {domain.name} would spoil the reputation of lane {'/'.join(other.key)} "
            f"({other.traffic_class}, {theirs}), so this lane delivers nothing: give it a domain of its own",
            waiting=Reason.DOMAIN_SHARED,
        )
        for domain in lane.spec.domains
        for other in sorted(references.others, key=lambda one: one.key)
        if other.traffic_class != TrafficClass.COLD
        for theirs in other.domains
        if _is_shared(domain.name, theirs)
    )


def _is_shared(one: str, other: str) -> bool:
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
