"""`python -m e2e.demo`: the whole demonstration, from an empty machine to a table and a chart.

Invariant: the cluster is left running; exit status 1 when the run does not prove what it is for, and it says why.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from rich.console import Console
from rich.table import Table

from e2e import figures
from e2e.cluster import Cluster, ClusterError, open_cluster
from e2e.cluster.progress import note, step
from e2e.demo import chart, result
from e2e.demo.lanes import Lanes, first_delivery, total_connections
from e2e.demo.measure import Door, Flood, Scale, Way, flood, quiet, set_isps
from e2e.internet import addresses
from e2e.internet.__main__ import ground_of
from e2e.internet.internet import CHECKOUT, Internet, InternetError
from e2e.internet.policy import ROUND_TRIP_S
from e2e.internet.postfix import Postfix
from e2e.internet.records import Message, Record
from e2e.load.ledger import Entry

FOLDER = CHECKOUT / "build" / "demo"
COMMAND = "python -m e2e.demo"
SHORT = Scale(otps=200, flood=6000, flood_rate=600.0, backlog=1000, timed_s=60.0, drain_s=120.0)
NEXT = """\
the cluster runs on; try

  eval "$(.venv/bin/python -m e2e.cluster env)"
  kubectl get lanes -A -o wide
  kubectl get ippools,isppolicies -A
  kubectl describe lane {lane} -n {namespace}
  kubectl delete pod -n {namespace} -l lanewright.dev/lane={lane}     # its mail and its address come back with it
  .venv/bin/python -m e2e.internet status

and `make cluster-down` removes every trace."""


def shared_way() -> Way:
    """Both streams through the one Postfix."""
    otp = Door(addresses.SHARED_POSTFIX, 25, "demo@notify.example.com")
    bulk = Door(addresses.SHARED_POSTFIX, 25, "demo@news.example.com")
    own = frozenset({addresses.SHARED_POSTFIX})
    return Way("shared", otp, bulk, own, own)


async def run(cluster: Cluster, scale: Scale) -> int:
    """The demonstration; its exit status."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with step("the internet: DNS, five ISPs, reflectors, Postfix"):
        internet = await Internet.up(cluster.place("net"), ground_of(cluster))
    try:
        internet.start_reflectors()
        await internet.reset_records()
        return await _demonstrate(cluster, internet, scale)
    finally:
        await internet.close()


async def _demonstrate(cluster: Cluster, internet: Internet, scale: Scale) -> int:
    began = time.time()
    lanes = Lanes(cluster, internet, FOLDER)
    with step("operator") as say:
        await asyncio.to_thread(lanes.install, say)
    with step("docs/quickstart: two lanes") as say:
        await asyncio.to_thread(lanes.apply, say)
    note(f"the lanes' pods: {', '.join(f'{pod} on {node}' for pod, node in lanes.nodes().items())}")
    limits = {
        provider: total_connections((lanes.otp, lanes.bulk), lanes.policies, provider)
        for provider in addresses.PROVIDERS
    }
    connections = {provider.name: most for provider, most in limits.items()}
    await set_isps(internet, connections, round_trip_s=ROUND_TRIP_S)
    relay = internet.shared_postfix(limits)
    with step("the shared Postfix"):
        await asyncio.to_thread(relay.up, internet.weights.postfix)
        (FOLDER / "shared-postfix.txt").write_text(relay.shown())
    try:
        outcomes, records = await _measure(internet, [lanes.way(), shared_way()], connections, scale, relay)
        left = relay.queued()
    finally:
        await asyncio.to_thread(relay.down)
    return _report(lanes, outcomes, records, began, scale, left)


async def _measure(
    internet: Internet, ways: list[Way], connections: dict[str, int], scale: Scale, relay: Postfix
) -> tuple[list[result.Outcome], list[Record]]:
    with step(f"quiet: {scale.otps} OTPs through both ways", f"{scale.otps / scale.otp_rate:.0f} s"):
        calm = await quiet(internet, ways, scale, FOLDER)
    floods: dict[str, Flood] = {}
    for way in ways:
        with step(f"{scale.flood} messages and {scale.otps} OTPs: {way.name}", "2 to 5 min") as say:
            hurry = relay.flush if way.otp_ips == way.bulk_ips else _nothing
            floods[way.name] = await flood(internet, way, connections, scale, FOLDER, say, hurry)
    records = await internet.records()
    return [_judge(way, calm[way.name], floods, ways, calm, records) for way in ways], records


def _nothing() -> None:
    """The lanes get no help with what they deferred."""


def _judge(
    way: Way,
    calm: list[Entry],
    floods: dict[str, Flood],
    ways: list[Way],
    quiet_entries: dict[str, list[Entry]],
    records: list[Record],
) -> result.Outcome:
    """One way's outcome; what the other ways sent is not its business."""
    others = {
        entry.message_id
        for other in ways
        if other is not way
        for entry in (*quiet_entries[other.name], *floods[other.name].otp, *floods[other.name].bulk)
    }
    mine = [one for one in records if not (isinstance(one, Message) and one.message_id in others)]
    return result.judge(way, calm, floods[way.name], mine)


def _report(
    lanes: Lanes, outcomes: list[result.Outcome], records: list[Record], began: float, scale: Scale, left: int
) -> int:
    console = Console()
    through_lanes, through_shared = outcomes
    titles = ("through", "phase", "OTPs", "delivered", "p50", "p99", "max", "p99 less scripted")
    console.print(_table("OTP latency, scheduled time to the ISP's 250", titles, result.latency_rows(outcomes)))
    console.print(_table("what the ISPs saw", ("stream", "source address", "messages"), result.source_rows(outcomes)))
    arrived: dict[str, Message] = {}
    for one in sorted((r for r in records if isinstance(r, Message)), key=lambda message: message.at):
        arrived.setdefault(one.message_id, one)
    picture = FOLDER / "otp-latency.png"
    chart.draw(picture, outcomes, arrived)
    first = first_delivery((one.at for one in arrived.values()), began)
    # a short run proves that the demo works, never what the demo is for
    file, command = ("demo.json", COMMAND) if scale == Scale() else ("demo-short.json", f"{COMMAND} --short")
    for row in result.figures(through_lanes, through_shared, first):
        figures.record(file, row.name, row.value, row.unit, row.target, row.better, command)
    note(f"chart: {picture}   Postfix's configuration: {FOLDER / 'shared-postfix.txt'}   left in its queue: {left}")
    note(
        f"the ISPs' {ROUND_TRIP_S * 1000:.0f} ms were lifted {_after(through_lanes)} (lanes) and "
        f"{_after(through_shared)} (shared) after the first OTP, to let the rest drain"
    )
    note(NEXT.format(lane=lanes.otp.name, namespace=lanes.otp.namespace))
    short = result.shortcomings(through_lanes, scale.backlog)
    for sentence in short:
        console.print(f"[red]not shown:[/] {sentence}")
    return 1 if short else 0


def _after(outcome: result.Outcome) -> str:
    flooded = outcome.flooded
    return result.seconds(flooded.lifted_at - flooded.otp[0].scheduled)


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]] | list[tuple[str, str, str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    return table


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
