"""The children of a lane as a pure function of the specs and of the addresses assigned, never of other history."""

from lane_operator.desired.secrets import proof_secret, secret_needs
from lane_operator.desired.state import desired_state

__all__ = ["desired_state", "proof_secret", "secret_needs"]
