"""`python -m e2e.internet up|down|status|publish NAMESPACE/LANE`: this checkout's internet, for a person.

Invariant: `up` may be repeated; `down` without a cluster is no error; without one, nothing is made.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from e2e.cluster import Cluster, ClusterError, open_cluster
from e2e.internet import addresses
from e2e.internet.dns import DnsError
from e2e.internet.internet import Ground, Internet, InternetError, Weights
from e2e.internet.lane_records import unnamed, unpublished


def ground_of(cluster: Cluster) -> Ground:
    """Where the internet of a cluster keeps its files."""
    layout = cluster.layout
    return Ground(layout.state / "internet", layout.run, layout.postfix)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


async def _up(cluster: Cluster, _lane: str) -> None:
    internet = await Internet.up(cluster.place("net"), ground_of(cluster))
    internet.start_reflectors()
    for provider in addresses.PROVIDERS:
        hosts = ", ".join(f"{name} {ip}" for name, ip in provider.hosts)
        _print(f"{provider.name:14} {provider.kind:9} {hosts}")
        _print(f"{'':24} for {', '.join(provider.domains)}")
    _print(f"resolver       {addresses.RESOLVER}   reflectors {' '.join(internet.reflectors)}")
    _print(f"their key      {internet.reflector_key}   (secret `reflector` of a pool's namespace, entry `key`)")
    _print(f"control port   {internet.ground.sockets}/isps.sock (HTTP: GET /isps, PUT /isps/NAME/policy, GET /wire)")
    _print(
        "               to see what arrived, or have an ISP say no: docs/quickstart/README.md, On the tests' cluster"
    )
    await internet.close()


async def _down(cluster: Cluster, _lane: str) -> None:
    await Internet(cluster.place("net"), ground_of(cluster), Weights()).take_down()


async def _status(cluster: Cluster, _lane: str) -> None:
    internet = Internet(cluster.place("net"), ground_of(cluster), Weights())
    for name, running in internet.status().items():
        _print(f"{name:16} {'runs' if running else '-'}")


async def _publish(cluster: Cluster, lane: str) -> None:
    """Puts the DKIM and PTR records that a lane waits for into DNS, as its owner would with his providers."""
    namespace, _, name = lane.partition("/")
    words = ("sendinglanes.lanewright.dev", name, "-n", namespace, "--ignore-not-found")
    found = await asyncio.to_thread(cluster.get, *words)
    if not found:
        raise ClusterError(f"there is no lane {lane}", "`kubectl get lanes -A` tells which there are")
    internet = Internet(cluster.place("net"), ground_of(cluster), Weights())
    wanted = list(unpublished(found.get("status", {})))
    for record, text in wanted:
        await asyncio.to_thread(internet.publish_txt, record, text)
        _print(f"{record} TXT {text}")
    hosts = list(unnamed(found.get("status", {})))
    for hostname, ip in hosts:
        await asyncio.to_thread(internet.publish_host, hostname, ip)
        _print(f"{ip} PTR {hostname}, and back")
    if not wanted and not hosts:
        _print(f"{lane} waits for no record (its status names them a moment after it is made)")


def _is_there(cluster: Cluster) -> bool:
    """Whether the cluster has the place where the internet lies; asked first, since using it makes its groups."""
    try:
        return cluster.place("net").namespace.exists()
    except (ClusterError, OSError):
        return False  # no engine, or one that knows of no such container


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command and does it; the exit status."""
    commands = {"up": _up, "down": _down, "status": _status, "publish": _publish}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=sorted(commands))
    parser.add_argument("lane", nargs="?", default="", help="for publish: NAMESPACE/LANE, such as mail/transactional")
    given = parser.parse_args(arguments)
    command = given.command
    if (command == "publish") != bool(given.lane):
        parser.error("publish takes a lane, such as mail/transactional; nothing else does")
    if given.lane and not all(given.lane.partition("/")):
        parser.error(f"{given.lane} is no NAMESPACE/LANE: write for instance mail/{given.lane.strip('/')}")
    try:
        cluster, _ = open_cluster()
        if _is_there(cluster):
            asyncio.run(commands[command](cluster, given.lane))
            return 0
    except (ClusterError, DnsError, InternetError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(
        f"cluster {cluster.layout.id} is not up, and its internet lies in it: `make cluster` or `make demo` brings it "
        "up\n"
    )
    return 0 if command == "down" else 1


if __name__ == "__main__":
    sys.exit(main())
