"""The children of a lane as a pure function of the specs and of the addresses assigned, never of other history."""

from lane_operator.desired.config_secret import config_name
from lane_operator.desired.heads import heads_name
from lane_operator.desired.kept import kept_hostname
from lane_operator.desired.secrets import NAMESPACE_KEY, audit_secret, feedback_secret, proof_secret, secret_needs
from lane_operator.desired.state import desired_state

__all__ = [
    "NAMESPACE_KEY",
    "audit_secret",
    "config_name",
    "desired_state",
    "feedback_secret",
    "heads_name",
    "kept_hostname",
    "proof_secret",
    "secret_needs",
]
