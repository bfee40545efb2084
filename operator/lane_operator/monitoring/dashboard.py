"""The dashboard of one lane, as a ConfigMap that Grafana's sidecar picks up.

Plain dictionaries in the model of Grafana 11 (schemaVersion 41). Panels stand in rows of two or three, in reading
order: is mail late, does it flow, what do the ISPs do, is the address proved.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from lane_api.effective import effective
from lane_operator.inputs import Lane, Manifest
from lane_operator.monitoring.queries import Queries

__all__ = ["dashboard"]

SCHEMA_VERSION = 41
WIDTH, HEIGHT = 24, 8  # Grafana's grid has 24 columns
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class _Panel:
    """One graph: its queries, each with the name of its line."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    description: str = ""
    threshold: float | None = None


def dashboard(lane: Lane) -> Manifest:
    """The ConfigMap."""
    model = {
        "uid": hashlib.sha256(f"{lane.namespace}/{lane.name}".encode()).hexdigest()[:20],
        "title": f"Lane {lane.namespace}/{lane.name}",
        "tags": ["lanewright", lane.spec.traffic_class.value],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": list(_placed(_rows(lane))),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{lane.name}-dashboard", "labels": {"grafana_dashboard": "1"}},
        "data": {f"lane-{lane.namespace}-{lane.name}.json": json.dumps(model, sort_keys=True)},
    }


def _rows(lane: Lane) -> Iterable[tuple[_Panel, ...]]:
    queries, values = Queries.of(lane), effective(lane.spec)
    yield _lateness(queries, values.p95_alert_s)
    yield _flow(queries)
    yield _isps(queries)
    yield _slots(queries)
    if values.slo_latency_s is not None:
        share = ("share", queries.in_time(values.slo_latency_s))
        title = f"Delivered within {values.slo_latency_s:g} s"
        yield (_Panel(title, "percentunit", (share,), "The share that kept the lane's promise."),)


def _lateness(queries: Queries, alert_s: float | None) -> tuple[_Panel, ...]:
    oldest = f"max by (slot) ({queries.metric('oldest_undelivered_age_seconds')})"
    latency = tuple((f"p{round(quantile * 100)}", queries.latency(quantile)) for quantile in (0.5, 0.95, 0.99))
    return (
        _Panel(
            "Oldest message",
            "s",
            (("{{slot}}", oldest),),
            "Age of the oldest message that waits. The first figure to look at when mail is late.",
        ),
        _Panel("Queue", "short", (("{{slot}}", f"sum by (slot) ({queries.metric('queue_messages')})"),)),
        _Panel(
            "Latency",
            "s",
            latency,
            "From acceptance to the receiver's 250. Mail that is not delivered yet is not in it.",
            alert_s,
        ),
        _Panel(
            "p99 by ISP",
            "s",
            (("{{policy}}", queries.latency_by_isp(0.99)),),
            "Which ISP is slow, where the lane is: a policy's name, or other for destinations without one.",
            alert_s,
        ),
    )


def _flow(queries: Queries) -> tuple[_Panel, ...]:
    accepted = f"sum(rate({queries.metric('accepted_messages_total')}[5m]))"
    return (
        _Panel(
            "Accepted and settled",
            "cps",
            (("accepted", accepted), ("{{result}}", queries.rate("attempts_total", "result"))),
            "Messages a second taken in; recipients a second delivered, deferred, bounced and expired.",
        ),
        _Panel("Refused at intake", "cps", (("{{reason}}", queries.rate("intake_refused_total", "reason")),)),
    )


def _isps(queries: Queries) -> tuple[_Panel, ...]:
    delivered = queries.rate("attempts_total", "policy", 'result="delivered"')
    deferred = queries.rate("attempts_total", "policy", 'result="deferred"')
    failed = queries.rate("failures_total", "policy, category")
    slowed = f"sum by (policy) ({queries.metric('sites_backing_off')})"
    connections = f"sum by (policy) ({queries.metric('connections')})"
    return (
        _Panel("Connections by ISP", "short", (("{{policy}}", connections),)),
        _Panel("Delivered by ISP", "cps", (("{{policy}}", delivered),)),
        _Panel("Deferred by ISP", "cps", (("{{policy}}", deferred), ("{{policy}} sites slowed down", slowed))),
        _Panel(
            "Not delivered, by reason",
            "cps",
            (("{{policy}} {{category}}", failed),),
            "Recipients a second deferred, bounced and expired, by ISP and the category of the reply.",
        ),
    )


def _slots(queries: Queries) -> tuple[_Panel, ...]:
    proof = f"max by (slot, state) ({queries.metric('egress_proof')}) > 0"
    used = f"max by (slot) ({queries.metric('spool_bytes')} / {queries.metric('spool_budget_bytes')})"
    return (
        _Panel(
            "Egress proof",
            "short",
            (("{{slot}} {{state}}", proof),),
            "The state that each slot's proof is in; a slot that is not proved sends nothing.",
        ),
        _Panel(
            "Spool",
            "percentunit",
            (("{{slot}}", used),),
            "Share of the spool's budget in use; intake answers 452 at 100 %.",
            1.0,
        ),
    )


def _placed(rows: Iterable[tuple[_Panel, ...]]) -> Iterable[Manifest]:
    number = 0
    for line, row in enumerate(rows):
        width = WIDTH // len(row)
        for column, panel in enumerate(row):
            number += 1
            place = {"x": column * width, "y": line * HEIGHT, "w": width, "h": HEIGHT}
            yield _panel(number, panel, place)


def _panel(number: int, panel: _Panel, place: Manifest) -> Manifest:
    defaults: Manifest = {"unit": panel.unit, "min": 0}
    if panel.threshold is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.threshold}]
        defaults |= {
            "thresholds": {"mode": "absolute", "steps": steps},
            "custom": {"thresholdsStyle": {"mode": "line"}},
        }
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(panel.queries)
        ],
    }
