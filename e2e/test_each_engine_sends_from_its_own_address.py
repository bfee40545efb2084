"""Each egress engine brings a slot's mail out of the slot's own address, and nothing leaves before that is proved.

One scenario for all. A slot comes up while its address is not brought out yet: by the engine's own fault (a proxy that
is not there, a network that steers nothing, an address that no node has) or, where the engine does all by itself,
because no reflector answers. Mail waits in it; SYNs to any ISP are counted in packets, from any address, from before
the pod. Then the engine's own way is made, and the mail arrives from the address.
The seeded fault is a lane of engine ClusterDefault, which proves nothing: the same count sees its SYNs at once.
Cilium does not run here: its objects are checked by its own definitions, and its slot is one that is never proved.
Each engine writes its row of build/figures/engines.json.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from e2e import figures
from e2e.cluster import Cluster
from e2e.cluster.programs import module_file
from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, pool
from e2e.internet import addresses
from e2e.outbound import Outbound, by_source, host_pool, sending_lane
from e2e.steering import SocksProxy, Steering, policies_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

COMMAND = "make engines"
ISP = "gmail-like.example"
MESSAGES = 20
SHUT_S = 6.0  # SYNs are counted for so long with mail waiting: several rounds of the prober, dozens of a dispatcher's
HOST, MULTUS, SOCKS, STEERED, GATEWAY, ASTRAY = (f"203.0.113.{last}" for last in range(210, 216))
NOTICED_S = 75.0  # a kind is looked for every 30 s
ELSEWHERE = "203.0.113.216"
NODE = "n2"
CILIUM_KINDS = ("ciliumegressgatewaypolicies", "ciliumnetworkpolicies")


@dataclass
class Row:
    """What is shown of one engine."""

    engine: str
    shown_on_wire: bool
    leaked: list[str]
    waiting: int
    seeded: int
    crd_checked: bool | None = None
    """None: the engine has no definitions of its own."""
    note: str = ""

    def write(self) -> None:
        """Puts it on record, before anything is asserted of it."""
        beside = {
            "shown_on_wire": self.shown_on_wire,
            "crd_checked": self.crd_checked,
            "leak_before_proof": len(self.leaked),
            "waiting_messages": self.waiting,
            "seeded_syns": self.seeded,
            "note": self.note,
        }
        figures.record("engines", self.engine, len(self.leaked), "SYNs", 0, "lower", COMMAND, beside=beside)


@dataclass
class Case:
    """One engine that runs here."""

    engine: str
    address: str
    pool: Manifest
    make_way: Callable[[], None]
    """Sets up what brings the slot's mail out."""
    before: Callable[[], None] = lambda: None
    reason: str = "ProbeFailed"
    """Of EgressVerified, while there is no way."""
    crd_checked: bool | None = None
    needs: list[Manifest] = field(default_factory=list)


def _of(engine: str, name: str, namespace: str, address: str, **more: Any) -> Manifest:
    """A pool of an engine with one address."""
    made = pool(name, namespace, address)
    made["spec"] |= {"engine": engine, "engineConfig": {}}
    made["spec"]["addresses"][0] |= more
    made["spec"]["verification"]["every"] = "2s"
    return made


@pytest.fixture
def steering(cluster: Cluster) -> Iterator[Steering]:
    """Steering by label; its rules go with the test."""
    made = Steering(cluster)
    yield made
    made.end()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[SocksProxy]:
    """A proxy on a node, not running yet."""
    made = SocksProxy(cluster, NODE, SOCKS)
    yield made
    made.stop()


def _case(engine: str, outbound: Outbound, proxy: SocksProxy, steering: Steering) -> Case:
    here, internet = outbound.here, outbound.internet
    space = here.namespace
    match engine:
        case "HostNetwork":
            made = host_pool("host", space, [(HOST, NODE)])
            made["spec"]["verification"]["every"] = "2s"
            return Case(engine, HOST, made, lambda: here.cluster.add_address(NODE, HOST))
        case "Multus":
            made = pool("multus", space, MULTUS)
            return Case(engine, MULTUS, made, internet.start_reflectors, internet.stop_reflectors, crd_checked=True)
        case "Socks5":
            door = {"address": proxy.listens, "port": proxy.port, "secretName": "socks"}
            made = _of(engine, "socks5", space, SOCKS, proxy=door)
            return Case(engine, SOCKS, made, proxy.start, needs=[proxy.secret("socks", space)])
        case _:
            made = _of(engine, "external", space, STEERED)
            way = lambda: steering.steer(space, "external-0", STEERED)  # noqa: E731
            return Case(engine, STEERED, made, way, reason="Mismatch")


async def _syns(outbound: Outbound, since: float, queued: float) -> list[str]:
    """The source addresses of all SYNs to any ISP from `since` to SHUT_S seconds after the last mail was `queued`."""
    eventually(lambda: time.time() >= queued + SHUT_S, "the time is over", within=SHUT_S + 5)
    return [one.source_ip for one in await outbound.spans(since, queued + SHUT_S)]


async def _seeded(outbound: Outbound) -> int:
    """SYNs that the same count sees of a lane that proves nothing, with as much mail."""
    here = outbound.here
    if not here.is_there("sendinglane", "unproved"):
        here.apply(pool("unproved", here.namespace), sending_lane("unproved", here.namespace, "unproved"))
        here.wait_ready("unproved")
    await outbound.isps.disconnect(addresses.GMAIL.name)  # mail over a connection of before needs no SYN
    began = time.time()
    await outbound.arrivals(await outbound.submit("seeded", "unproved", ISP, MESSAGES))
    return len(await outbound.spans(began))


def _ready_slot(outbound: Outbound, lane: str) -> None:
    def look() -> bool:
        found = outbound.slots(lane)
        assert [slot.ready for slot in found] == [True], found
        assert found[0].pod in outbound.endpoints(lane)
        return True

    eventually(look, f"the slot of {lane} takes mail through its Service", within=90)


_LONG = pytest.mark.long(
    "e2e/test_each_engine_sends_from_its_own_address.py", "tests/lane_operator/egress/test_engines.py"
)


@pytest.mark.parametrize(
    "engine", ["Multus", *(pytest.param(one, marks=_LONG) for one in ("HostNetwork", "Socks5", "External"))]
)
async def test_mail_leaves_from_the_slots_own_address_and_not_before_it_is_proved(
    outbound: Outbound, proxy: SocksProxy, steering: Steering, engine: str
) -> None:
    here, case = outbound.here, _case(engine, outbound, proxy, steering)
    name = str(case.pool["metadata"]["name"])
    seeded = await _seeded(outbound)
    case.before()
    began = time.time()
    here.apply(*case.needs, case.pool, sending_lane(name, here.namespace, name))
    _ready_slot(outbound, name)
    outbound.says(name, "EgressVerified", "False", case.reason)
    waiting = await outbound.submit(f"early-{name}", name, ISP, MESSAGES)
    leaked = await _syns(outbound, began, time.time())

    case.make_way()
    arrived = by_source(await outbound.arrivals(waiting, within=90))
    note = outbound.says(name, "EgressVerified", "True", "Matched")
    shown = arrived == {case.address: MESSAGES}
    row = Row(engine, shown, leaked, len(waiting), seeded, case.crd_checked, note)
    row.write()

    assert leaked == []
    assert arrived == {case.address: MESSAGES}
    assert seeded
    effective = here.get("sendinglane", name)["status"]["effective"]["egress"]
    assert effective["engine"] == engine
    assert effective["sourceCheck"] in note


@pytest.mark.long("tests/lane_operator/egress/test_engines.py")
async def test_ciliums_own_definitions_take_its_policies_and_its_slot_waits_for_a_gateway(
    outbound: Outbound, steering: Steering
) -> None:
    here = outbound.here
    cluster, space = here.cluster, here.namespace
    made = _of("Cilium", "cilium", space, GATEWAY, node=NODE)
    seeded, began = await _seeded(outbound), time.time()
    here.apply(made, sending_lane("cilium", space, "cilium"))
    running = here.operator_restarts()
    message = eventually(lambda: _refused(here, "cilium"), "the engine is missed", within=60)
    assert "install Cilium with egressGateway.enabled" in message

    definitions = [module_file(cluster.layout, "cilium", f"{one}-policies.yaml") for one in ("gateway", "network")]
    try:
        for definition in definitions:
            cluster.kubectl("apply", "--server-side", "-f", str(definition))
        (gateway,) = eventually(lambda: policies_of(cluster, space), "the kinds are noticed", within=NOTICED_S)
        _ready_slot(outbound, "cilium")
        stands = here.get("ciliumnetworkpolicies.cilium.io", "cilium")
        waiting = await outbound.submit("early-cilium", "cilium", ISP, MESSAGES)
        leaked = await _syns(outbound, began, time.time())
        outbound.says("cilium", "EgressVerified", "False", "Mismatch")  # no gateway: the node's address
        note = "definitions of github.com/cilium/cilium, as e2e/cluster/modules/cilium/go.mod pins it"
        Row("Cilium", False, leaked, len(waiting), seeded, True, note).write()

        assert leaked == []
        assert _said(gateway) == _gateway(space)
        assert seeded
        assert stands["spec"]["endpointSelector"] == {"matchLabels": {"lanewright.dev/lane": "cilium"}}
        assert here.operator_restarts() == running, "the kinds are picked up without a restart"
        _takes_ipv6(cluster, gateway)
        _is_repaired(cluster, space)

        steering.steer(space, "cilium-0", GATEWAY)  # in a gateway's place: the proof cares for the address alone
        assert by_source(await outbound.arrivals(waiting, within=90)) == {GATEWAY: MESSAGES}
        cluster.kubectl("delete", "sendinglane", "cilium", "-n", space, "--wait=false")
        eventually(lambda: not policies_of(cluster, space), "the policy goes with its lane", within=90)
    finally:
        for kind in CILIUM_KINDS:
            cluster.kubectl("delete", "crd", f"{kind}.cilium.io", "--ignore-not-found")


def _refused(here: Installation, lane: str) -> str:
    found = here.condition(lane, "Reconciling")
    assert found.get("reason") == "WaitingForEngine", found
    return str(found["message"])


def _said(gateway: Manifest) -> Manifest:
    """What of a policy's spec is ours: its definition adds an empty list of other gateways."""
    return {name: value for name, value in gateway["spec"].items() if value != []}


def _gateway(space: str) -> Manifest:
    return {
        "selectors": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}},
                "podSelector": {"matchLabels": {"lanewright.dev/slot": "cilium-0"}},
            }
        ],
        "destinationCIDRs": ["0.0.0.0/0"],
        "egressGateway": {"nodeSelector": {"matchLabels": {"kubernetes.io/hostname": NODE}}, "egressIP": GATEWAY},
    }


def _takes_ipv6(cluster: Cluster, gateway: Manifest) -> None:
    """The same policy for an IPv6 address is one to its definition."""
    there = {**gateway["spec"]["egressGateway"], "egressIP": "2001:db8::10"}
    spec = {**gateway["spec"], "destinationCIDRs": ["::/0"], "egressGateway": there}
    other = {**gateway, "metadata": {"name": f"{gateway['metadata']['name']}-v6"}, "spec": spec}
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(other))


def _is_repaired(cluster: Cluster, space: str) -> None:
    """What a hand takes away or turns is put back."""
    name = f"{space}.cilium-0"
    cluster.kubectl("delete", "ciliumegressgatewaypolicies.cilium.io", name)
    eventually(lambda: len(policies_of(cluster, space)) == 1, "a deleted policy comes back", within=30)
    patch = '{"spec":{"egressGateway":{"egressIP":"203.0.113.99"}}}'
    cluster.kubectl("patch", "ciliumegressgatewaypolicies.cilium.io", name, "--type=merge", "-p", patch)
    eventually(lambda: _said(policies_of(cluster, space)[0]) == _gateway(space), "a turned one, too", within=30)


@pytest.fixture
def astray(cluster: Cluster) -> Iterator[SocksProxy]:
    """Another proxy, for an address of its own."""
    made = SocksProxy(cluster, NODE, ASTRAY, port=1081)
    yield made
    made.stop()


@pytest.mark.long("tests/lane_relay/egress/test_proof_through_a_proxy.py")
async def test_a_proxy_that_leaves_from_elsewhere_stops_its_slot_and_one_that_is_gone_holds_the_mail(
    outbound: Outbound, astray: SocksProxy
) -> None:
    here, proxy = outbound.here, astray
    here.cluster.add_address(NODE, ELSEWHERE)
    proxy.start(leaves_from=ELSEWHERE)
    door = {"address": proxy.listens, "port": proxy.port, "secretName": "socks"}
    made = _of("Socks5", "astray", here.namespace, ASTRAY, proxy=door)
    began = time.time()
    here.apply(proxy.secret("socks", here.namespace), made, sending_lane("astray", here.namespace, "astray"))
    _ready_slot(outbound, "astray")
    message = outbound.says("astray", "EgressVerified", "False", "Mismatch")
    assert ELSEWHERE in message
    waiting = await outbound.submit("astray", "astray", ISP, MESSAGES)
    assert await _syns(outbound, began, time.time()) == []

    proxy.stop()
    outbound.says("astray", "EgressVerified", "False", "Mismatch")  # silence takes nothing back
    proxy.start()
    assert by_source(await outbound.arrivals(waiting, within=90)) == {ASTRAY: MESSAGES}
    outbound.says("astray", "EgressVerified", "True", "Matched")

    proxy.stop()
    later = await outbound.submit("no-proxy", "astray", ISP, MESSAGES)
    outbound.says("astray", "EgressVerified", "True", "ProofStale")
    proxy.start()
    assert by_source(await outbound.arrivals(later, within=90)) == {ASTRAY: MESSAGES}


@pytest.mark.long("e2e/test_mail_leaves_only_from_a_proved_address.py")
async def test_a_network_that_steers_elsewhere_later_is_noticed(
    outbound: Outbound, proxy: SocksProxy, steering: Steering
) -> None:
    here, case = outbound.here, _case("External", outbound, proxy, steering)
    case.pool["metadata"]["name"] = "external"
    here.apply(case.pool, sending_lane("external", here.namespace, "external"))
    _ready_slot(outbound, "external")
    case.make_way()
    outbound.says("external", "EgressVerified", "True", "Matched", within=90)

    steering.end()
    message = outbound.says("external", "EgressVerified", "False", "Mismatch")
    assert STEERED in message
    began = time.time()
    waiting = await outbound.submit("astray", "external", ISP, MESSAGES)
    assert await _syns(outbound, began, time.time()) == []

    case.make_way()
    assert by_source(await outbound.arrivals(waiting, within=90)) == {STEERED: MESSAGES}


async def test_clusterdefault_says_that_it_proves_nothing(outbound: Outbound) -> None:
    here = outbound.here
    seeded = await _seeded(outbound)
    note = outbound.says("unproved", "EgressVerified", "True", "SharedAddress")
    beside = {"shown_on_wire": seeded > 0, "crd_checked": None, "leak_before_proof": None, "note": note}
    figures.record("engines", "ClusterDefault", 0, "addresses of its own", None, "lower", COMMAND, beside=beside)

    assert here.get("sendinglane", "unproved")["status"]["effective"]["egress"]["sourceCheck"] == "none"
