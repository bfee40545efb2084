"""`python -m e2e.demo`: the whole demonstration, from an empty machine to a table and a chart.

Invariant: the cluster is left running; exit status 1 when the run does not prove what it is for, and it says why.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from e2e import figures
from e2e.cluster import Cluster, ClusterError, open_cluster
from e2e.cluster.cgroups import Cgroups
from e2e.cluster.progress import note, step, took
from e2e.demo import chart, report, result
from e2e.demo.lanes import (
    SUBMISSION_PORT,
    Lanes,
    QuickstartLane,
    apart,
    connections_per_ip,
    first_delivery,
    total_connections,
)
from e2e.demo.measure import OTP_STREAMS, Door, Flood, Quiet, Scale, Way, flood, quiet, set_isps
from e2e.demo.seeded import found_all, seeded_counts
from e2e.internet import addresses
from e2e.internet.__main__ import ground_of
from e2e.internet.internet import CHECKOUT, Internet, InternetError
from e2e.internet.policy import ROUND_TRIP_S
from e2e.internet.postfix import Postfix
from e2e.internet.records import Record

FOLDER = CHECKOUT / "build" / "demo"
COMMAND = "python -m e2e.demo"
SHORT = Scale(otps=250, warm=50, flood=6000, backlog=1000, timed_s=60.0, drain_s=120.0, shared_s=10.0)
CONTROL = Scale(otps=250, warm=50, flood=8000, backlog=2000, timed_s=60.0)
AT_MOST_S = 600.0
NEUTRAL, WEIGHT = 100, 1000  # a program outside any group counts as much as a whole group of neutral weight
NEXT = """\
the cluster runs on; try

  eval "$(.venv/bin/python -m e2e.cluster env)"
  kubectl get lanes -A -o wide
  kubectl get ippools,isppolicies -A
  kubectl describe lane {lane} -n {namespace}
  .venv/bin/python -m e2e.internet status

send yourself a message: any name at {domain} is delivered in this
internet; 250 means that it is on the slot's disk, and the slot's last record
says what became of it

  kubectl port-forward -n {namespace} service/{lane} 5870:{port} &
  printf '%s\\n' 'From: {sender}' 'Subject: hello' '' hello |
    curl -v --crlf --ssl-reqd --insecure smtp://127.0.0.1:5870 \\
      --retry 5 --retry-connrefused \\
      -K <(sed 's/.*/user = "&"/' {credentials}) \\
      --mail-from {sender} \\
      --mail-rcpt me@{domain} -T -
  kubectl exec -n {namespace} {lane}-0-0 -c relay -- \\
    sh -c 'cat /var/spool/lanewright/records/*.jsonl' | tail -n 1

replace a slot's pod: the new one has the same address and the same queue; that
is empty now, but what is in it when a pod goes is sent by the next one

  kubectl delete pod -n {namespace} -l lanewright.dev/lane={lane}

for lanes on a cluster of yours: docs/quickstart/README.md
and `make cluster-down` removes every trace of this one."""


def next_commands(lane: QuickstartLane, folder: str) -> str:
    """What to try next in the cluster that runs on."""
    return NEXT.format(
        lane=lane.name,
        namespace=lane.namespace,
        sender=lane.sender,
        port=SUBMISSION_PORT,
        domain=addresses.GMAIL.mx_sets[0].domains[0],
        credentials=f"{folder}/{lane.name}.credentials",
    )


def shared_way() -> Way:
    """Both streams through the one Postfix."""
    otp = Door(addresses.SHARED_POSTFIX, 25, "demo@notify.example.com")
    bulk = Door(addresses.SHARED_POSTFIX, 25, "demo@news.example.com")
    own = frozenset({addresses.SHARED_POSTFIX})
    return Way("shared", otp, bulk, own, own)


async def run(cluster: Cluster, scale: Scale) -> int:
    """The demonstration in a cluster that is up; its exit status."""
    began = time.time()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with step("the internet: DNS, five ISPs, reflectors, Postfix"):
        internet = await Internet.up(cluster.place("net"), ground_of(cluster))
    try:
        internet.start_reflectors()
        await internet.reset_records()
        _weigh(cluster, WEIGHT)
        return await Demonstration(cluster, internet, scale, began).run()
    finally:
        _weigh(cluster, NEUTRAL)
        await internet.close()


def _weigh(cluster: Cluster, weight: int) -> None:
    """The whole cluster's CPU weight against whatever else this machine does; Docker's is its own business."""
    if cluster.kind == "local":
        Cgroups(cluster.layout.id).ensure("", weight)


class Demonstration:
    """One run: what is measured, and what is kept of it until the end."""

    def __init__(self, cluster: Cluster, internet: Internet, scale: Scale, began: float) -> None:
        self._cluster = cluster
        self._internet = internet
        self._scale = scale
        self._began = began
        self._lanes = Lanes(cluster, internet, FOLDER)
        both = (self._lanes.otp, self._lanes.bulk)
        policies = self._lanes.policies
        self._limits = {one: total_connections(both, policies, one) for one in addresses.PROVIDERS}
        self._granted = {provider.name: most for provider, most in self._limits.items()}
        self._bulk_may = {one.name: connections_per_ip(both[1], policies, one) for one in addresses.SCRIPTED}
        self._ways: dict[str, Way] = {}
        self._quiet: dict[str, Quiet] = {}
        self._floods: dict[str, Flood] = {}
        self._weights: list[tuple[str, str]] = []

    async def run(self) -> int:
        """Everything, in order; the exit status."""
        with step("operator") as say:
            await asyncio.to_thread(self._lanes.install, say)
        with step("docs/quickstart: two lanes") as say:
            await asyncio.to_thread(self._lanes.apply, say)
        await self._empty()
        way = self._lanes.way()
        await self._quiet_phase(way)
        await self._flood_phase(way, self._scale)
        try:
            await self._control(replace(way, name="no-requests"))
            await self._shared(shared_way())
        finally:
            with step("the lanes' CPU requests are put back") as say:
                await asyncio.to_thread(self._lanes.request_cpu, say)
        return self._report(await self._internet.records())

    async def _empty(self) -> None:
        """What an earlier run has left, if it was broken off, goes first; nothing of it may be measured."""
        for way in report.TITLES:
            for kind in (*OTP_STREAMS, "bulk"):
                await asyncio.to_thread(self._internet.place.end, f"load-{way}-{kind}")
        queued = await asyncio.to_thread(self._lanes.queued)
        if queued:
            await set_isps(self._internet, self._granted, round_trip_s=0.0)
            with step(f"{queued} messages of an earlier run leave the lanes") as say:
                deadline = time.monotonic() + self._scale.drain_s
                while queued and time.monotonic() < deadline:
                    await asyncio.sleep(1)
                    queued = await asyncio.to_thread(self._lanes.queued)
                    say(f"{queued} are left")
            if queued:
                raise InternetError(f"{queued} messages of an earlier run are still in the lanes")
        await set_isps(self._internet, self._granted, round_trip_s=ROUND_TRIP_S)

    async def _quiet_phase(self, way: Way) -> None:
        scale = self._scale
        note(f"{scale.otps:,} OTPs alone through {report.TITLES[way.name]}, after {scale.warm} to warm up:")
        with step(step_title("quiet", way.name), took(scale.quiet_s)) as say:
            self._ways[way.name], self._quiet[way.name] = way, await quiet(self._internet, way, scale, FOLDER, say)

    async def _flood_phase(self, way: Way, scale: Scale, relay: Postfix | None = None) -> None:
        self._ways[way.name] = way
        expected = f"up to {took(scale.cut_short_s)}" if relay else f"at least {took(scale.flood_at_least_s)}"
        note(f"{scale.flood:,} newsletters and {scale.otps:,} OTPs through {report.TITLES[way.name]}:")
        with step(step_title("flood", way.name), expected) as say:
            discard = _thrown_away(relay) if relay else None
            self._floods[way.name] = await flood(self._internet, way, self._granted, scale, FOLDER, say, discard)
        self._weights += [(name, value) for what, name, value in self._cluster.status() if what == "weight"]

    async def _control(self, way: Way) -> None:
        """The lanes without what their classes ask of the scheduler, and so of the kernel."""
        with step("control: the same pods without CPU requests") as say:
            await asyncio.to_thread(self._lanes.request_cpu, say, wanted=False)
        self._quiet[way.name] = Quiet([], [])
        await self._flood_phase(way, CONTROL if self._scale == Scale() else SHORT)

    async def _shared(self, way: Way) -> None:
        relay = self._internet.shared_postfix(self._limits)
        with step("the shared Postfix"):
            await asyncio.to_thread(relay.down)
            await asyncio.to_thread(relay.up, self._internet.weights.shared)
            await asyncio.to_thread(relay.purge)
            (FOLDER / "shared-postfix.txt").write_text(relay.shown())
        try:
            await self._quiet_phase(way)
            await self._flood_phase(way, self._scale, relay)
        finally:
            await asyncio.to_thread(relay.down)

    def _report(self, records: list[Record]) -> int:
        outcomes = {
            name: result.judge(way, self._quiet[name], self._floods[name], records, self._bulk_may)
            for name, way in self._ways.items()
        }
        lanes, shared = outcomes["lanes"], outcomes["shared"]
        entries = result.offered(self._quiet["lanes"], self._floods["lanes"])
        counts, seeded = seeded_counts(entries, records, lanes.way)
        console = report.screen()
        report.show(console, outcomes, counts, seeded)
        self._say_conditions(console, shared)
        picture = FOLDER / "otp-latency.png"
        chart.draw(picture, lanes, shared)
        first = first_delivery((one.at for one in result.first_copies(records).values()), self._began)
        # a short run proves that the demo works, never what the demo is for
        file, command = ("demo.json", COMMAND) if self._scale == Scale() else ("demo-short.json", f"{COMMAND} --short")
        figures.clear(file)
        for row in result.figures(lanes, shared, first):
            figures.record(file, row.name, row.value, row.unit, row.target, row.better, command)
        for name, value in vars(seeded).items():
            figures.record(file, f"{name}_seeded", value, "messages", vars(counts)[name] + 1, "higher", command)
        short = [*result.shortcomings(lanes, self._scale.backlog), *result.no_contrast(shared, self._scale)]
        short += apart(self._lanes.pods())
        if not found_all(counts, seeded):
            short.append(f"the counting did not find the seeded faults: {seeded} after {counts}")
        if time.time() - self._began > AT_MOST_S:
            short.append(f"it took {took(time.time() - self._began)}, more than {took(AT_MOST_S)}")
        for sentence in short:
            console.print(f"[red]not shown:[/] {sentence}")
        (FOLDER / "report.txt").write_text(console.export_text())
        note(f"chart: {_near(picture)}   the same in words: {_near(FOLDER / 'report.txt')}")
        note(next_commands(self._lanes.otp, _near(FOLDER)))
        if short:
            note(f"the demo ran, and its promise was not shown, because {'; '.join(short)}")
        return 1 if short else 0

    def _say_conditions(self, console: Console, shared: result.Outcome) -> None:
        """Under what it was measured."""
        report.conditions(
            console,
            self._lanes.pods(),
            _readable(self._weights) | {"each program outside the cluster": str(_OUTSIDE)},
            f"When the timing of the shared Postfix ended, {shared.flooded.left:,} newsletters and codes were still in "
            f"its queue and were thrown away; its configuration: {_near(FOLDER / 'shared-postfix.txt')}",
            f"Commit {figures.commit()}, {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime())}, {os.cpu_count()} CPUs, "
            f"load {os.getloadavg()[1]:.1f} over five minutes, {took(time.time() - self._began)} on a running cluster.",
        )


def _near(file: Path) -> str:
    """A file's path as somebody in the checkout types it: the whole one may be longer than a line."""
    return str(file.relative_to(CHECKOUT))


def step_title(phase: str, way: str) -> str:
    """A phase's step in few words: a terminal's line must have room for what it is at."""
    return f"{phase}: {_SHORT_TITLES.get(way, way)}"


def _thrown_away(relay: Postfix) -> Callable[[], int]:
    def discard() -> int:
        left = relay.queued()
        relay.purge()
        return left

    return discard


_SHORT_TITLES = {"lanes": "two lanes", "shared": "shared Postfix", "no-requests": "the control"}
_OUTSIDE = 1024  # what the kernel gives a program of ordinary niceness, in cgroup v1's shares


def _readable(weights: list[tuple[str, str]]) -> dict[str, str]:
    """Each group once, without the cluster's name, without those that do nothing here; generators are alike."""
    found: dict[str, str] = {}
    for name, value in weights:
        group = name.partition("/")[2].removeprefix("work/")
        if not group.endswith(("/system", "/pods", "short")) and "reflector" not in group:
            group = group or "the whole cluster"
            found["each generator" if group.startswith("load-") else group] = value.split()[-1]
    return found


def main() -> None:
    """Brings the cluster up and demonstrates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a tenth of everything, for tests")
    scale = SHORT if parser.parse_args().short else Scale()
    cluster, why = open_cluster()
    note(f"cluster {cluster.layout.id}, kind {cluster.kind} ({why})")
    try:
        cluster.up()
        sys.exit(asyncio.run(run(cluster, scale)))
    except (ClusterError, InternetError) as error:
        note(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
