"""Network namespaces, the switch that joins them, and a node's mount namespace. The only file that calls `ip`.

Invariant: everything is made so that making it again changes nothing; no command names the machine's own namespace
as a target. `nsenter --net`, not `ip netns exec`: the latter hides /sys/fs/cgroup behind a fresh /sys.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster import addresses
from e2e.cluster.errors import failed
from e2e.cluster.identity import Layout
from e2e.cluster.machine import NODE_PATHS

NETNS = Path("/run/netns")


def ip(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run `ip`; raises ClusterError when it refuses."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise failed(f"`ip {' '.join(arguments)}`", done, "run as root with CAP_NET_ADMIN and CAP_SYS_ADMIN")
    return done


def exists(namespace: str) -> bool:
    """Tell whether a network namespace of that name is there."""
    return (NETNS / namespace).exists()


def inside(namespace: str | Path, argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv` in a network namespace (a name, or a path such as /proc/7/ns/net)."""
    path = namespace if isinstance(namespace, Path) else NETNS / namespace
    return ["nsenter", f"--net={path}", "--", *argv]


class Network:
    """The namespaces and the switch of one cluster."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._fabric = layout.namespace("fab")

    def ensure(self, nodes: tuple[str, ...]) -> None:
        """Make what is missing of the switch and of every place's leg."""
        if not exists(self._fabric):
            ip("netns", "add", self._fabric)
        if ip("-n", self._fabric, "link", "show", "br0", check=False).returncode:
            ip("-n", self._fabric, "link", "add", "br0", "type", "bridge")
        ip("-n", self._fabric, "link", "set", "br0", "up")
        for leg in addresses.legs(nodes):
            self._ensure_leg(leg)
        for node in nodes:
            self._masquerade_pods(node)

    def _ensure_leg(self, leg: addresses.Leg) -> None:
        name, port = self._layout.namespace(leg.place), f"v-{leg.place}"
        if not exists(name):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        if ip("-n", name, "link", "show", "eth0", check=False).returncode:
            ip("-n", self._fabric, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", self._fabric, "link", "set", port, "master", "br0", "up")
            ip("-n", name, "link", "set", "eth0", "up")
        for address in leg.addresses:
            ip("-n", name, "addr", "replace", address, "dev", "eth0")
        for destination, gateway in leg.routes:
            ip("-n", name, "route", "replace", destination, "via", gateway)
        # a lane's packets may leave by one way and be answered by another
        settings = [f"net.ipv4.conf.{name}.rp_filter=0" for name in ("all", "default", "eth0")]
        self.run(leg.place, ["sysctl", "-qw", f"net.ipv4.ip_forward={int(leg.forwards)}", *settings])

    def _masquerade_pods(self, node: str) -> None:
        rule = ["POSTROUTING", "-s", addresses.PODS, "!", "-d", addresses.PODS_AND_SERVICES, "-o", "eth0",
                "-j", "MASQUERADE"]  # fmt: skip
        check = inside(self._layout.namespace(node), ["iptables", "-t", "nat", "-C", *rule])
        if subprocess.run(check, capture_output=True, check=False).returncode:
            self.run(node, ["iptables", "-t", "nat", "-A", *rule])

    def run(self, place: str, argv: Sequence[str]) -> None:
        """Run a short command in a place; raises ClusterError when it fails."""
        done = subprocess.run(inside(self._layout.namespace(place), argv), capture_output=True, text=True, check=False)
        if done.returncode:
            raise failed(f"`{' '.join(argv)}` in {place}", done, "read the message; the kernel may lack the feature")

    def link(self, node: str, *, up: bool) -> None:
        """Cut or restore the cable between a place and the switch."""
        ip("-n", self._fabric, "link", "set", f"v-{node}", "up" if up else "down")

    def remove(self) -> None:
        """Remove every namespace of this cluster; what is inside goes with it."""
        for path in sorted(NETNS.glob(f"lw-{self._layout.id}-*")):
            ip("netns", "del", path.name)


def node_mounts(layout: Layout, node: str) -> list[tuple[Path, str]]:
    """Return (folder of the cluster, path inside the node) for every path that a node has for itself."""
    sockets, state = layout.run / node, layout.node(node) / "root"
    return [((sockets if path.startswith("/run/") else state) / path.lstrip("/"), path) for path in NODE_PATHS]


def node_root_command(mounts: Sequence[tuple[Path, str]]) -> list[str]:
    """Return the command that holds a node's mount namespace: it mounts, says so on its output, and waits."""
    # private first, so that nothing reaches the machine; then shared inside, which a kubelet's volumes need
    flat = [str(part) for mount in mounts for part in mount]
    return [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "/bin/sh",
        "-c",
        _bind_script(len(mounts)),
        "lw-node",
        *flat,
    ]


def _bind_script(count: int) -> str:
    binds = "".join(f'mount --bind "${{{2 * i + 1}}}" "${{{2 * i + 2}}}" && ' for i in range(count))
    return f"mount --make-rshared / && {binds}echo ready && exec sleep infinity"
