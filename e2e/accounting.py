"""Whether every relay can say what became of each recipient: accepted = finished + queued, read from its metrics.

Before: `cluster`. After: `installation`, which asks at the end of every test.
"""

import re
from typing import Any

from e2e.cluster import Cluster

_SLOT_LABEL = "lanewright.dev/slot"
_UNACCOUNTED = re.compile(r"^lane_relay_recipients_unaccounted (\S+)$", re.MULTILINE)
_READ = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=10).read().decode())"


def unaccounted(cluster: Cluster, namespace: str) -> dict[str, float]:
    """Slots that miss recipients, or have too many, and how many; those whose relay does not run are not asked."""
    found = {}
    for pod in cluster.get("pods", "-n", namespace, "-l", _SLOT_LABEL)["items"]:
        text = _metrics(cluster, pod) if _is_ready(pod) else ""
        matched = _UNACCOUNTED.search(text)
        if text and (matched is None or float(matched[1])):
            found[pod["metadata"]["name"]] = float(matched[1]) if matched else float("nan")
    return found


def figure(cluster: Cluster, pod: dict[str, Any], name: str) -> float:
    """One unlabelled metric of a relay as of now; raises LookupError where its exposition has none of that name."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", _metrics(cluster, pod), re.MULTILINE)
    if found is None:
        raise LookupError(f"{pod['metadata']['name']} has no {name}")
    return float(found[1])


def _is_ready(pod: dict[str, Any]) -> bool:
    states = pod["status"].get("containerStatuses", ())
    ready = any(one["name"] == "relay" and one["ready"] for one in states)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _metrics(cluster: Cluster, pod: dict[str, Any]) -> str:
    """The exposition; empty where the pod has gone meanwhile."""
    ports = (port for one in pod["spec"]["containers"] for port in one.get("ports", ()))
    port = next(one["containerPort"] for one in ports if one.get("name") == "metrics")
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    url = f"http://{pod['status']['podIP']}:{port}/metrics"
    return cluster.kubectl(
        "exec", name, "-n", namespace, "-c", "relay", "--", "python3", "-c", _READ, url, check=False
    )  # fmt: skip
