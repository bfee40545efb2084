"""A real Kubernetes for end-to-end tests and the demo: `python -m e2e.cluster up`.

`open_cluster()` gives the checkout's cluster; kinds.Cluster says what it can do, place.Place what a place in it can.
"""

from e2e.cluster.choose import open_cluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.kinds import Cluster
from e2e.cluster.place import Place

__all__ = ["Cluster", "ClusterError", "Place", "open_cluster"]
