"""What a cluster looked like when a test on it failed: said with the failure, because the cluster is gone afterwards.

Invariant: it only reads, answers within seconds, and never hides the failure by one of its own. Before: `e2e.cluster`.
After: `conftest`, which adds it to the report of a test that failed.
"""

import json
from collections.abc import Callable
from typing import Any

from e2e.cluster import Cluster, ClusterError
from e2e.release import OPERATOR_NAMESPACE, RELEASE

_LINES = 60
_BYTES = 6000


def aftermath(cluster: Cluster, namespace: str) -> str:
    """What the namespace's lanes, slots, pods and events say, and the last words of operator and relays."""
    said = (
        ("lanes", lambda: _lanes(cluster, namespace)),
        ("objects", lambda: cluster.kubectl("get", "sts,pods,pvc", "-n", namespace, "-o", "wide")),
        ("events", lambda: cluster.kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp")),
        ("operator", lambda: _log(cluster, OPERATOR_NAMESPACE, f"app.kubernetes.io/name={RELEASE}")),
        ("relays", lambda: _log(cluster, namespace, "app.kubernetes.io/name=lane-relay")),
    )
    return "\n".join(f"--- {name}\n{_tail(_said(look))}" for name, look in said)


def _said(look: Callable[[], str]) -> str:
    try:
        return look()
    except ClusterError as error:
        return f"not known: {error}"


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_LINES:])[-_BYTES:]


def _lanes(cluster: Cluster, namespace: str) -> str:
    lanes: list[dict[str, Any]] = cluster.get("sendinglanes", "-n", namespace)["items"]
    kept = ("deletionTimestamp", "generation", "finalizers", "annotations")
    return "\n".join(
        json.dumps({
            "name": one["metadata"]["name"],
            **{key: one["metadata"][key] for key in kept if key in one["metadata"]},
            "status": one.get("status"),
        })
        for one in lanes
    )  # fmt: skip


def _log(cluster: Cluster, namespace: str, selector: str) -> str:
    every = ("--all-containers", "--prefix", f"--tail={_LINES}", "--ignore-errors")
    return cluster.kubectl("logs", "-n", namespace, "-l", selector, *every)
