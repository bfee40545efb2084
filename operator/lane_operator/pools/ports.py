"""HostNetwork: each slot's block of ports, unique on its node; pure."""

from collections import defaultdict
from collections.abc import Iterable

from lane_api.names import HOST_PORT_BLOCK, PORT_NAMES
from lane_operator.inputs import Manifest

__all__ = ["NodePorts", "is_offered", "port_block_of"]


class NodePorts:
    """The blocks that are taken on each node, over all pools; only `allocate` adds to it."""

    def __init__(self, taken: Iterable[tuple[str, int]] = ()) -> None:
        """`taken`: node and first port of each block."""
        self._taken: defaultdict[str, set[int]] = defaultdict(set)
        for node, first in taken:
            self._taken[node].add(first)

    def is_free(self, node: str, first: int) -> bool:
        """Whether no block on the node overlaps the 8 ports from `first`."""
        return all(abs(first - other) >= HOST_PORT_BLOCK for other in self._taken[node])

    def take(self, node: str, port_range: str) -> int | None:
        """Takes the lowest free block of the range (`lowest-highest`); None when there is none."""
        for first in _firsts(port_range)[::HOST_PORT_BLOCK]:
            if self.is_free(node, first):
                self._taken[node].add(first)
                return first
        return None

    def hold(self, node: str, first: int) -> None:
        """Marks a block as taken."""
        self._taken[node].add(first)


def is_offered(first: int, port_range: str) -> bool:
    """Whether the 8 ports from `first` lie in the range (`lowest-highest`)."""
    return first in _firsts(port_range)


def _firsts(port_range: str) -> range:
    """Where a block may begin."""
    lowest, _, highest = port_range.partition("-")
    return range(int(lowest), int(highest) - HOST_PORT_BLOCK + 2)


def port_block_of(workload: Manifest) -> int | None:
    """The first port of the block that a StatefulSet in its node's network uses; None for any other."""
    pod = workload["spec"].get("template", {}).get("spec", {})
    ports = [port for container in pod.get("containers") or () for port in container.get("ports") or ()]
    first = next((port["containerPort"] for port in ports if port.get("name") == PORT_NAMES[0]), None)
    return first if pod.get("hostNetwork") else None
