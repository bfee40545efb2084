"""`make bench-operator`: 1,000 lanes beside 1,000 Prometheus objects of prometheus-operator, in one cluster.

Both operators run as processes of their own beside the control plane, ours as its ServiceAccount; kwok gives the pods,
`bench.slots` answers for the relays in them. In sync: every object's status is of its generation, which each operator
writes after it has written the children. Then, with all lanes at rest: what is written while nothing changes (by the
audit log; the Lease's renewals are not counted), how long one lane more takes, how long a deleted child takes, how long
a killed leader takes.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from bench import thousand
from bench.processes import Cost, Operator, started
from bench.thousand import LANES, POOL_NAMESPACE, Manifest
from e2e import figures
from e2e.cluster import Cluster, open_cluster
from e2e.cluster.identity import Purpose
from e2e.cluster.programs import module_file
from e2e.installation import OPERATOR_USER
from e2e.release import OPERATOR_NAMESPACE, RELEASE, upgrade
from lane_api.names import ADMIN_PORT
from lane_operator.kube import SENDING_LANE, SERVICE, STATEFUL_SET, Kind, Kube

__all__ = ["main"]

FILE: Final = "bench_operator"
COMMAND: Final = "make bench-operator"
PROMETHEUS: Final = Kind("monitoring.coreos.com/v1", "Prometheus", "prometheuses")
BYTECODE: Final = {"PYTHONPYCACHEPREFIX": str(Path("build/bytecode").resolve()), "PYTHONDONTWRITEBYTECODE": ""}
"""Environment of an operator that is compiled before it starts, as in its image."""
PATIENCE_S: Final = 600.0
QUIET_S: Final = 15.0
REPAIRS: Final = 40
ONE_MORE: Final = 20
KILLS: Final = 3
CRITERIA: Final = {
    "lanes_1000_vs_prometheus_operator": 0.5,
    "rss_vs_prometheus_operator": 1.5,
    "idle_writes_10min": 0.0,
    "lane_apply_p95_s": 1.0,
    "repair_p95_s": 2.0,
    "failover_s": 20.0,
}
"""The table of design/operator.md."""


class Scale:
    """One cluster with both operators' objects."""

    def __init__(self, cluster: Cluster, kube: Kube, lanes: int) -> None:
        self.cluster = cluster
        self.kube = kube
        self.lanes = lanes
        self.running: Operator | None = None

    def run(self, name: str, argv: list[str], port: int, env: dict[str, str] | None = None) -> Operator:
        """Starts an operator, which is to live for as long as something is waited for."""
        self.running = started(self.cluster, name, argv, port, env)
        return self.running

    async def until(self, done: Callable[[], Awaitable[bool]], what: str, every: float = 2.0) -> float:
        """Seconds until it is so; raises AssertionError after PATIENCE_S."""
        since = time.monotonic()
        while not await done():
            if self.running is not None and not self.running.process.alive():
                raise AssertionError(f"ended while this was waited for: {what}; {self.running.last_words()}")
            if time.monotonic() - since > PATIENCE_S:
                raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")
            await asyncio.sleep(every)
        return time.monotonic() - since

    async def in_sync(self, kind: Kind, condition: str) -> bool:
        """Whether the status of each object is of its generation and bears the condition."""
        found = (await self.kube.list(kind)).items
        so_far = sum(_is_in_sync(one, condition) for one in found)
        print(f"  {kind.kind} {condition}: {so_far} of {len(found)}", flush=True)
        return len(found) >= self.lanes and so_far == len(found)

    async def children(self, mine: str) -> Counter[str]:
        """Objects by kind that carry a label, in the namespaces with lanes."""
        kinds = "statefulsets,secrets,configmaps,services,serviceaccounts,poddisruptionbudgets,networkpolicies,pvc,"
        kinds += "podmonitors,prometheusrules,network-attachment-definitions"
        text = self.cluster.kubectl("get", kinds, "-A", "-l", mine, "--no-headers", "-o", "custom-columns=:kind")
        return Counter(text.split())

    # -- prometheus-operator

    async def prometheus_operator(self) -> tuple[float, float, Cost, int]:
        """Seconds of a cold start, seconds of another start with everything there, its cost, its children."""
        thousand.create(self.cluster, thousand.prometheuses(self.lanes))
        cold = self._prometheus_operator("po-cold")
        first = await self.until(lambda: self.in_sync(PROMETHEUS, "Reconciled"), "Prometheus objects in sync")
        cost = cold.cost()
        children = sum((await self.children("app.kubernetes.io/managed-by=prometheus-operator")).values())
        children += sum((await self.children("managed-by=prometheus-operator")).values())
        cold.end()
        again = self._prometheus_operator("po-again")
        passes = "prometheus_operator_reconcile_operations_total"

        async def all_passed() -> bool:
            return again.metric(passes, 'controller="prometheus"') >= self.lanes

        second = await self.until(all_passed, "every Prometheus object reconciled once")
        again.end()
        return first, second, cost, children

    def _prometheus_operator(self, name: str) -> Operator:
        program = str(self.cluster.program("prometheus-operator"))
        config = json.loads((self.cluster.layout.conf / "admin.kubeconfig").read_text())
        server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]  # it takes no kubeconfig
        argv = [
            program,
            f"-apiserver={server['server']}",
            f"-ca-file={server['certificate-authority']}",
            f"-cert-file={user['client-certificate']}",
            f"-key-file={user['client-key']}",
            "-web.listen-address=127.0.0.1:18080",
            "-log-level=warn",
        ]
        return self.run(name, argv, 18080)

    # -- lanewright

    def operator(self, name: str, port: int = 18090) -> Operator:
        """Ours, as its ServiceAccount, with the chart's settings but for where it listens."""
        token = self.cluster.kubectl("create", "token", RELEASE, "-n", OPERATOR_NAMESPACE, "--duration=4h").strip()
        config = json.loads((self.cluster.layout.conf / "admin.kubeconfig").read_text())
        config["users"] = [{"name": "admin", "user": {"token": token}}]
        conf = self.cluster.layout.conf / "operator.kubeconfig"
        conf.touch(mode=0o600)
        conf.write_text(json.dumps(config))
        deployment = self.cluster.get("deployment", RELEASE, "-n", OPERATOR_NAMESPACE)
        given = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        env = {one["name"]: one.get("value", "") for one in given}
        env |= {"KUBECONFIG": str(conf), "LANEWRIGHT_HTTP_PORT": str(port), "LANEWRIGHT_IDENTITY": name}
        env |= {"LANEWRIGHT_OPERATOR_NAMESPACE": OPERATOR_NAMESPACE, **BYTECODE}
        return self.run(name, [sys.executable, "-m", "lane_operator"], port, env)

    async def lanewright(self) -> tuple[float, float, float, Operator, Counter[str], Cost]:
        """Seconds of a cold start, until all are Ready, of a start with everything there; what runs then."""
        thousand.create(self.cluster, [*thousand.pools(), *thousand.lanes(self.lanes)])
        cold = self.operator("lanewright-cold")
        synced = await self.until(lambda: self.in_sync(SENDING_LANE, ""), "lanes in sync")
        cost = cold.cost()
        print(f"in sync after {synced:.0f} s, {cost}", flush=True)
        ready = synced + await self.until(lambda: self.in_sync(SENDING_LANE, "Ready"), "lanes Ready", every=2)
        children = await self.children("app.kubernetes.io/managed-by=lanewright")
        print(f"Ready after {ready:.0f} s, {cold.cost()}", flush=True)
        cold.end()
        again = self.operator("lanewright-again")

        async def all_passed() -> bool:
            passed = again.metric("lanewright_reconciles_total", 'kind="SendingLane"')
            return passed >= self.lanes and not again.metric("lanewright_queue_depth")

        second = await self.until(all_passed, "every lane reconciled once")
        return synced, ready, second, again, children, cost

    async def at_rest(self) -> int:
        """Returns the audit log's length once our operator has written nothing for a while."""
        offset, since = self.cluster.audit_offset(), time.monotonic()

        async def quiet() -> bool:
            nonlocal offset, since
            if self.cluster.writes(offset=offset, user=OPERATOR_USER):
                offset, since = self.cluster.audit_offset(), time.monotonic()
            return time.monotonic() - since > QUIET_S

        await self.until(quiet, "our operator has nothing to write")
        return self.cluster.audit_offset()

    async def repaired(self, number: int) -> float:
        """Seconds until a lane's Service that was deleted is there again."""
        namespace, name = thousand.of_number(number)
        before = await self.kube.get(SERVICE, namespace, name)
        assert before is not None
        await self.kube.delete(SERVICE, namespace, name, uid=before["metadata"]["uid"])

        async def is_back() -> bool:
            found = await self.kube.get(SERVICE, namespace, name)
            return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

        return await self.until(is_back, "the Service is there again", every=0.01)

    async def one_more(self, number: int) -> float:
        """Seconds from a lane's creation until its last child is applied and its status says so."""
        manifest = thousand.lane(number)
        namespace, name = thousand.of_number(number)
        await self.kube.create(manifest)

        async def is_synced() -> bool:
            found = await self.kube.get(SENDING_LANE, namespace, name)
            return found is not None and _is_in_sync(found, "")

        took = await self.until(is_synced, "one lane more", every=0.01)
        assert await self.kube.get(STATEFUL_SET, namespace, f"{name}-0") is not None
        return took

    async def failover(self, leader: Operator, round_: int) -> tuple[float, Operator]:
        """Seconds from a leader's death to the first repair by the replica that waited."""
        other = self.operator(f"lanewright-next-{round_}", 18091 + round_)

        async def waits() -> bool:
            return bool(other.metric("lanewright_resync_timestamp_seconds"))

        await self.until(waits, "the other replica has listed everything")
        assert not other.metric("lanewright_leader")
        leader.end(signal.SIGKILL)
        took = await self.repaired(round_)
        assert other.metric("lanewright_leader")
        return took, other


def _is_in_sync(found: Manifest, condition: str) -> bool:
    status, generation = found.get("status") or {}, found["metadata"]["generation"]
    of = {one["type"]: one for one in status.get("conditions") or ()}
    if condition:
        named = of.get(condition) or {}
        observed = named.get("observedGeneration", status.get("observedGeneration"))
        return named.get("status") == "True" and observed == generation
    return bool(status.get("observedGeneration") == generation and of)


def p95(values: list[float]) -> float:
    """The 95th percentile, the larger neighbour where it lies between two."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]


async def measure(cluster: Cluster, lanes: int, idle_s: int, result: dict[str, Any]) -> None:
    """Everything, into `result`, as far as it comes."""
    configuration = Configuration()
    await load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    async with Kube(configuration) as kube:
        scale = Scale(cluster, kube, lanes)
        first, second, cost, children = await scale.prometheus_operator()
        result["prometheus_operator"] = {"cold_s": first, "again_s": second, "children": children, **vars_of(cost)}
        print(json.dumps(result["prometheus_operator"]), flush=True)
        synced, ready, again, ours, kinds, cost = await scale.lanewright()
        result["lanewright"] = {
            "cold_s": synced, "ready_s": ready, "again_s": again, "children": sum(kinds.values()), "kinds": dict(kinds),
            **vars_of(cost),
        }  # fmt: skip
        print(json.dumps(result["lanewright"]), flush=True)
        await idle(scale, ours, idle_s, result)
        result["lane_apply_s"] = [await scale.one_more(lanes + number) for number in range(ONE_MORE)]
        result["repair_s"] = [await scale.repaired(number) for number in range(REPAIRS)]
        took = []
        for number in range(KILLS):
            seconds, ours = await scale.failover(ours, number)
            took.append(seconds)
        result["failover_s"] = took
        result["stopped_in_s"] = ours.end()
        print(json.dumps({name: result[name] for name in ("lane_apply_s", "repair_s", "failover_s", "stopped_in_s")}))


def vars_of(cost: Cost) -> dict[str, float]:
    """The cost as the result keeps it."""
    return {"cpu_s": cost.cpu_s, "rss_mb": cost.rss_mb, "peak_mb": cost.peak_mb}


async def idle(scale: Scale, ours: Operator, seconds: int, result: dict[str, Any]) -> None:
    """Counts writes while nothing changes, between two repairs that are seen."""
    offset = await scale.at_rest()
    before = await scale.repaired(1)
    around = len(scale.cluster.writes(offset=offset, user=OPERATOR_USER))
    offset, cost, asked = await scale.at_rest(), ours.cost(), requests(ours)
    await asyncio.sleep(seconds)
    written = scale.cluster.writes(offset=offset, user=OPERATOR_USER)
    used = ours.cost()
    after = await scale.repaired(2)
    assert around, "the repair before the window was not seen in the audit log"
    now = requests(ours)
    result["idle"] = {
        "seconds": seconds,
        "writes": len(written),
        "of": [f"{one.verb} {one.resource} {one.name}" for one in written[:9]],
        "repair_before_s": before,
        "repair_after_s": after,
        "writes_of_the_repair_before": around,
        "cpu_share": (used.cpu_s - cost.cpu_s) / seconds,
        "rss_mb": used.rss_mb,
        "peak_mb": used.peak_mb,
        "requests": {name: now[name] - asked.get(name, 0) for name in now if now[name] != asked.get(name, 0)},
    }
    print(json.dumps(result["idle"]), flush=True)


def requests(operator: Operator) -> dict[str, float]:
    """Requests to the API by verb and kind."""
    found: dict[str, float] = {}
    for line in operator.metrics():
        if line.startswith("lanewright_api_requests_total{"):
            labels = dict(part.split("=", 1) for part in line[line.index("{") + 1 : line.index("}")].split(","))
            name = f"{labels['verb']} {labels['kind']}".replace('"', "")
            found[name] = found.get(name, 0.0) + float(line.rpartition(" ")[2])
    return found


def report(result: dict[str, Any]) -> None:
    """Records the figures that the run came to."""
    theirs, ours = result["prometheus_operator"], result["lanewright"]
    whole = result["idle"]["seconds"] >= 600
    values: dict[str, float] = {
        "lanes_1000_vs_prometheus_operator": ours["cold_s"] / theirs["cold_s"],
        "rss_vs_prometheus_operator": ours["rss_mb"] / theirs["rss_mb"],
        "idle_writes_10min" if whole else f"idle_writes_{result['idle']['seconds']}s": result["idle"]["writes"],
        "lane_apply_p95_s": p95(result["lane_apply_s"]),
        "repair_p95_s": p95(result["repair_s"]),
        "failover_s": max(result["failover_s"]),
    }
    for name, value in values.items():
        asked = CRITERIA.get(name, 0.0 if name.startswith("idle_writes") else None)
        figures.record(FILE, name, round(value, 3), "s" if name.endswith("_s") else "", asked, "lower", COMMAND)
    per_child = (ours["cold_s"] / ours["children"]) / (theirs["cold_s"] / theirs["children"])
    more: dict[str, float] = {
        "lanes_cold_s": ours["cold_s"],
        "lanes_ready_s": ours["ready_s"],
        "lanes_again_s": ours["again_s"],
        "lanes_children": ours["children"],
        "lanes_cpu_s": ours["cpu_s"],
        "lanes_peak_mb": ours["peak_mb"],
        "prometheus_cold_s": theirs["cold_s"],
        "prometheus_again_s": theirs["again_s"],
        "prometheus_children": theirs["children"],
        "prometheus_cpu_s": theirs["cpu_s"],
        "prometheus_rss_mb": theirs["rss_mb"],
        "lanes_again_vs_prometheus_operator": ours["again_s"] / theirs["again_s"],
        "per_child_vs_prometheus_operator": per_child,
        "idle_cpu_share": result["idle"]["cpu_share"],
        "idle_rss_mb": result["idle"]["rss_mb"],
        "idle_writes_around_the_window": result["idle"]["writes_of_the_repair_before"],
        "repair_median_s": statistics.median(result["repair_s"]),
    }
    for name, value in more.items():
        figures.record(FILE, name, round(value, 3), "", None, "lower", COMMAND)


def prepare(cluster: Cluster) -> None:
    """The operator's bytecode, definitions, release without a replica, nodes and slots that are none."""
    subprocess.run([sys.executable, "-c", "import lane_operator.__main__"], env={**os.environ, **BYTECODE}, check=True)
    bundle = module_file(cluster.layout, "prometheus-operator", "bundle.yaml").read_text()
    # as text: PyYAML knows no bare `=`, which stands in an enum there
    definitions = [one for one in bundle.split("\n---\n") if "\nkind: CustomResourceDefinition\n" in one]
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(definitions))
    thousand.prepare(cluster)
    served = [*thousand.namespaces(), POOL_NAMESPACE]
    upgrade(cluster, {"operator": {"replicas": 0}, "servedNamespaces": served})
    place, conf = cluster.place("ctl"), cluster.layout.conf / "admin.kubeconfig"
    place.run(["ip", "route", "replace", "local", thousand.PODS, "dev", "lo"])
    place.spawn("bench-slots", [sys.executable, "-m", "bench.slots", str(conf), str(ADMIN_PORT)])
    kwok = [str(cluster.program("kwok")), f"--kubeconfig={conf}", "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--cidr=10.99.255.1/24",
            "--node-lease-duration-seconds=40"]  # fmt: skip
    place.spawn("bench-kwok", kwok)


def main() -> None:
    """Measures in a cluster of its own and records."""
    arguments = argparse.ArgumentParser(prog="python -m bench.operator_scale", description=__doc__)
    arguments.add_argument("--idle", type=int, default=600, help="seconds of the idle window (default: 600)")
    arguments.add_argument("--lanes", type=int, default=LANES, help="fewer: a rehearsal, of which no figure is kept")
    arguments.add_argument("--keep", action="store_true", help="leave the cluster as it is, to look at")
    given = arguments.parse_args()
    cluster, why = open_cluster(purpose=Purpose.BENCH)
    print(f"operator at scale, cluster {cluster.layout.id} ({cluster.kind}: {why})", flush=True)
    cluster.up()
    result: dict[str, Any] = {}
    try:
        prepare(cluster)
        asyncio.run(measure(cluster, given.lanes, given.idle, result))
        if given.lanes == LANES:
            report(result)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}: {error.stderr}")
    finally:
        Path("build").mkdir(exist_ok=True)
        Path("build/bench-operator.json").write_text(json.dumps(result, indent=1) + "\n")
        if not given.keep:
            cluster.down()
    short = figures.missed(FILE)
    sys.exit(f"not shown: {'; '.join(short)}" if short else None)


if __name__ == "__main__":
    main()
