"""The account of a lane's pods: it has no token, since a relay asks the Kubernetes API nothing."""

from lane_operator.inputs import Lane, Manifest

__all__ = ["account_name", "service_account"]


def account_name(lane: Lane) -> str:
    """Its name; not the lane's alone, since every namespace has an account `default`."""
    return f"{lane.name}-relay"


def service_account(lane: Lane) -> Manifest:
    """The account."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account_name(lane)},
        "automountServiceAccountToken": False,
    }
