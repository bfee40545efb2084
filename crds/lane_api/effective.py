"""What a lane's spec means once its traffic class has filled in what it leaves out; pure, no I/O.

The operator renders from these values and shows them in `status.effective`. What the spec gives always wins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lane_api.classes import CLASS_DEFAULTS, Protection
from lane_api.quantities import format_duration, format_size
from lane_api.sendinglane import SendingLaneSpec

__all__ = ["Effective", "effective", "figures", "in_force", "spool_bytes"]

RESERVE_SHARE = 0.05
"""Part of the volume that neither spool nor records may fill: segments are rewritten before old ones go."""
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Effective:
    """The values in force; durations in seconds, sizes in bytes."""

    lifetime_s: float
    retry_first_s: float
    retry_factor: float
    retry_max_s: float
    slo_latency_s: float | None
    p95_alert_s: float | None
    slo_objective: float
    """Percent."""
    guaranteed: bool
    """Every container of the pod has limits, and requests of the same."""
    best_effort: bool
    """No container of the pod has either."""
    resources: Mapping[str, Any]
    """Of the relay's container, as Kubernetes spells them."""
    queue_bytes: int
    spool_bytes: int
    records_bytes: int
    protection: Protection

    @property
    def qos(self) -> str:
        """Of the pod, as Kubernetes judges it."""
        return "Guaranteed" if self.guaranteed else "BestEffort" if self.best_effort else "Burstable"

    def as_status(self) -> dict[str, Any]:
        """The values as users write them, under the names of the spec."""
        shown: dict[str, Any] = {
            "protection": str(self.protection),
            "queue": {
                "lifetime": format_duration(self.lifetime_s),
                "retry": {
                    "first": format_duration(self.retry_first_s),
                    "factor": self.retry_factor,
                    "max": format_duration(self.retry_max_s),
                },
                "size": format_size(self.queue_bytes),
            },
            "audit": {"maxSize": format_size(self.records_bytes)},
            "spool": {"maxSize": format_size(self.spool_bytes)},
            "pod": {"resources": dict(self.resources), "qos": self.qos},
        }
        if self.slo_latency_s is not None:
            shown["slo"] = {"latency": format_duration(self.slo_latency_s), "objective": self.slo_objective}
        if self.p95_alert_s is not None:
            shown.setdefault("slo", {})["p95Alert"] = format_duration(self.p95_alert_s)
        return shown


def in_force(spec: SendingLaneSpec) -> dict[str, Any]:
    """Every default of a lane that decides what becomes of its mail, under the names of the spec."""
    shown = effective(spec).as_status()
    shown["limits"] = spec.limits.model_dump(mode="json", by_alias=True)
    shown["audit"]["retention"] = format_duration(spec.audit.retention)
    shown["drain"] = {"policy": str(spec.drain.policy), "deadline": format_duration(spec.drain.deadline)}
    if spec.drain.to is not None:
        shown["drain"]["to"] = spec.drain.to.host
    shown["queue"]["reclaimPolicy"] = spec.queue.reclaim_policy
    shown["outboundTLS"] = spec.outbound_tls
    shown["automation"] = spec.automation
    shown["resolver"] = {"mode": spec.resolver.mode, "trustAD": spec.resolver.validates}
    if spec.feedback is not None:
        suppression = spec.feedback.suppression
        shown["feedback"] = {
            "complaints": spec.feedback.complaints.model_dump(mode="json", by_alias=True),
            "suppression": {
                "scope": suppression.scope,
                "hardBounces": format_duration(suppression.hard_bounces),
                "maxEntries": suppression.max_entries,
            },
        }
    return shown


def effective(spec: SendingLaneSpec) -> Effective:
    """The values in force for a lane."""
    of_class = CLASS_DEFAULTS[spec.traffic_class]
    retry = spec.queue.retry
    first_s = _first_given(retry.first, min(of_class.retry_first_s, retry.max or of_class.retry_first_s))
    latency_s = _first_given(spec.slo.latency, of_class.slo_latency_s)
    return Effective(
        lifetime_s=spec.queue.lifetime if spec.queue.lifetime is not None else of_class.lifetime_s,
        retry_first_s=first_s if first_s is not None else of_class.retry_first_s,
        retry_factor=retry.factor,
        retry_max_s=retry.max if retry.max is not None else max(of_class.retry_max_s, first_s or 0.0),
        slo_latency_s=latency_s,
        p95_alert_s=_first_given(spec.slo.p95_alert, _alert_before(latency_s)),
        slo_objective=spec.slo.objective,
        guaranteed=_is_guaranteed(spec.pod.resources) if spec.pod.resources else of_class.guaranteed,
        best_effort=bool(spec.pod.resources) and not any(spec.pod.resources.values()),
        resources=spec.pod.resources or figures(of_class.cpu, of_class.memory, guaranteed=of_class.guaranteed),
        queue_bytes=spec.queue.size,
        spool_bytes=spool_bytes(spec.queue.size, spec.audit.max_size),
        records_bytes=spec.audit.max_size,
        protection=spec.protection or of_class.protection,
    )


def spool_bytes(queue_bytes: int, records_bytes: int) -> int:
    """What the records and the reserve leave of a volume, in whole MiB, so that status prints it short."""
    left = queue_bytes - records_bytes - int(queue_bytes * RESERVE_SHARE)
    return max(left // MIB * MIB, MIB)


def figures(cpu: str, memory: str, *, guaranteed: bool) -> dict[str, Any]:
    """Guaranteed QoS needs limits equal to requests in every container; others may use what is idle."""
    requests = {"cpu": cpu, "memory": memory}
    return {"requests": requests, "limits": dict(requests)} if guaranteed else {"requests": requests}


def _is_guaranteed(resources: dict[str, Any]) -> bool:
    """Whether the relay's own resources make for Guaranteed; what is spelled in two ways is taken for two values.

    Source: Kubernetes, Pod Quality of Service Classes. A request that is left out is the limit.
    """
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    return all(
        name in limits and str(requests.get(name, limits[name])) == str(limits[name]) for name in ("cpu", "memory")
    )


def _alert_before(latency_s: float | None) -> float | None:
    """A third of the promise, as in the classes' own pairs (20 s of 60 s, 10 m of 30 m)."""
    return None if latency_s is None else round(latency_s / 3, 3)


def _first_given(given: float | None, default: float | None) -> float | None:
    return default if given is None else given
