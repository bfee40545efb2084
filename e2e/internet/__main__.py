"""`python -m e2e.internet up|down|status`: the internet of this checkout's cluster, for a person.

Invariant: `up` may be repeated; `down` without a cluster is no error; without one, nothing is made.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from e2e.cluster import Cluster, ClusterError, open_cluster
from e2e.internet import addresses
from e2e.internet.internet import Ground, Internet, InternetError, Weights


def ground_of(cluster: Cluster) -> Ground:
    """Where the internet of a cluster keeps its files."""
    layout = cluster.layout
    return Ground(layout.state / "internet", layout.run, layout.postfix)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


async def _up(cluster: Cluster) -> None:
    internet = await Internet.up(cluster.place("net"), ground_of(cluster))
    internet.start_reflectors()
    for provider in addresses.PROVIDERS:
        hosts = ", ".join(f"{name} {ip}" for name, ip in provider.hosts)
        _print(f"{provider.name:14} {provider.kind:9} {hosts}")
        _print(f"{'':24} for {', '.join(provider.domains)}")
    _print(f"resolver       {addresses.RESOLVER}   reflectors {' '.join(internet.reflectors)}")
    _print(f"their key      {internet.reflector_key}   (secret `reflector` of a pool's namespace, entry `key`)")
    _print(f"control port   {internet.ground.sockets}/isps.sock (HTTP: GET /isps, PUT /isps/NAME/policy, GET /wire)")
    await internet.close()


async def _down(cluster: Cluster) -> None:
    await Internet(cluster.place("net"), ground_of(cluster), Weights()).take_down()


async def _status(cluster: Cluster) -> None:
    internet = Internet(cluster.place("net"), ground_of(cluster), Weights())
    for name, running in internet.status().items():
        _print(f"{name:16} {'runs' if running else '-'}")


def _is_there(cluster: Cluster) -> bool:
    """Whether the cluster has the place where the internet lies; asked first, since using it makes its groups."""
    try:
        return cluster.place("net").namespace.exists()
    except (ClusterError, OSError):
        return False  # no engine, or one that knows of no such container


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command and does it; the exit status."""
    commands = {"up": _up, "down": _down, "status": _status}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=sorted(commands))
    command = parser.parse_args(arguments).command
    try:
        cluster, _ = open_cluster()
        if _is_there(cluster):
            asyncio.run(commands[command](cluster))
            return 0
    except (ClusterError, InternetError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(
        f"cluster {cluster.layout.id} is not up, and its internet lies in it: `make cluster` or `make demo` brings it "
        "up\n"
    )
    return 0 if command == "down" else 1


if __name__ == "__main__":
    sys.exit(main())
