"""A Cold lane shares no organizational domain and no address with another class: its complaints would be theirs.

Counted is everything that a recipient's ISP sees on the mail: From, return path, the host of unsubscribe links, and
where the connection comes from. Where it shares one, the Cold lane is the one that stops, whichever came first.
"""

from lane_api.classes import TrafficClass
from lane_api.conditions import Reason
from lane_api.ippool import Engine
from lane_operator.inputs import Lane, LaneDomains, References, Refusal
from lane_operator.organizations import organization_of, seen_domains

__all__ = ["cold_conflicts"]


def cold_conflicts(lane: Lane, references: References) -> tuple[Refusal, ...]:
    """Why a Cold lane delivers nothing; empty for every other."""
    if lane.spec.traffic_class is not TrafficClass.COLD:
        return ()
    return (*_shared_address(references), *_shared_domains(lane, references))


def _shared_address(references: References) -> tuple[Refusal, ...]:
    """A pool that was there before the API server refused it: all that the cluster sends leaves from its address."""
    pool = references.pool
    if pool is None or pool.spec.engine is not Engine.CLUSTER_DEFAULT:
        return ()
    message = (
        f"IPPool {'/'.join(pool.key)} has engine ClusterDefault, so Cold mail would leave from the address of all "
        "other lanes and spoil it; so this lane delivers nothing: make the lane with a pool of another engine"
    )
    return (Refusal(Reason.CLASS_MISMATCH, message, waiting=Reason.CLASS_MISMATCH),)


def _shared_domains(lane: Lane, references: References) -> tuple[Refusal, ...]:
    """One refusal for each domain whose organization a lane of another class has."""
    if not references.others:
        return ()
    theirs: dict[str, list[tuple[LaneDomains, str]]] = {}
    for other in sorted(references.others, key=lambda one: one.key):
        if other.traffic_class != TrafficClass.COLD:
            for domain in other.seen or other.domains:
                theirs.setdefault(organization_of(domain), []).append((other, domain))
    own = seen_domains(lane.spec.model_dump(mode="json", by_alias=True, include={"domains", "feedback"}))
    return tuple(
        _refusal(domain, organization_of(domain), theirs[organization_of(domain)])
        for domain in own
        if organization_of(domain) in theirs
    )


def _refusal(domain: str, organization: str, theirs: list[tuple[LaneDomains, str]]) -> Refusal:
    first, seen = theirs[0]
    others = len({other.key for other, _ in theirs}) - 1
    return Refusal(
        Reason.DOMAIN_SHARED,
        f"Cold mail from {domain} would spoil the reputation of lane {'/'.join(first.key)} "
        f"({first.traffic_class}, {seen})"
        + (f" and of {others} more" if others else "")
        + f", since ISPs judge all of {organization} together; so this lane delivers nothing: give it a domain of its "
        "own, under another organizational domain",
        waiting=Reason.DOMAIN_SHARED,
    )
