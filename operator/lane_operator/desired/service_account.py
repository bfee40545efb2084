"""The account of a lane's pods: it has no token, since a relay asks the Kubernetes API nothing."""

from lane_operator.inputs import Lane, Manifest

__all__ = ["service_account"]


def service_account(lane: Lane) -> Manifest:
    """The account."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": lane.name},
        "automountServiceAccountToken": False,
    }
