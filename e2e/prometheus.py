"""A real Prometheus beside a lane: it scrapes the lane's pods as its PodMonitor asks and runs the lane's rules.

Invariant: series carry the labels that the PodMonitor's relabelings give them, from the pods' own labels; the program
is ended and its data removed with the `with` block. Before: `installation` (lanes that run). After: tests of queries.
"""

import http.client
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from e2e.cluster.place import Place
from e2e.eventually import eventually
from e2e.internet import packages

Manifest = dict[str, Any]
PROGRAM = "prometheus"
ADDRESS, PORT = "127.0.0.1", 9390  # inside the place
EVERY = "1s"  # a test has no time for the 15 s of production; windows of minutes work all the same


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    place: Place

    def query(self, expression: str) -> list[float]:
        """The values of an expression now; raises AssertionError with Prometheus's words if it is none."""
        found = self._get(f"/api/v1/query?query={quote(expression)}")["result"]
        return [float(one["value"][1]) for one in found]

    def value(self, expression: str) -> float:
        """The one value of an expression; raises AssertionError unless there is exactly one, and a number."""
        values = self.query(expression)
        assert len(values) == 1, f"{expression} gives {len(values)} values"
        assert math.isfinite(values[0]), f"{expression} gives {values[0]}"
        return values[0]

    def alerts(self) -> dict[str, tuple[str, str]]:
        """Rule -> (health, state) of all that are loaded; health is `ok` where the last evaluation worked.

        A recording rule has no state.
        """
        groups = self._get("/api/v1/rules")["groups"]
        return {rule["name"]: (rule["health"], rule.get("state", "")) for group in groups for rule in group["rules"]}

    def _get(self, path: str) -> Manifest:
        connection = http.client.HTTPConnection(ADDRESS, PORT, timeout=20)
        connection.sock = self.place.socket()
        try:
            connection.sock.settimeout(20)
            connection.sock.connect((ADDRESS, PORT))
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert answer.status != http.HTTPStatus.SERVICE_UNAVAILABLE, text  # it loads its rules still: not yet
        said = json.loads(text)
        assert said["status"] == "success", said.get("error")
        return dict(said["data"])


def targets(pods: Sequence[Manifest], monitor: Manifest) -> list[Manifest]:
    """Prometheus's static targets for these pods, labelled as a PodMonitor's relabelings would label them."""
    found = []
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for pod in pods:
        labels = {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]}
        of_pod = {_meta(name): value for name, value in pod["metadata"]["labels"].items()}
        for rule in endpoint["relabelings"]:
            (source,) = rule["sourceLabels"]
            labels[rule["targetLabel"]] = of_pod[source]
        ports = [port for one in pod["spec"]["containers"] for port in one.get("ports", ())]
        (port,) = [one["containerPort"] for one in ports if one["name"] == endpoint["port"]]
        found.append({"targets": [f"{pod['status']['podIP']}:{port}"], "labels": labels})
    return found


def _meta(label: str) -> str:
    return "__meta_kubernetes_pod_label_" + "".join(char if char.isalnum() else "_" for char in label)


@contextmanager
def watching(place: Place, folder: Path, scraped: Sequence[Manifest], rules: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Runs one in a place that reaches the pods, until the block ends."""
    packages.install(packages.PROMETHEUS)
    groups = [group | {"interval": EVERY} for group in rules["groups"]]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    config = {
        "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [{"job_name": "lanes", "static_configs": list(scraped)}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    argv = [
        "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={ADDRESS}:{PORT}",
    ]  # fmt: skip
    place.spawn(PROGRAM, argv, cpu_weight=50)
    try:
        running = Prometheus(place)
        eventually(lambda: _scrapes(running), "Prometheus has scraped the pods", within=40)
        yield running
    finally:
        place.end(PROGRAM)


def _scrapes(running: Prometheus) -> bool:
    try:
        return running.query("min(up)") == [1.0]
    except OSError:
        return False
