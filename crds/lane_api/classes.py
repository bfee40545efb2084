"""Traffic classes and what each fills in where a lane gives nothing (design: table "Defaults by class")."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CLASS_DEFAULTS", "ClassDefaults", "Protection", "TrafficClass"]


class TrafficClass(StrEnum):
    """What a lane carries; lanes of different classes never share a pool that does not name both."""

    TRANSACTIONAL = "Transactional"
    """Somebody waits for it, such as a one-time password."""
    NOTIFICATION = "Notification"
    """Expected within half an hour, such as an alert or a receipt."""
    BULK = "Bulk"
    """Nobody waits for it, such as a newsletter: no latency is promised."""
    COLD = "Cold"
    """To people who do not expect it: it shares no pool, and no From domain, with another class."""


class Protection(StrEnum):
    """What the relay may do to the lane by itself when an ISP refuses it."""

    NEVER_PAUSE = "NeverPause"
    """Nothing is stopped: what a reply rule would suspend is slowed down, and an alert says so."""
    PAUSABLE = "Pausable"
    """Reply rules act as they say; a Notification lane is stopped for one ISP at most, never as a whole."""
    CONSERVATIVE = "Conservative"
    """At the first sign: triggers are not waited for, and a reply about spam stops what others would slow down."""


@dataclass(frozen=True, slots=True)
class ClassDefaults:
    """Defaults of one class; durations in seconds."""

    lifetime_s: float
    retry_first_s: float
    retry_max_s: float
    slo_latency_s: float | None
    p95_alert_s: float | None
    guaranteed: bool
    """Requests equal limits, in figures, so that the pod is of Guaranteed QoS."""
    cpu: str
    memory: str
    protection: Protection = Protection.PAUSABLE


_MINUTE, _HOUR = 60.0, 3600.0

CLASS_DEFAULTS: dict[TrafficClass, ClassDefaults] = {
    TrafficClass.TRANSACTIONAL: ClassDefaults(
        4 * _HOUR, 30, 15 * _MINUTE, 60, 20, True, "500m", "512Mi", Protection.NEVER_PAUSE
    ),
    TrafficClass.NOTIFICATION: ClassDefaults(
        24 * _HOUR, _MINUTE, 30 * _MINUTE, 30 * _MINUTE, 10 * _MINUTE, False, "100m", "256Mi"
    ),
    TrafficClass.BULK: ClassDefaults(72 * _HOUR, 15 * _MINUTE, 4 * _HOUR, None, None, False, "100m", "256Mi"),
    TrafficClass.COLD: ClassDefaults(
        48 * _HOUR, 30 * _MINUTE, 8 * _HOUR, None, None, False, "50m", "128Mi", Protection.CONSERVATIVE
    ),
}
