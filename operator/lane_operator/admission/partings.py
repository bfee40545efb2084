"""What becomes of queued mail when a lane is deleted or has fewer slots, said before it happens; pure.

Nobody is refused: mail is safe whatever is asked, by the lane's finalizer, and a delete that is refused stops a prune.
The counts are those of the lane's status, half a minute old at most.
"""

from lane_api.effective import effective
from lane_api.names import RELEASE_ANNOTATION, RELEASE_KEEP_VOLUMES, STANDBY_FROM, slot_name
from lane_api.quantities import format_duration
from lane_api.queue import DrainPolicy
from lane_operator.inputs import Lane
from lane_operator.status.figures import oldest, rounded

__all__ = ["before_delete", "before_scale_in"]


def before_delete(lane: Lane) -> str:
    """What a lane's mail has before it when the lane is deleted; empty where none is queued."""
    queued = lane.status.queued
    if not queued:
        return ""
    mail = f"lane {'/'.join(lane.key)} has about {queued} messages queued{_age(lane.status.oldest_since)}"
    keeps = "their queue volumes stay, for a lane of this name"
    if lane.annotations.get(RELEASE_ANNOTATION) == RELEASE_KEEP_VOLUMES:
        return f"{mail}: as annotated ({RELEASE_ANNOTATION}) the lane goes without sending them, and {keeps}"
    if lane.spec.drain.policy is DrainPolicy.HOLD:
        return f"{mail}: by drain.policy Hold its slots stop with them, and {keeps}"
    if lane.spec.suspend:
        return (
            f"{mail}, and is suspended: it keeps them and stays until spec.suspend is false, or drain.policy is Hold, "
            f"by which {keeps}"
        )
    to = lane.spec.drain.to
    way = (
        f"handed to {to.host} (drain.to)"
        if to is not None and lane.spec.drain.policy is DrainPolicy.TRANSFER
        else f"sent or bounced, which may take {format_duration(effective(lane.spec).lifetime_s)} (queue.lifetime)"
    )
    return f"{mail}: it takes no more, and goes once they are {way}. Its condition Draining and status.drain tell"


def before_scale_in(lane: Lane, replicas: int, standby: int) -> str:
    """What the mail of slots has before it that a lane has no more; empty where none is queued in them."""
    kept = {slot_name(lane.name, index) for index in (*range(replicas), *range(STANDBY_FROM, STANDBY_FROM + standby))}
    going = [one for one in lane.status.slots if one.name not in kept and one.queued and not one.role.is_going]
    if not going:
        return ""
    names = ", ".join(one.name for one in going)
    mail = (
        f"{names} is to go with about {rounded(sum(one.queued for one in going))} messages queued"
        f"{_age(oldest(one.oldest_since for one in going))}"
    )
    policy = lane.spec.drain.policy
    if policy is DrainPolicy.HOLD:
        return f"{mail}: by drain.policy Hold it stops with them, until replicas rise"
    if policy is DrainPolicy.TRANSFER and replicas:
        return f"{mail}: it takes no more, hands them to the lane's other slots, and goes once it has none"
    if lane.spec.suspend:
        return f"{mail}, and spec.suspend keeps them from being sent: it stays with them until that is false"
    return f"{mail}: it takes no more, and goes once they are sent or bounced"


def _age(since: str | None) -> str:
    return f", the oldest since {since}" if since else ""
