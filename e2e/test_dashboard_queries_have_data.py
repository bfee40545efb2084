"""Every query of a lane's dashboard and every alert has data in a real Prometheus, and moves with what it shows.

The lane promises 10 s and warns at 1 s, so that a slow ISP can be seen to raise the alert before the promise is broken.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Cluster, ClusterError
from e2e.eventually import eventually
from e2e.installation import LIVE_DOMAIN, Installation, lane, pool
from e2e.internet import addresses
from e2e.internet.internet import Internet, default_policy
from e2e.internet.policy import Policy, RecipientRule, Reply, Stage
from e2e.prometheus import Prometheus, targets, watching
from lane_api.names import LANE_LABEL
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.inputs import Lane
from lane_operator.monitoring.pod_monitor import pod_monitor
from lane_operator.monitoring.queries import Queries
from lane_operator.monitoring.rules import prometheus_rule

pytestmark = pytest.mark.cluster

NAME, SENDER = "watched", "news@watched.example.com"
PROMISE_S, WARN_S = 10.0, 1.0
SLOW_S, BROKEN_S = 2.0, 12.0  # of the ISP: over the warning, over the promise
OF_EVENTS = frozenset({"LaneStoppedByReplies", "LaneReplyNeedsLook", "LanePTRWrong"})
"""Alerts about what has no series until it happens, or where the address is shared; promtool raises them in
tests/lane_operator/monitoring."""
_LIMIT = re.compile(r"(?:[<>]=?|==) -?[\d.]+(?:e[+-]?\d+)?")


@pytest.fixture
def watched(installation: Installation) -> Installation:
    """A lane whose mail goes out at once and unsigned."""
    installation.apply(
        pool("pool", installation.namespace),
        lane(
            NAME,
            installation.namespace,
            domains=[{"name": f"{NAME}.example.com", "dkim": {"mode": "Off"}}],
            queue={"size": "1Gi", "retry": {"first": "1s", "factor": 1, "max": "2s"}},
            slo={"latency": f"{PROMISE_S:g}s", "p95Alert": f"{WARN_S:g}s"},
        ),
    )
    eventually(lambda: installation.condition(NAME, "Ready").get("status") == "True", "the lane is Ready", within=120)
    return installation


async def isp(internet: Internet, **changes: Any) -> None:
    """The ISP's ordinary policy with these changes."""
    found = Policy.model_validate(default_policy(addresses.GMAIL).model_dump() | changes)
    async with Internet(internet.place, internet.ground, internet.weights).isps as isps:
        await isps.set_policy(addresses.GMAIL.name, found)


def dashboard_queries(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Panel and line -> expression, from the ConfigMap that Grafana would read."""
    data = cluster.get("configmap", f"{NAME}-dashboard", "-n", namespace)["data"]
    (model,) = map(json.loads, data.values())
    return {
        f"{panel['title']}: {target['legendFormat']}": target["expr"]
        for panel in model["panels"]
        for target in panel["targets"]
    }


def have_data(prometheus: Prometheus, expressions: dict[str, str]) -> bool:
    """True; raises AssertionError that names the expressions that give nothing, or anything that is no number."""
    found = {name: prometheus.query(expression) for name, expression in expressions.items()}
    without = {name: values for name, values in found.items() if not values or any(map(math.isnan, values))}
    assert not without
    return True


async def test_dashboard_queries_have_data(watched: Installation, cluster: Cluster, tmp_path: Path) -> None:
    given = watched.get("sendinglane", NAME)
    spec = SendingLaneSpec.model_validate(given["spec"])
    seen = Lane(watched.namespace, NAME, given["metadata"]["uid"], 1, spec)
    (pod,) = cluster.get("pods", "-n", watched.namespace, "-l", f"{LANE_LABEL}={NAME}")["items"]
    rules = prometheus_rule(seen, {})["spec"]
    alerts = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    panels, queries = dashboard_queries(cluster, watched.namespace), Queries.of(seen)

    def submit(count: int, recipient: str = "a") -> None:
        watched.send(pod["metadata"]["name"], SENDER, f"{recipient}@{LIVE_DOMAIN}", count)

    await isp(watched.internet, recipients=[_greylisted("later-*")], round_trip_s=0.0)
    with watching(cluster.place("ctl"), tmp_path, targets([pod], pod_monitor(seen, {})), rules) as prometheus:
        # quiet: everything has data, nothing is raised
        submit(20)
        submit(1, recipient=f"later-{watched.namespace}")  # the ISP remembers whom it has greylisted
        with pytest.raises(ClusterError):
            watched.send(pod["metadata"]["name"], "someone@else.example.org", f"a@{LIVE_DOMAIN}", 1)
        submit(20)
        unlimited = {
            name: _LIMIT.sub(">= -Inf", expression) for name, expression in alerts.items() if name not in OF_EVENTS
        }
        eventually(lambda: have_data(prometheus, panels | unlimited), "every query has data", within=20)
        quiet = {name: prometheus.query(expression) for name, expression in alerts.items()}
        rate = prometheus.value(panels["Accepted and settled: accepted"])
        assert quiet == {name: [] for name in alerts}
        assert prometheus.value(queries.in_time(PROMISE_S)) == 1.0

        # a slow ISP raises the alert while the promise is still kept
        await isp(watched.internet, round_trip_s=0.0, delays={Stage.END_OF_DATA: SLOW_S})
        submit(20)
        eventually(lambda: prometheus.query(alerts["LaneLatencyP95High"]), "a slow ISP raises the alert", within=20)
        assert prometheus.value(queries.in_time(PROMISE_S)) == 1.0
        assert prometheus.value(panels["Accepted and settled: accepted"]) > rate
        eventually(lambda: prometheus.alerts()["LaneLatencyP95High"][1] != "inactive", "its rule is pending", within=10)

        # mail that stands still: the queue's panels grow and the other alert is raised, before any of it is late
        await isp(watched.internet, round_trip_s=0.0, delays={Stage.END_OF_DATA: BROKEN_S})
        submit(20)
        eventually(
            lambda: prometheus.query(alerts["LaneLatencyExpected"]), "a queue that stands still raises one", within=8
        )
        oldest = prometheus.value(panels["Oldest message: {{slot}}"])
        assert prometheus.value(queries.in_time(PROMISE_S)) == 1.0
        assert prometheus.value(panels["Queue: {{slot}}"]) >= 10
        eventually(
            lambda: prometheus.value(panels["Oldest message: {{slot}}"]) > oldest + 1, "the oldest ages", within=10
        )
        eventually(lambda: prometheus.value(queries.in_time(PROMISE_S)) < 1.0, "then the promise is broken", within=25)
        assert {health for health, _ in prometheus.alerts().values()} == {"ok"}
    await isp(watched.internet)


def _greylisted(match: str) -> dict[str, Any]:
    reply = Reply(code=450, text="4.7.1 Greylisted, try again later")
    return RecipientRule(match=match, reply=reply, times=1).model_dump()
