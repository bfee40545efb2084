"""The scrape of a lane's slots; lane and slot come from the pods' labels, so that the relay need not repeat them."""

from collections.abc import Mapping

from lane_api.names import LANE_LABEL, SLOT_LABEL
from lane_operator.inputs import Lane, Manifest

__all__ = ["POD_MONITOR_KIND", "pod_monitor"]

POD_MONITOR_KIND = "PodMonitor.monitoring.coreos.com"
INTERVAL = "15s"  # an alert that leads the breach by 30 s needs two looks in that time


def pod_monitor(lane: Lane, extra_labels: Mapping[str, str]) -> Manifest:
    """The PodMonitor; extra labels are those by which a Prometheus selects its monitors."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": lane.name, "labels": dict(extra_labels)},
        "spec": {
            "selector": {"matchLabels": {LANE_LABEL: lane.name}},
            "podMetricsEndpoints": [
                {
                    "port": "metrics",
                    "path": "/metrics",
                    "interval": INTERVAL,
                    "relabelings": [_label(LANE_LABEL, "lane"), _label(SLOT_LABEL, "slot")],
                }
            ],
        },
    }


def _label(pod_label: str, target: str) -> Manifest:
    source = "__meta_kubernetes_pod_label_" + "".join(char if char.isalnum() else "_" for char in pod_label)
    return {"action": "replace", "sourceLabels": [source], "targetLabel": target}
