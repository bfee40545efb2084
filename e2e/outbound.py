"""Lanes that send to the tests' internet, the doors into their slots, and the arithmetic over what the ISPs saw.

Invariant: figures come from what the ISPs recorded and from packets on their wire, never from what a relay says of
itself. Before: `installation` (the operator), `e2e.internet`. After: the tests of what leaves a slot.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from e2e import figures
from e2e.accounting import unaccounted
from e2e.cluster import Cluster
from e2e.eventually import eventually
from e2e.installation import (
    Installation,
    Manifest,
    Stock,
    installed,
    lane,
    network,
    pool,
    reflector_secret,
)
from e2e.internet import addresses
from e2e.internet.counting import max_concurrent, max_in_any_window
from e2e.internet.internet import Internet, Load, default_policy
from e2e.internet.policy import Policy
from e2e.internet.records import Message
from e2e.load.generate import LoadConfig
from e2e.load.ledger import Entry
from lane_api.names import LANE_LABEL

COMMAND = "make e2e"
CLIENTS = ["192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24"]  # nodes masquerade what comes through a Service
RESOURCES = {"requests": {"cpu": "50m", "memory": "64Mi"}}


@dataclass(frozen=True)
class Slot:
    """One slot's pod, and where it takes mail."""

    pod: str
    uid: str
    host: str
    port: int
    restarts: int
    ready: bool


@dataclass(frozen=True)
class Span:
    """One connection attempt as packets showed it."""

    isp: str
    source_ip: str
    opened: float
    closed: float | None
    answered: bool


class Outbound:
    """One namespace of lanes, and their internet with the control port open."""

    def __init__(self, here: Installation) -> None:
        self.here = here
        self.internet = here.internet
        self.isps = here.internet.isps
        self.ledgers = here.internet.ground.folder / "ledgers"
        self._loads: list[Load] = []

    # lanes and slots

    def apply(self, *objects: Manifest) -> None:
        """`kubectl apply`."""
        self.here.apply(*objects)

    def slots(self, lane_name: str) -> list[Slot]:
        """The pods of a lane's slots, in order."""
        chosen = ("-n", self.here.namespace, "-l", f"{LANE_LABEL}={lane_name}")
        pods = [one for one in self.here.cluster.get("pods", *chosen)["items"] if not _going(one)]
        return sorted((_slot(one) for one in pods), key=lambda slot: slot.pod)

    def address(self, lane_name: str, index: int = 0) -> str:
        """The address that the world is to see a slot at, as status says."""
        return str(self.here.get("sendinglane", lane_name)["status"]["slots"][index]["ip"])

    def says(self, lane_name: str, kind: str, status: str, reason: str, within: float = 60.0) -> str:
        """The message of a lane's condition, once it has this status and reason."""

        def look() -> str:
            found = self.here.condition(lane_name, kind)
            assert (found.get("status"), found.get("reason")) == (status, reason), found
            return str(found["message"])

        return eventually(look, f"{kind} of {lane_name} is {status}, {reason}", within=within)

    def service(self, lane_name: str) -> tuple[str, int]:
        """Address and port of the lane's submission Service."""
        chosen = ("-n", self.here.namespace, "-l", f"{LANE_LABEL}={lane_name}")
        for one in self.here.cluster.get("services", *chosen)["items"]:
            if one["spec"].get("clusterIP") not in (None, "None"):
                return str(one["spec"]["clusterIP"]), 587
        raise LookupError(f"lane {lane_name} has no submission Service")

    def endpoints(self, lane_name: str) -> set[str]:
        """The pods that the submission Service sends clients to."""
        chosen = ("-n", self.here.namespace, "-l", f"kubernetes.io/service-name={lane_name}")
        slices = self.here.cluster.get("endpointslices", *chosen)["items"]
        return {
            one["targetRef"]["name"]
            for part in slices
            for one in part.get("endpoints") or ()
            if one.get("conditions", {}).get("ready")
        }

    # mail

    async def load(
        self, stream: str, lane_name: str, door: tuple[str, int], domains: tuple[str, ...], messages: int, rate: float,
        **more: Any,
    ) -> Load:  # fmt: skip
        """Begins to submit `messages`, so many a second, to a door of a lane (a Service's or a slot's)."""
        settings: dict[str, Any] = {"sessions": 4, "size": 1024, "tries": 300} | more
        config = LoadConfig(
            stream=stream,
            host=door[0],
            port=door[1],
            source_ip=addresses.CLIENT,
            sender=f"news@{lane_name}.example.com",
            domains=domains,
            messages=messages,
            rate=rate,
            ledger=self.ledgers / f"{stream}-{secrets.token_hex(3)}.jsonl",
            **settings,
        )
        self._loads.append(await self.internet.load(config))
        return self._loads[-1]

    @asynccontextmanager
    async def traffic(self, lane_name: str, domains: tuple[str, ...], rate: float) -> AsyncIterator[None]:
        """So many messages a second into each of a lane's slots but those in standby, for an hour at most."""
        doors = [one for one in self.slots(lane_name) if not one.pod.startswith(f"{lane_name}-s")]
        loads = [
            await self.load(
                f"to-{slot.pod}", lane_name, (slot.host, slot.port), domains, round(rate * 3600), rate,
                sessions=1, tries=10_000,
            )
            for slot in doors
        ]  # fmt: skip
        await asyncio.to_thread(eventually, lambda: all(load.progress() for load in loads), "mail flows")
        try:
            yield
        finally:
            for load in loads:
                load.end()

    def end_loads(self) -> None:
        """Ends the generators that a test that failed has left."""
        for load in self._loads:
            if load.running():
                load.end()

    async def submit(
        self, stream: str, lane_name: str, domain: str, messages: int, door: tuple[str, int] | None = None
    ) -> list[Entry]:
        """Submits a few messages at once; all of them were answered 250."""
        load = await self.load(stream, lane_name, door or self.service(lane_name), (domain,), messages, 200.0)
        entries = await load.done(60)
        refused = [one for one in entries if one.outcome != "accepted"]
        assert not refused, refused[:3]
        return entries

    async def arrivals(self, entries: Iterable[Entry], within: float = 60.0) -> list[Message]:
        """Every copy at the ISPs of these messages, once each of them has arrived."""
        wanted = {entry.message_id for entry in entries}
        deadline = asyncio.get_running_loop().time() + within
        while True:
            seen = [one for one in await self._messages() if one.message_id in wanted]
            missing = wanted - {one.message_id for one in seen}
            if not missing:
                return seen
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{len(missing)} of {len(wanted)} messages did not arrive: {sorted(missing)[:3]}")
            await asyncio.sleep(0.25)

    async def _messages(self) -> list[Message]:
        return [one for one in await self.internet.records() if isinstance(one, Message)]

    # the wire

    async def spans(self, since: float = 0.0, until: float = float("inf")) -> list[Span]:
        """Connection attempts to any ISP whose SYN came in this time; asserts that no packet escaped the watch."""
        seen = await self.isps.wire()
        assert seen["packets_lost"] == 0, "the wire was not seen whole"
        return [
            Span(one["isp"], one["source_ip"], one["opened"], one["closed"], one["answered"])
            for one in seen["connections"]
            if since <= one["opened"] < until
        ]

    async def policy(self, isp: addresses.MailProvider, **changes: Any) -> None:
        """Puts the ISP's ordinary policy in force, with these changes."""
        await self.isps.set_policy(isp.name, Policy.model_validate(default_policy(isp).model_dump() | changes))


def most_connections(spans: Iterable[Span], source_ip: str) -> int:
    """The most connections of one address that were open at one instant."""
    return max_concurrent((one.opened, one.closed) for one in spans if one.source_ip == source_ip and one.answered)


def mean_connections(spans: Iterable[Span], source_ip: str, since: float, until: float) -> float:
    """The mean number of open connections of one address over a time."""
    held = 0.0
    for one in spans:
        if one.source_ip == source_ip and one.answered:
            held += max(0.0, min(one.closed or until, until) - max(one.opened, since))
    return held / (until - since)


def most_in_window(messages: Iterable[Message], source_ip: str, seconds: float) -> int:
    """The most messages of one address in any window of so many seconds, by when their last octet came."""
    return max_in_any_window((one.received for one in messages if one.source_ip == source_ip), seconds)


def by_source(messages: Iterable[Message]) -> dict[str, int]:
    """Source address -> messages."""
    counts: defaultdict[str, int] = defaultdict(int)
    for one in messages:
        counts[one.source_ip] += 1
    return dict(counts)


def record_e2e(name: str, value: float, unit: str, target: float | None = 0) -> None:
    """Writes a figure of build/figures/e2e.json; lower is better."""
    figures.record("e2e.json", name, value, unit, target, "lower", COMMAND)


def sending_lane(name: str, namespace: str, pool_name: str, **spec: Any) -> Manifest:
    """A lane that sends unsigned, takes mail from the tests' clients without AUTH and tries again soon."""
    asked = {
        "trafficClass": "Transactional",
        "domains": [{"name": f"{name}.example.com", "dkim": {"mode": "Off"}}],
        "submission": {"senders": [f"@{name}.example.com"], "clients": {"cidrs": CLIENTS}},
        "queue": {"size": "1Gi", "retry": {"first": "1s", "factor": 1, "max": "2s"}},
        "drain": {"deadline": "1s"},
        "pod": {"resources": RESOURCES},
        "monitoring": {"podMonitor": False, "rules": False, "dashboard": False},
    }
    return lane(name, namespace, pool_name, **(asked | spec))


def host_pool(name: str, namespace: str, addresses_of_nodes: Iterable[tuple[str, str]], **spec: Any) -> Manifest:
    """A HostNetwork pool of (address, node); `source` and the like may be added to its addresses afterwards."""
    made = pool(name, namespace, *(ip for ip, _ in addresses_of_nodes), **spec)
    made["spec"] |= {"engine": "HostNetwork", "engineConfig": {}}
    for address, (_, node) in zip(made["spec"]["addresses"], addresses_of_nodes, strict=True):
        address["node"] = node
    return made


def isp_policy(name: str, namespace: str, match: list[str], **spec: Any) -> Manifest:
    """An ISPPolicy over these MX hosts."""
    return {
        "apiVersion": "lanewright.dev/v1alpha1",
        "kind": "ISPPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"match": {"mx": match}, **spec},
    }


@pytest.fixture(scope="module")
def sending_namespace(cluster: Cluster, internet: Internet, stock: Stock) -> Iterator[Installation]:
    """One namespace for all tests of a file, with the template network and the reflectors' key; it goes with them."""
    with installed(cluster, internet, stock.take()) as here:
        here.apply(network(here.namespace), reflector_secret(internet, here.namespace))
        yield here


@pytest.fixture
async def outbound(sending_namespace: Installation) -> AsyncIterator[Outbound]:
    """The lanes of this file and the whole internet as it is by default; its faults end with the test."""
    internet = sending_namespace.internet
    async with internet.isps:
        await _as_by_default(internet)
        await internet.reset_records()
        made = Outbound(sending_namespace)
        yield made
        made.end_loads()
        await _as_by_default(internet)
        left_over = unaccounted(sending_namespace.cluster, sending_namespace.namespace)
        assert left_over == {}, "recipients of whom nobody knows what became of them"


async def _as_by_default(internet: Internet) -> None:
    rules = internet.faults.rules
    for block in set(rules.blocks):
        internet.faults.unblock(block)
    for nat in set(rules.nats):
        internet.faults.untranslate(nat)
    internet.start_reflectors()
    internet.stop_lying_reflector()
    for provider in addresses.SCRIPTED:
        await internet.isps.set_policy(provider.name, default_policy(provider))


def _going(pod: Manifest) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _slot(pod: Manifest) -> Slot:
    container = next(one for one in pod["spec"]["containers"] if one["name"] == "relay")
    port = next(one["containerPort"] for one in container["ports"] if one["name"] == "smtp")
    states = {one["name"]: one for one in pod["status"].get("containerStatuses", ())}
    state = states.get("relay", {})
    return Slot(
        pod["metadata"]["name"],
        pod["metadata"]["uid"],
        pod["status"].get("podIP", ""),
        int(port),
        int(state.get("restartCount", 0)),
        bool(state.get("ready", False)),
    )
