"""The children of a lane as a pure function of the specs and of the addresses assigned, never of other history."""

from lane_operator.desired.cold import cold_conflicts
from lane_operator.desired.config_secret import RELAY_FILE, config_name, file_of
from lane_operator.desired.disruption_budget import disruption_budget
from lane_operator.desired.dns_endpoint import unpublishable
from lane_operator.desired.growth import refused_growth
from lane_operator.desired.heads import heads_name
from lane_operator.desired.kept import kept_hostname
from lane_operator.desired.policies import unknown_isps
from lane_operator.desired.secrets import (
    BOUNCE_KEY,
    NAMESPACE_KEY,
    audit_secret,
    feedback_secret,
    proof_secret,
    proxy_secret,
    secret_needs,
)
from lane_operator.desired.stamp import child
from lane_operator.desired.state import desired_state

__all__ = [
    "BOUNCE_KEY",
    "NAMESPACE_KEY",
    "RELAY_FILE",
    "audit_secret",
    "child",
    "cold_conflicts",
    "config_name",
    "desired_state",
    "disruption_budget",
    "feedback_secret",
    "file_of",
    "heads_name",
    "kept_hostname",
    "proof_secret",
    "proxy_secret",
    "refused_growth",
    "secret_needs",
    "unknown_isps",
    "unpublishable",
]
