"""The scripted ISPs as a program: `python -m e2e.internet.isp --config isps.json`.

One process serves several ISPs, each on its own addresses, with one control port. It says `ready` on standard output
when every address is bound, and ends cleanly on SIGTERM with all records on file.
Before: `internet`, or a person. After: `listener`, `control`, `wire`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from e2e.internet.control import Control
from e2e.internet.listener import Isp, listen
from e2e.internet.policy import Model, Policy
from e2e.internet.recording import Recording
from e2e.internet.tls_identity import server_context
from e2e.internet.wire import WireTracker, WireWatch


class Host(Model):
    """One mail exchanger: its name and where it listens."""

    hostname: str
    ip: str
    port: int = 25


class IspConfig(Model):
    """One ISP: all hosts share the policy and its counts."""

    name: str
    hosts: tuple[Host, ...]
    policy: Policy = Policy()


class IspsConfig(Model):
    """The configuration file of one process."""

    isps: tuple[IspConfig, ...]
    control: Path  # Unix socket
    records: Path  # folder: NAME.jsonl for each ISP
    watch_wire: bool = True  # count packets as well (needs root)
    also_watched: tuple[Host, ...] = ()  # addresses without a listener here whose SYNs are recorded, as ISP `hostname`


def watched_addresses(config: IspsConfig) -> dict[tuple[str, int], str]:
    """Which (address, port) belongs to which ISP on the wire."""
    listening = {(host.ip, host.port): isp.name for isp in config.isps for host in isp.hosts}
    return listening | {(host.ip, host.port): host.hostname for host in config.also_watched}


async def serve(config: IspsConfig, stop: asyncio.Event) -> None:
    """Runs the ISPs until `stop`; raises OSError if an address cannot be bound."""
    config.records.mkdir(parents=True, exist_ok=True)
    isps: dict[str, Isp] = {}
    wire = WireWatch(WireTracker(watched_addresses(config))) if config.watch_wire else None
    if wire is not None:
        wire.start()
    for one in config.isps:
        recording = Recording(one.name, config.records / f"{one.name}.jsonl")
        tls = server_context(config.records / "tls", [host.hostname for host in one.hosts])
        isps[one.name] = Isp(one.name, one.policy, recording, tls)
    servers = [
        await listen(isps[one.name], host.hostname, host.ip, host.port) for one in config.isps for host in one.hosts
    ]
    runner = web.AppRunner(Control(isps, wire).application(), access_log=None)
    await runner.setup()
    config.control.unlink(missing_ok=True)
    await web.UnixSite(runner, str(config.control)).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stop.wait()
    for server in servers:
        server.close()
    await runner.cleanup()
    for isp in isps.values():
        isp.recording.close()
    if wire is not None:
        wire.stop()


async def _until_terminated(config: IspsConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(config, stop)


def main() -> None:
    """Reads the configuration file and serves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="IspsConfig as JSON")
    config = IspsConfig.model_validate_json(parser.parse_args().config.read_text())
    uvloop.run(_until_terminated(config))


if __name__ == "__main__":
    main()
