"""Everything that this project puts into a cluster: children of lanes of each class and engine, the chart, examples."""

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import programs
from e2e.cluster.identity import Layout
from lane_api.classes import TrafficClass
from lane_api.ippool import Engine
from lane_api.names import STANDBY_FROM
from lane_operator.desired import desired_state
from lane_operator.egress import ENGINES
from lane_operator.inputs import DkimKey, Lane
from lane_operator.kube import OPTIONAL_KINDS
from tests.lane_operator import made

__all__ = ["CHILD_SETS", "chart", "children", "examples"]

Manifest = dict[str, Any]
ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "lanewright"
CHILD_SETS = tuple(
    (of.value, engine.value)
    for of in TrafficClass
    for engine in ENGINES
    if (of, engine) != (TrafficClass.COLD, Engine.CLUSTER_DEFAULT)
)
"""(class, engine) of every set of children that there may be."""
_DOMAIN = "notify.example.com"
_SPREAD = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"lanewright.dev/lane": "otp"}},
}
_EVERYTHING: Manifest = {
    "standbyReplicas": 1,
    "submission": {
        "senders": [f"@{_DOMAIN}"],
        "http": {},
        "service": {
            "type": "LoadBalancer",
            "annotations": {"example.com/a": "b"},
            "loadBalancerClass": "example.com/lb",
        },
        "tls": {"issuerRef": {"name": "ca"}, "dnsNames": ["submit.example.com"]},
        "clients": {"cidrs": ["10.0.0.0/8"], "namespaces": {"matchLabels": {"mail": "yes"}}},
    },
    "domains": [
        {
            "name": _DOMAIN,
            "dns": {"provider": "ExternalDNS"},
            "returnPath": {"domain": f"b.{_DOMAIN}", "forward": "Webhook", "webhook": "https://app.example.com/b"},
        }
    ],
    "routes": [{"domains": ["a.example"], "host": "relay.example", "tls": "Required", "authSecret": "relay"}],
    "feedback": {
        "service": {"type": "LoadBalancer", "hostname": "in.example.com"},
        "unsubscribe": {"url": "https://u.notify.example.com"},
    },
    "audit": {"archive": {"s3": {"bucket": "mail", "endpoint": "https://s3.example.com", "secretName": "s3"}}},
    "queue": {"size": "20Gi", "storageClassName": "fast"},
    "pod": {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "mail", "operator": "Exists"}],
        "topologySpreadConstraints": [_SPREAD],
        "priorityClassName": "mail",
    },
}


def children(of_class: str, engine: str, *, everything: bool = False) -> list[Manifest]:
    """The children of one lane, with defaults or with everything that a lane may ask for."""
    of = made.lane(trafficClass=of_class, **(_EVERYTHING if everything else {}))
    pool = made.pool(engine, classes=[of_class])
    key = DkimKey("lw1", f"otp-dkim-{_DOMAIN}", "private.key", made.RECORD)
    references = made.references(
        of, pool, dkim={_DOMAIN: key}, kinds=frozenset(kind.qualified for kind in OPTIONAL_KINDS)
    )
    found = desired_state(of, references, made.assignment(*_claims(of, engine)), made.SETTINGS)
    if found.refusals or found.left_out or not found.complete:
        raise AssertionError(f"not every child is made: {found.refusals}, {found.left_out}")
    return list(found.manifests)


def chart(here: Layout, *values: str, serves: Iterable[str] = ()) -> list[Manifest]:
    """The chart's objects, in a cluster that has these kinds as well, such as `monitoring.coreos.com/v1/PodMonitor`."""
    programs.ensure(here, ("helm",))
    sets = [part for value in values for part in ("--set", value)]
    sets += [part for kind in serves for part in ("--api-versions", kind)]
    command = [str(programs.path(here, "helm")), "template", "lanewright", str(CHART), "-n", "lw", "--kube-version"]
    done = subprocess.run(
        [*command, programs.KUBERNETES, *sets], capture_output=True, text=True, check=True, timeout=50
    )
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def examples() -> Iterator[Manifest]:
    """The manifests that a newcomer applies."""
    for path in sorted((ROOT / "docs" / "quickstart").glob("*.yaml")):
        yield from (one for one in yaml.safe_load_all(path.read_text()) if one)


def _claims(of: Lane, engine: str) -> Iterator[Any]:
    yield from (made.claim(index, engine) for index in range(of.spec.replicas))
    yield from (made.claim(STANDBY_FROM + index, engine, name="otp") for index in range(of.spec.standby_replicas))
