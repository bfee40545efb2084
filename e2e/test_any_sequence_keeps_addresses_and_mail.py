"""Any sequence of applies, deletes and failures keeps each address with one slot and each message on a guarded volume.

Rules at random against a real API server: what people apply, scale, delete and damage; two operators at once, without
a Lease, with caches as stale as the rules have it, each killed before or after any of its writes; controllers, kubelets
and relays that act when the rules say so. In the end everybody is let do his work, and all comes to rest as asked.
"""

import asyncio
import itertools
import os
import random
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from kubernetes.aio.client import Configuration

from e2e.model.apiserver import ApiServer
from e2e.model.door import Door
from e2e.model.process import OperatorProcess
from e2e.model.stage import Stage
from lane_api.names import ADDRESS_ANNOTATION, API_VERSION
from lane_operator.errors import KubeError
from lane_operator.inputs import Manifest
from lane_operator.kube import IP_POOL, NODE, POD, SECRET, SENDING_LANE, STATEFUL_SET, VOLUME_CLAIM, Kube

pytestmark = pytest.mark.timeout(1800)

IS_LONG = "MODEL_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "3"))
STEPS = 40 if IS_LONG else 20
WANTED = ("sequences", "kills at a write", "pods", "sent", "handed", "released", "passes")
LANES, POOLS, NODES = ("a", "b", "c"), ("p", "q"), ("n1", "n2")
CLASSES = ("Transactional", "Bulk")
ADDRESSES = tuple(f"203.0.113.{last}" for last in range(10, 16))
ROUNDS = 60
T = TypeVar("T")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One for all sequences; each has a namespace of its own."""
    made = ApiServer(tmp_path_factory.mktemp("api"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def made(kind: str, name: str, namespace: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def pool_spec(classes: list[str], listed: list[tuple[str, str, str, bool]], cooldown: str) -> Manifest:
    addresses = [
        {"ip": ip, "hostname": f"out{ip.rpartition('.')[2]}.example.com", "node": node, "role": role}
        | ({"quarantined": True} if quarantined else {})
        for ip, node, role, quarantined in listed
    ]
    if addresses:
        addresses[0]["role"] = "Active"
    return {
        "classes": classes,
        "engine": "HostNetwork",
        "engineConfig": {"portRange": "20000-20999"},
        "addresses": addresses,
        "cooldown": cooldown,
        "verification": {"reflectors": ["tcp://198.51.100.5:25"], "secretName": "reflector"},
    }


def lane_spec(traffic_class: str, pool: str, replicas: int, standby: int, policy: str) -> Manifest:
    domain = f"{traffic_class.lower()}.example"
    return {
        "trafficClass": traffic_class,
        "replicas": replicas,
        "standbyReplicas": standby,
        "poolRef": {"name": pool},
        "domains": [{"name": domain, "dkim": {"mode": "Off"}}],
        "submission": {"senders": [f"@{domain}"], "clients": {"cidrs": ["198.18.0.0/15"]}},
        "drain": {"policy": policy},
        "resolver": {"mode": "Addresses", "addresses": ["198.51.100.2"]},
        "monitoring": {"podMonitor": False, "rules": False, "dashboard": False},
    }


listed = st.lists(
    st.tuples(
        st.sampled_from(ADDRESSES),
        st.sampled_from(NODES),
        st.sampled_from(["Active", "Active", "Active", "Standby"]),
        st.sampled_from([False, False, False, False, True]),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda one: one[0],
)


class Sequences(RuleBasedStateMachine):
    """One namespace, from nothing to rest."""

    server: ApiServer
    folder: Path
    relays_lie = False
    """A fault on purpose, see `Relay`."""
    all: Counter[str]
    """What happened in all sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.namespace = f"m-{next(_numbers)}"
        self.chance = random.Random(0)
        self.doors = [Door(self.server) for _ in range(3)]
        self.operators: dict[int, OperatorProcess] = {}
        self.is_whole = False
        """It has begun, and nothing was found yet."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize(seed=st.integers(0, 2**32), first=listed, second=listed)
    def begin(
        self, seed: int, first: list[tuple[str, str, str, bool]], second: list[tuple[str, str, str, bool]]
    ) -> None:
        self.chance.seed(seed)
        self.run(self._begin(first, second))
        self.is_whole = True

    async def _begin(self, *pools: list[tuple[str, str, str, bool]]) -> None:
        for door in self.doors:
            await door.open()
        self.kube = Kube(Configuration(host=self.doors[0].url))
        await self.kube.__aenter__()
        self.stage = Stage(self.kube, self.namespace, self.folder / self.namespace, self.relays_lie)
        await self._make_ground()
        for name, addresses in zip(POOLS, pools, strict=True):
            await self._apply(made("IPPool", name, self.namespace, pool_spec(list(CLASSES), addresses, "0s")))
        for number in (1, 2):
            await self._start(number)
        for name, pool in zip(LANES, POOLS, strict=False):
            await self._apply(made("SendingLane", name, self.namespace, lane_spec("Bulk", pool, 2, 0, "Transfer")))
        await self._rounds(3)

    async def _rounds(self, count: int) -> None:
        """Everybody does what there is to do, one after the other."""
        for _ in range(count):
            await self.operators[1].resync()
            await self._work(1, 60)
            await self.stage.controllers()

    async def _make_ground(self) -> None:
        """Namespace, nodes and the reflectors' key."""
        await asyncio.to_thread(self.server.create, "/api/v1/namespaces", _bare("Namespace", self.namespace))
        for number, node in enumerate(NODES):
            if await self.kube.get(NODE, None, node) is not None:
                continue
            await asyncio.to_thread(self.server.create, "/api/v1/nodes", _bare("Node", node))
            status = {
                "addresses": [{"type": "InternalIP", "address": f"192.0.2.{11 + number}"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            }
            body = [{"op": "add", "path": "/status", "value": status}]
            await self.kube.patch_json(NODE, None, node, body, subresource="status")
        secret = {"apiVersion": "v1", "kind": "Secret", "stringData": {"key": "0" * 64}}
        await self.kube.create(secret | {"metadata": {"name": "reflector", "namespace": self.namespace}})

    async def _start(self, number: int) -> None:
        self.doors[number].mend()
        self.operators[number] = OperatorProcess(self.doors[number], self.namespace, self.chance)
        await self.operators[number].start()
        await self.operators[number].resync()

    # people

    @rule(
        name=st.sampled_from(LANES), traffic_class=st.sampled_from(CLASSES), pool=st.sampled_from(POOLS),
        replicas=st.integers(0, 3), standby=st.integers(0, 1), policy=st.sampled_from(["Transfer", "Wait", "Hold"]),
    )  # fmt: skip
    def a_lane_is_applied(
        self, name: str, traffic_class: str, pool: str, replicas: int, standby: int, policy: str
    ) -> None:
        spec = lane_spec(traffic_class, pool, replicas, standby, policy)
        self.run(self._apply(made("SendingLane", name, self.namespace, spec)))

    @rule(name=st.sampled_from(LANES), replicas=st.integers(0, 3))
    def a_lane_is_scaled(self, name: str, replicas: int) -> None:
        self.run(self._change(SENDING_LANE, name, [{"op": "add", "path": "/spec/replicas", "value": replicas}]))

    @rule(name=st.sampled_from(LANES))
    def a_lane_is_deleted(self, name: str) -> None:
        self.run(self._delete(SENDING_LANE, name))

    @rule(
        name=st.sampled_from(POOLS), classes=st.sampled_from([["Transactional"], ["Bulk"], list(CLASSES)]),
        addresses=listed, cooldown=st.sampled_from(["0s", "0s", "24h"]),
    )  # fmt: skip
    def a_pool_is_applied(
        self, name: str, classes: list[str], addresses: list[tuple[str, str, str, bool]], cooldown: str
    ) -> None:
        self.run(self._apply(made("IPPool", name, self.namespace, pool_spec(classes, addresses, cooldown))))

    @rule(name=st.sampled_from(POOLS))
    def a_pool_is_deleted(self, name: str) -> None:
        self.run(self._delete(IP_POOL, name))

    @rule(name=st.sampled_from(POOLS))
    def a_pools_record_is_lost(self, name: str) -> None:
        operation = {"op": "add", "path": "/status", "value": {}}
        self.run(self._change(IP_POOL, name, [operation], subresource="status"))

    @rule(number=st.integers(0, 9), kind=st.sampled_from([STATEFUL_SET, POD, SECRET, VOLUME_CLAIM]))
    def something_is_deleted_by_hand(self, number: int, kind: Any) -> None:
        self.run(self._delete_any(kind, number))

    # the cluster

    @rule()
    def controllers_act(self) -> None:
        self.run(self.stage.controllers())

    @rule(number=st.integers(0, 9), count=st.integers(1, 5))
    def mail_arrives(self, number: int, count: int) -> None:
        self.stage.mail_arrives(number, count)

    @rule(count=st.integers(1, 4))
    def some_time_passes(self, count: int) -> None:
        self.run(self._rounds(count))

    @rule(number=st.integers(0, 9), count=st.integers(1, 5), rounds=st.integers(1, 3))
    def mail_arrives_and_some_time_passes(self, number: int, count: int, rounds: int) -> None:
        self.stage.mail_arrives(number, count)
        self.run(self._rounds(rounds))

    @rule(count=st.integers(2, 4))
    def mail_leaves_and_some_time_passes(self, count: int) -> None:
        self.stage.mail_leaves()
        self.run(self._rounds(count))

    @rule(name=st.sampled_from(LANES), count=st.integers(1, 5), replicas=st.integers(0, 1), rounds=st.integers(1, 4))
    def a_lane_shrinks_with_mail_in_it(self, name: str, count: int, replicas: int, rounds: int) -> None:
        """What was in the slots goes to those that stay, or holds them back."""
        self.stage.mail_arrives_everywhere(name, count)
        self.run(self._change(SENDING_LANE, name, [{"op": "add", "path": "/spec/replicas", "value": replicas}]))
        self.run(self._rounds(rounds))
        self.stage.mail_leaves()
        self.run(self._rounds(2))

    @rule()
    def mail_leaves(self) -> None:
        self.stage.mail_leaves()

    # operators

    @rule(number=st.sampled_from([1, 2]))
    def an_operator_looks_at_everything(self, number: int) -> None:
        self.run(self.operators[number].resync())

    @rule(number=st.sampled_from([1, 1, 1, 2]), most=st.integers(1, 12))
    def an_operator_works(self, number: int, most: int) -> None:
        self.run(self._work(number, most))

    @rule(number=st.sampled_from([1, 1, 1, 2]))
    def an_operator_looks_and_works(self, number: int) -> None:
        self.run(self.operators[number].resync())
        self.run(self._work(number, 30))

    @rule(number=st.sampled_from([1, 2]), after=st.integers(0, 12), how=st.sampled_from(["before", "after"]))
    def an_operator_is_killed_at_a_write(self, number: int, after: int, how: Any) -> None:
        self.run(self._killed(number, after, how))

    async def _killed(self, number: int, after: int, how: Any) -> None:
        await self.operators[number].resync()
        self.doors[number].breaks(after, how)
        await self.operators[number].work(30)
        self.all["kills at a write"] += self.doors[number].is_broken
        await self._ended(number)
        await self._start(number)

    async def _ended(self, number: int) -> None:
        operator = self.operators.pop(number)
        self.all["passes"] += operator.passes
        self.all["passes that failed"] += operator.failures
        await operator.stop()

    async def _work(self, number: int, most: int) -> None:
        await self.operators[number].work(most)
        await self._heard()

    async def _heard(self) -> None:
        """Every slot that is visited is visited once more."""
        for relay in list(self.stage.relays.values()):
            relay.asked.clear()
        for relay in list(self.stage.relays.values()):
            try:
                async with asyncio.timeout(0.25):  # one that nobody visits yet
                    await relay.asked.wait()
            except TimeoutError:
                continue

    # what holds

    @invariant()
    def nobody_breaks_it(self) -> None:
        if self.is_whole:
            self.run(self.stage.check())
            self.is_whole = not self.stage.faults
            assert self.stage.faults == []

    def teardown(self) -> None:
        try:
            if self.is_whole:
                self.run(self._come_to_rest())
        finally:
            self.run(self._end())
            self.runner.close()

    async def _come_to_rest(self) -> None:
        """One operator, controllers and relays work until nobody writes; then all is as it was asked for."""
        await self._ended(2)
        still = 0
        for _ in range(ROUNDS):
            before = self.doors[0].writes + self.doors[1].writes
            await self.stage.controllers()
            self.stage.mail_leaves()
            await self.operators[1].resync()
            await self._work(1, 200)
            await self.stage.check()
            assert self.stage.faults == []
            still = still + 1 if self.doors[0].writes + self.doors[1].writes == before else 0
            if still == 2:
                break
        assert still == 2, f"nothing comes to rest: {[*self.doors[0].latest]} {[*self.doors[1].latest]}"
        await self._judge()
        self.all.update(self.stage.counts)
        self.all["sequences"] += 1

    async def _judge(self) -> None:
        lanes = {one["metadata"]["name"]: one for one in (await self.kube.list(SENDING_LANE, self.namespace)).items}
        held: dict[str, list[str]] = {}
        for pool in (await self.kube.list(IP_POOL, self.namespace)).items:
            for row in (pool.get("status") or {}).get("addresses") or ():
                if row.get("lane") and not row.get("releasedAt"):
                    held.setdefault(row["lane"].partition("/")[2], []).append(row["slot"])
        claims = (await self.kube.list(VOLUME_CLAIM, self.namespace)).items
        guarded = {one["metadata"]["labels"]["lanewright.dev/lane"] for one in claims if _is_guarded(one)}
        assert set(held) <= set(lanes) | guarded, "an address is kept for nobody"
        for name, lane in lanes.items():
            types = {one["type"]: one for one in lane["status"]["conditions"]}
            assert lane["status"]["observedGeneration"] == lane["metadata"]["generation"]
            if "deletionTimestamp" in lane["metadata"]:
                assert types["Ready"]["status"] == "False"
            elif types["Ready"]["status"] == "True" and "Stalled" not in types and "Reconciling" not in types:
                wanted = lane["spec"]["replicas"] + lane["spec"].get("standbyReplicas", 0)
                assert len(held.get(name, ())) == wanted
        workloads = (await self.kube.list(STATEFUL_SET, self.namespace)).items
        carried = [one["metadata"]["annotations"][ADDRESS_ANNOTATION] for one in workloads]
        assert len(carried) == len(set(carried))
        assert not self.stage.waiting, "two slots of a node want the same port for good"

    async def _end(self) -> None:
        for number in list(self.operators):
            await self._ended(number)
        if hasattr(self, "stage"):
            await self.stage.close()
            await self.kube.__aexit__(None, None, None)
        for door in self.doors:
            await door.close()

    # the API

    async def _apply(self, manifest: Manifest) -> None:
        """As people do it: made, or changed as far as the API server lets them."""
        kind = SENDING_LANE if manifest["kind"] == SENDING_LANE.kind else IP_POOL
        try:
            if await self.kube.get(kind, self.namespace, manifest["metadata"]["name"]) is None:
                await self.kube.create(manifest)
            else:
                operation = {"op": "add", "path": "/spec", "value": manifest["spec"]}
                await self.kube.patch_json(kind, self.namespace, manifest["metadata"]["name"], [operation])
        except KubeError as refused:
            if refused.status not in (409, 422):  # another class or pool, which cannot change
                raise

    async def _change(self, kind: Any, name: str, operations: list[Manifest], subresource: str = "") -> None:
        try:
            await self.kube.patch_json(kind, self.namespace, name, operations, subresource=subresource)
        except KubeError as refused:
            if refused.status != 404:
                raise

    async def _delete(self, kind: Any, name: str) -> None:
        body = await self.kube.get(kind, self.namespace, name)
        if body is not None:
            await self.kube.delete(kind, self.namespace, name, uid=body["metadata"]["uid"])

    async def _delete_any(self, kind: Any, number: int) -> None:
        found = [
            one for one in (await self.kube.list(kind, self.namespace)).items if one["metadata"]["name"] != "reflector"
        ]
        if not found:
            return
        chosen = found[number % len(found)]
        if kind is POD:
            await self.stage.delete_pod(chosen)
        else:
            await self._delete(kind, chosen["metadata"]["name"])


def _bare(kind: str, name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


def _is_guarded(claim: Manifest) -> bool:
    return "lanewright.dev/queue" in (claim["metadata"].get("finalizers") or ())


def tried(machine: type[Sequences], examples: int) -> None:
    """So many sequences; the short form's are the same each time."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not IS_LONG,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # to make a sequence of minutes shorter takes an hour: the print of it is enough
        ),
    )


def test_any_sequence(server: ApiServer, tmp_path: Path) -> None:
    class Here(Sequences):
        """On this server."""

    Here.server, Here.folder, Here.all = server, tmp_path, Counter()
    tried(Here, EXAMPLES)
    print(dict(Here.all))
    wanted = ("sequences", "pods", "passes") if not IS_LONG else WANTED
    for what in wanted:
        assert Here.all[what], f"not one of {what}: nothing was tried"


def test_a_volume_that_goes_since_its_relay_says_that_it_is_empty_is_found(server: ApiServer, tmp_path: Path) -> None:
    class Here(Sequences):
        """On this server, with that fault."""

        relays_lie = True

    Here.server, Here.folder, Here.all = server, tmp_path, Counter()
    sequence = Here()
    sequence.begin(seed=0, first=[(ip, "n1", "Active", False) for ip in ADDRESSES[:3]], second=[])
    sequence.a_lane_shrinks_with_mail_in_it(name="a", count=3, replicas=1, rounds=4)
    with pytest.raises(AssertionError, match="is not guarded any more"):
        sequence.teardown()


if IS_LONG:  # a search of minutes

    def test_any_sequence_finds_it_too(server: ApiServer, tmp_path: Path) -> None:
        class Here(Sequences):
            """On this server, with that fault."""

            relays_lie = True

        Here.server, Here.folder, Here.all = server, tmp_path, Counter()
        with pytest.raises((AssertionError, BaseExceptionGroup)):
            tried(Here, EXAMPLES)
