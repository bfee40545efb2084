"""The address plan: ranges that RFC 5737 and RFC 2544 keep for documentation and tests.

Invariant: the same plan holds in every cluster; clusters of different ids never see each other, because each
has a switch of its own inside a network namespace. The machine's own namespace has no leg in any of them.
"""

from dataclasses import dataclass
from typing import Final

NODE_NETWORK: Final = "192.0.2.0/24"  # RFC 5737 TEST-NET-1: nodes, control plane, the internet's router
INTERNET: Final = "198.51.100.0/24"  # RFC 5737 TEST-NET-2: ISPs, DNS, reflectors
EGRESS: Final = "203.0.113.0/24"  # RFC 5737 TEST-NET-3: the lanes' source addresses
PODS: Final = "198.18.0.0/16"  # RFC 2544, lower half
SERVICES: Final = "198.19.0.0/16"  # RFC 2544, upper half
PODS_AND_SERVICES: Final = "198.18.0.0/15"

API_SERVICE: Final = "198.19.0.1"
CONTROL: Final = "192.0.2.10"
ROUTER: Final = "192.0.2.200"
RESOLVER: Final = "198.51.100.2"
EGRESS_GATEWAY: Final = "203.0.113.1"
API_PORT: Final = 6443


@dataclass(frozen=True)
class Leg:
    """One place on the switch: its addresses and where its packets go."""

    place: str
    addresses: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]  # (destination, gateway)
    forwards: bool


def node_number(node: str) -> int:
    """Return 7 for `n7`."""
    return int(node.removeprefix("n"))


def node_address(node: str) -> str:
    """Return a node's own address, 192.0.2.11 for n1."""
    return f"192.0.2.{10 + node_number(node)}"


def pod_range(node: str) -> str:
    """Return the range from which a node's pods get their addresses."""
    return f"198.18.{node_number(node)}.0/24"


def legs(nodes: tuple[str, ...]) -> tuple[Leg, ...]:
    """Return every place on the switch, control plane and internet first."""
    pods = tuple((pod_range(n), node_address(n)) for n in nodes)
    # kube-proxy of the first node translates for places that have none; it masquerades what comes from outside the pods
    services = (SERVICES, node_address(nodes[0]))
    control = Leg("ctl", (f"{CONTROL}/24",), (*pods, services, ("default", ROUTER)), forwards=False)
    internet = Leg(
        "net",
        (f"{ROUTER}/24", f"{RESOLVER}/24", f"{EGRESS_GATEWAY}/24"),
        (*pods, services),
        forwards=True,
    )
    return (control, internet, *(_node_leg(n, nodes) for n in nodes))


def _node_leg(node: str, nodes: tuple[str, ...]) -> Leg:
    others = tuple((pod_range(n), node_address(n)) for n in nodes if n != node)
    return Leg(node, (f"{node_address(node)}/24",), (*others, ("default", ROUTER)), forwards=True)
