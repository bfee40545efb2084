"""What watches a lane: its scrape, its alerts and its dashboard; pure builders, left out where the kind is absent."""

from collections.abc import Callable, Mapping
from functools import partial

from lane_operator.inputs import Lane, Manifest
from lane_operator.monitoring.dashboard import dashboard
from lane_operator.monitoring.pod_monitor import POD_MONITOR_KIND, pod_monitor
from lane_operator.monitoring.rules import RULE_KIND, prometheus_rule
from lane_operator.monitoring.runbook import RUNBOOK

__all__ = ["monitoring_children", "prometheus_rule"]


def monitoring_children(
    lane: Lane,
    kinds: frozenset[str],
    extra_labels: Mapping[str, str],
    runbook: str = RUNBOOK,
    withheld: frozenset[str] = frozenset(),
) -> tuple[tuple[Manifest, ...], tuple[str, ...]]:
    """The objects that the lane asks for, and the kinds of those that it does not get.

    Where an installation is to have none (`withheld`), a lane misses only what it asks for by itself.
    """
    asked = lane.spec.monitoring
    wanted: tuple[tuple[bool, str, Callable[[Lane, Mapping[str, str]], Manifest]], ...] = (
        (asked.pod_monitor, POD_MONITOR_KIND, pod_monitor),
        (asked.rules, RULE_KIND, partial(prometheus_rule, runbook=runbook)),
    )
    made = [build(lane, extra_labels) for asked_for, kind, build in wanted if asked_for and kind in kinds]
    if asked.dashboard:
        made.append(dashboard(lane))
    own = {POD_MONITOR_KIND: "pod_monitor", RULE_KIND: "rules"}
    lacking = (kind for asked_for, kind, _ in wanted if asked_for and kind not in kinds)
    return tuple(made), tuple(kind for kind in lacking if kind not in withheld or own[kind] in asked.model_fields_set)
