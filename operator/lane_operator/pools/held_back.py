"""After the API server's store went back: what is waited for before a pool gives an address to who does not have it.

A store that was put back from an older snapshot forgets slots that came after it. Each runs on, and proves its address,
until the kubelet of its node hears that the API server knows no such pod, and has ended it; nobody can ask for it by
name. Invariant: no address is in two slots' proof at once, so none is given anew until every node that may run such a
slot has answered for long enough, and those slots that are known were asked what they send from. Pure; before it: when
that was noticed, nodes, and what slots say. After it: `allocate`, which gives nothing new meanwhile.
"""

import datetime as dt
from collections.abc import Iterable, Mapping

from lane_api.conditions import Reason
from lane_api.names import STOP_GRACE_S
from lane_operator.inputs import NodeFacts, Refusal

__all__ = ["held_back", "unseen"]

HEARS_WITHIN_S = 60
"""Until a kubelet that reaches the API server again has listed its pods (client-go backs off for up to 30 s), and until
one that does not is no longer Ready (node-monitor-grace-period, 50 s since Kubernetes 1.32)."""
ENDED_AFTER = dt.timedelta(seconds=HEARS_WITHIN_S + STOP_GRACE_S)
ENDS_WITHIN = dt.timedelta(seconds=STOP_GRACE_S + 15)
"""Of a node that comes back later: the slots' own time, and what its kubelet needs to look at them."""
ASKED_WITHIN = dt.timedelta(minutes=5)
"""For a slot that cannot be asked what it sends from: then its own objects count."""
CLOCKS_DIFFER = dt.timedelta(minutes=1)
"""Between who renews the Lease and who says that a node does not answer."""
SHOWN = 5


def unseen(
    since: dt.datetime,
    now: dt.datetime,
    nodes: Mapping[str, NodeFacts],
    unasked: Iterable[str] = (),
    astray: Mapping[str, str] | None = None,
    unknown_since: dt.datetime | None = None,
) -> tuple[str, ...]:
    """What is waited for, in words that name the fix; empty once everybody has been seen.

    `unasked`: slots with a running pod that have not answered yet; `astray`: slot -> the address that it proves though
    its objects name another. `unknown_since`: when the newest slots may have begun that nobody knows; a node that was
    silent before has none of them: of one that fell silent later the restored store says that it was Ready, until
    somebody notices anew. None: any time. Without the right to see nodes only time tells.
    """
    found = []
    back = [at for node in nodes.values() if (at := _back_at(node)) is not None and at > since]
    ends = max([since + ENDED_AFTER, *(at + ENDS_WITHIN for at in back)])
    if now < ends:
        found.append(f"nodes end slots that are unknown now, until {ends.strftime('%Y-%m-%dT%H:%M:%SZ')}")
    silent = [
        name
        for name, node in sorted(nodes.items())
        if not node.ready and not node.out_of_service and not _was_silent(node, unknown_since)
    ]
    if silent:
        found.append(
            f"{_named('node', silent)} does not answer and may run on slots that are unknown now: once it runs nothing "
            "any more, delete the Node, or taint it node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
        )
    waited = sorted(unasked) if now < since + ASKED_WITHIN else []
    if waited:
        found.append(f"{_named('slot', waited)} has not been asked yet what it sends from")
    found += [f"slot {slot} sends from {ip}, which is not its own" for slot, ip in sorted((astray or {}).items())]
    return tuple(found)


def held_back(pool: str, missing: int, unseen: Iterable[str]) -> Refusal:
    """Why a lane that lacks addresses gets none now."""
    return Refusal(
        Reason.STORE_WENT_BACK,
        f"the API server's store was put back from an older snapshot, or may have been while no operator ran, so that "
        f"slots may run that it does not know any more: IPPool {pool} gives no address to a slot that does not have "
        f"it, and {missing} lack one, until all are seen. Waited for: {'; '.join(unseen)}",
        waiting=Reason.STORE_WENT_BACK,
    )


def _back_at(node: NodeFacts) -> dt.datetime | None:
    return _time(node.ready_since)


def _was_silent(node: NodeFacts, unknown_since: dt.datetime | None) -> bool:
    """Whether it had fallen silent before, so that no pod was given to it later."""
    since = _time(node.unready_since)
    return since is not None and unknown_since is not None and since < unknown_since - CLOCKS_DIFFER


def _time(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _named(what: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what} {', '.join(names[:SHOWN])}{more}"
