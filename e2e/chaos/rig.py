"""What everything is done to: three lanes under mail, two operators behind the door, and their witnesses.

`codes` is Transactional with two slots and never asked to change by itself; `bulk` grows and shrinks with mail in it,
since one of its ISPs is slow; `passing` comes and goes. Each has a pool of its own, so that a message
says by its source whose it is; `forgotten`, `late` and `moving` draw from that of `passing`.
Before: `installation`, `e2e.load`, `e2e.internet`. After: `acts`.
"""

import asyncio
import json
import math
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_args

from e2e.aftermath import aftermath
from e2e.chaos.control import ControlRoom
from e2e.chaos.door import DoorConfig, FaultKind
from e2e.chaos.door_control import DoorControl
from e2e.chaos.judge import SETTLED_WITHIN_S, Act, Evidence
from e2e.chaos.witness import Addresses, Memory, Volumes, Witness
from e2e.cluster import Cluster
from e2e.cluster.addresses import API_PORT, CONTROL
from e2e.cluster.identity import CHECKOUT
from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, free_isps, network, pool, reflector_secret, serve
from e2e.internet import addresses
from e2e.internet.internet import Internet, Load, Weights, default_policy
from e2e.internet.policy import Stage
from e2e.internet.records import Message, Record
from e2e.load.generate import LoadConfig
from e2e.load.ledger import Entry, Kill
from e2e.outbound import sending_lane
from e2e.release import OPERATOR_NAMESPACE, RELEASE

__all__ = ["BULK", "CODES", "FORGOTTEN", "LATE", "MOVES", "MOVING", "PASSING", "Rig"]

CODES, BULK, PASSING, FORGOTTEN, LATE, MOVING = "codes", "bulk", "passing", "forgotten", "late", "moving"
POOLS: Final = {
    CODES: ("203.0.113.140", "203.0.113.141"),
    BULK: ("203.0.113.142", "203.0.113.143", "203.0.113.144"),
    PASSING: ("203.0.113.145", "203.0.113.146"),
}
RATES: Final = {CODES: 20.0, BULK: 10.0}
LONGEST_S: Final = 4 * 3600.0
RESYNC_S, RECHECK_S = 30, 5
DOOR, DOOR_PORT = "door-of-the-operator", 443
"""kopf asks https://kubernetes.default.svc, whatever the environment says."""
SLOW: Final = addresses.FREEMAIL
SLOW_S: Final = 2.0
"""It takes so long over each message, so that there is always mail in every slot, and some on its way."""
MOVES: Final = "moves"
"""Class of volumes that any node can have."""
ARRIVES_WITHIN_S: Final = 120.0
FOREIGN: Final = "somebody-elses"


class Rig:
    """The lanes, who looks after them, and who looks on."""

    def __init__(self, cluster: Cluster, internet: Internet, images: dict[str, str], folder: Path) -> None:
        self.here = Installation(cluster, internet, f"t-{secrets.token_hex(4)}")
        self.cluster, self.internet, self.folder = cluster, internet, folder
        self.control = ControlRoom(cluster)
        self.door = DoorControl(cluster.layout.run / "door.sock")
        self.acts: list[Act] = []
        self.relay_kills: list[Kill] = []
        self.kills = self.kills_between_requests = 0
        self.unsettled: list[str] = []
        """What broke off, and what lanes looked like that did not come to be as asked for."""
        self._images = images
        self._loads: list[Load] = []
        self._foreign: dict[str, str] = {}
        self.addresses, self.memory = Addresses(cluster), Memory(cluster)
        self.volumes = Volumes(cluster, self.here.namespace, folder / "volumes")
        self._witnesses = [
            Witness("addresses", self.addresses.look),
            Witness("memory", self.memory.look, every=1.0),
            Witness("volumes", self.volumes.look),
        ]

    # set up

    def set_up(self, seed: int) -> None:
        """Operator, door, lanes, witnesses, mail; returns when all is as asked for."""
        here, space = self.here, self.here.namespace
        asyncio.run(free_isps(self.internet))
        asyncio.run(self._begin_records())
        settings = {"replicas": 2, "resync": RESYNC_S, "recheck": RECHECK_S}
        serve(self.cluster, self._images, space, operator=settings)
        self._open_door(seed)
        here.apply(network(space), *self._foreign_objects())
        self.apply_ground()
        here.apply(self.manifest(CODES, 2), self.manifest(BULK, 2))
        here.wait_ready(CODES, BULK, within=240)
        self._foreign = self._foreign_versions()
        for witness in self._witnesses:
            witness.start()
        for name, rate in RATES.items():
            self._loads.append(asyncio.run(self.internet.load(self.load(name, name, rate, round(rate * LONGEST_S)))))
        eventually(lambda: all(one.progress() for one in self._loads), "mail is sent")

    def apply_ground(self) -> None:
        """Pools and the reflectors' key: what lanes refer to."""
        space = self.here.namespace
        self.here.apply(reflector_secret(self.internet, space))
        self.here.apply(*(pool(f"{name}-pool", space, *own, cooldown="0s") for name, own in POOLS.items()))

    def manifest(self, name: str, replicas: int, pool_of: str = "", **spec: Any) -> Manifest:
        """A lane as it is asked for, with its own pool or that of another one."""
        drain = {"policy": "Transfer", "deadline": "10m"}
        traffic_class = "Transactional" if name == CODES else "Bulk"
        asked: dict[str, Any] = {"trafficClass": traffic_class, "replicas": replicas, "drain": drain}
        return sending_lane(name, self.here.namespace, f"{pool_of or name}-pool", **(asked | spec))

    def load(self, stream: str, lane_name: str, rate: float, messages: int) -> LoadConfig:
        """Mail for a lane, through its Service; a client that is refused for a while goes on asking."""
        return LoadConfig(
            stream=f"chaos-{stream}",
            host=self.here.get("service", lane_name)["spec"]["clusterIP"],
            port=587,
            sender=f"otp@{lane_name}.example.com",
            domains=tuple(f"d0.{one.mx_sets[0].bulk}" for one in addresses.SCRIPTED),
            messages=messages,
            rate=rate,
            size=1024,
            sessions=8,
            per_session=100,
            tries=600,
            ledger=self.folder / f"{stream}.jsonl",
        )

    def send_to(self, lane: str, number: int, messages: int) -> None:
        """Some mail for a lane that comes and goes; each message has its outcome when this returns.

        Its stream is `passing`'s: their pool is one, and so are the addresses that it may leave from.
        """

        async def send() -> None:
            load = await self.internet.load(self.load(f"{PASSING}-{number}", lane, 20.0, messages))
            self._loads.append(load)
            await load.done(90.0)

        asyncio.run(send())

    def network_volume(self, claim: str) -> None:
        """A volume of any node's for this claim: all nodes are on one machine, and so is the folder."""
        name = f"{self.here.namespace}-{claim}"
        folder = self.cluster.layout.nodes / MOVES / "vol" / f"{name}_{claim}"  # where witnesses find volumes
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        self.here.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": MOVES,
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": str(folder), "type": "Directory"},
                    "claimRef": {"namespace": self.here.namespace, "name": claim},
                },
            }
        )

    def give_up_volume(self, claim: str) -> None:
        """That volume goes with its claim."""
        space = self.here.namespace
        self.cluster.kubectl("delete", "pvc", claim, "-n", space, "--ignore-not-found", "--wait=false")
        self.cluster.kubectl("delete", "pv", f"{space}-{claim}", "--ignore-not-found", "--wait=false")

    def _open_door(self, seed: int) -> None:
        """The operator's pods find the API server where the door listens."""
        layout = self.cluster.layout
        config = DoorConfig(
            listen=CONTROL, port=DOOR_PORT, server=f"https://{CONTROL}:{API_PORT}", seed=seed,
            certificate=layout.pki / "apiserver.crt", key=layout.pki / "apiserver.key",
            authority=layout.pki / "ca.crt", control=layout.run / "door.sock",
        )  # fmt: skip
        file = self.folder / "door.json"
        file.write_text(config.model_dump_json())
        place = self.cluster.place("ctl")
        place.end(DOOR)
        argv = [sys.executable, "-m", "e2e.chaos.door", "--config", str(file)]
        place.spawn(DOOR, argv, cpu_weight=400, cwd=CHECKOUT)
        eventually(self._door_answers, "the door is open", 20)
        env = [
            {"name": "KUBERNETES_SERVICE_HOST", "value": CONTROL},
            {"name": "KUBERNETES_SERVICE_PORT", "value": str(DOOR_PORT)},
        ]
        aliases = [{"ip": CONTROL, "hostnames": ["kubernetes.default.svc"]}]
        spec = {"hostAliases": aliases, "containers": [{"name": "operator", "env": env}]}
        patch = json.dumps({"spec": {"template": {"spec": spec}}})
        operator = ("deployment", RELEASE, "-n", OPERATOR_NAMESPACE)
        self.cluster.kubectl("patch", *operator, "-p", patch)
        self.cluster.kubectl("rollout", "status", *operator, "--timeout=120s")
        eventually(lambda: self.door.counts().get("passed", 0) > 0, "the operator comes through the door", 30)

    def _door_answers(self) -> bool:
        try:
            return self.door.counts() is not None
        except OSError:
            return False

    def _foreign_objects(self) -> list[Manifest]:
        """Objects of others, by names and labels that are nearly a lane's."""
        space = self.here.namespace
        labels = {"lanewright.dev/lane": CODES}
        metadata = {"namespace": space, "labels": labels}
        return [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "name": FOREIGN}, "data": {"a": "b"}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {**metadata, "name": f"{CODES}-9-config"}},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {**metadata, "name": FOREIGN},
                "spec": {"ports": [{"port": 80}], "selector": {"app": FOREIGN}},
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {**metadata, "name": "queue-of-somebody-else"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
            },
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {**metadata, "name": FOREIGN},
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": FOREIGN}}},
            },
        ]

    def _foreign_versions(self) -> dict[str, str]:
        """What others see of their objects; what Kubernetes' own controllers write into status is not looked at."""
        found = {}
        for one in self._foreign_objects():
            kind, name = one["kind"].lower(), one["metadata"]["name"]
            now = self.cluster.get(kind, name, "-n", self.here.namespace, "--ignore-not-found")
            kept = {key: value for key, value in now.items() if key in ("spec", "data")}
            metadata = {key: now.get("metadata", {}).get(key) for key in ("uid", "labels", "finalizers", "generation")}
            found[f"{kind}/{name}"] = json.dumps([metadata, kept], sort_keys=True)
        return found

    async def _begin_records(self) -> None:
        async with Internet(self.internet.place, self.internet.ground, Weights()).isps as isps:
            for provider in addresses.SCRIPTED:
                await isps.reset(provider.name)
            slow = default_policy(SLOW).model_copy(update={"delays": {Stage.END_OF_DATA: SLOW_S}})
            await isps.set_policy(SLOW.name, slow)

    # while it runs

    def act(self, name: str, do: Callable[[], None]) -> None:
        """Does one thing, and sees how long it takes until every lane is as asked for; one that breaks off is told."""
        print(f"  {name}", flush=True)
        began, ended, took = time.time(), 0.0, math.inf
        try:
            do()
            ended = time.time()
            eventually(self.is_settled, f"all is as asked for after {name}", SETTLED_WITHIN_S)
            took = time.time() - ended
        except Exception as error:  # noqa: BLE001 - the other acts say more than the first that breaks off
            traceback.print_exc()
            self.unsettled.append(f"{name}: {error!r}"[:600])
            ended = ended or time.time()
            self.door.breaks(())
            self.control.repair()
            print(aftermath(self.cluster, self.here.namespace), flush=True)
        self.acts.append(Act(name, began, ended, took))
        print(f"    done in {ended - began:.0f} s, as asked for after {took:.1f} s", flush=True)

    def is_settled(self) -> bool:
        """Whether every lane is as asked for, and its slots serve by their own proved addresses."""
        lanes = self.cluster.get("sendinglanes", "-n", self.here.namespace)["items"]
        for one in lanes:
            status, name = one.get("status", {}), one["metadata"]["name"]
            types = {each["type"]: each["status"] for each in status.get("conditions", ())}
            assert "deletionTimestamp" not in one["metadata"], f"{name} is going"
            assert status.get("observedGeneration") == one["metadata"]["generation"], f"{name}: status is of before"
            assert types.get("Ready") == "True", f"{name}: {status.get('conditions')}"
            still = {kind for kind in ("Reconciling", "Stalled", "Draining") if types.get(kind) == "True"}
            assert not still, f"{name}: {still} {status.get('conditions')}"
            slots = status.get("slots", ())
            assert len(slots) == one["spec"]["replicas"], f"{name} has {len(slots)} slots"
            assert all(each["ready"] and each["egressVerified"] for each in slots), f"{name}: {slots}"
            for each in slots:
                pod = self.here.get("pod", f"{each['name']}-0")
                assert "deletionTimestamp" not in pod["metadata"], f"{each['name']} is going"
        assert {one["metadata"]["name"] for one in lanes} >= {CODES, BULK}
        pods = self.operators()
        ready = [one for one in pods if _is_ready(one)]
        assert len(ready) == len(pods) == 2, "both replicas are there"
        self.leader()
        return True

    def operators(self) -> list[Manifest]:
        """The operator's pods."""
        found = self.cluster.get("pods", "-n", OPERATOR_NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}")
        return list(found["items"])

    def leader(self) -> str:
        """The pod that holds the Lease and has renewed it lately; raises LookupError or ClusterError."""
        spec = self.here.get("lease", RELEASE, OPERATOR_NAMESPACE)["spec"]
        holder = str(spec.get("holderIdentity") or "")
        if not holder:
            raise LookupError("nobody holds the Lease")
        return str(self.here.get("pod", holder, OPERATOR_NAMESPACE)["metadata"]["name"])

    def renewed(self) -> str:
        """When the Lease was renewed, as it stands there."""
        return str(self.here.get("lease", RELEASE, OPERATOR_NAMESPACE)["spec"].get("renewTime"))

    def operator_pid(self, pod: str) -> int:
        """The machine's pid of an operator's process; raises ClusterError where its container does not run."""
        return self.cluster.container_pid(OPERATOR_NAMESPACE, pod, "operator")

    def address_of(self, slot: str) -> str:
        """The address that a slot holds, by its StatefulSet."""
        body = self.here.get("statefulset", slot)
        return str(body["metadata"]["annotations"]["lanewright.dev/address"])

    # the end

    def all_look(self) -> bool:
        """That every witness still looks; raises AssertionError."""
        for one in self._witnesses:
            assert not one.failed, f"{one.failed}: it has seen nothing since"
        return True

    def end_mail(self) -> None:
        """Ends the streams and gives what was accepted its time to arrive."""
        until = time.time()
        eventually(lambda: all(_latest(one) >= until for one in self._loads[: len(RATES)]), "no client is behind", 120)
        for one in self._loads:
            one.end()
        accepted = {one.message_id for one in self.entries() if one.outcome == "accepted"}
        deadline = time.time() + ARRIVES_WITHIN_S
        while accepted - {one.message_id for one in self.records() if isinstance(one, Message)}:
            if time.time() > deadline:
                break
            time.sleep(2.0)

    def dismiss(self) -> None:
        """The witnesses look for the last time; raises AssertionError where one has not been looking."""
        for one in self._witnesses:
            one.dismiss()
        self.all_look()

    def entries(self) -> list[Entry]:
        """Whatever was offered."""
        return [entry for load in self._loads for entry in load.entries()]

    def records(self) -> list[Record]:
        """Whatever the ISPs wrote down."""

        async def ask() -> list[Record]:
            async with Internet(self.internet.place, self.internet.ground, Weights()).isps as isps:
                return [one for provider in addresses.SCRIPTED for one in await isps.dump(provider.name)]

        return asyncio.run(ask())

    def evidence(self) -> Evidence:
        """All that was seen."""
        streams = {one.config.stream for one in self._loads}
        expected = {stream: frozenset(POOLS[stream.split("-")[1]]) for stream in streams}
        return Evidence(
            entries=self.entries(),
            records=self.records(),
            expected_ips=expected,
            relay_kills=self.relay_kills,
            sightings=self.addresses.sightings,
            released=self.volumes.released,
            foreign_before=self._foreign,
            foreign_after=self._foreign_versions(),
            requests=[at for at, _ in self.door.seen()],
            broken=sum(self.door.counts().get(kind, 0) for kind in get_args(FaultKind)),
            rss=self.memory.rss,
            acts=self.acts,
            kills=self.kills,
            kills_between_requests=self.kills_between_requests,
        )

    def add_load(self, load: Load) -> None:
        """One more stream that counts."""
        self._loads.append(load)

    def close(self) -> None:
        """Lets everything run on without the door: the next installation is as every test finds it."""
        for one in self._loads:
            one.end()
        removed = [{"name": one, "$patch": "delete"} for one in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")]
        spec = {"hostAliases": None, "containers": [{"name": "operator", "env": removed}]}
        patch = json.dumps({"spec": {"replicas": 2, "template": {"spec": spec}}})
        operator = ("deployment", RELEASE, "-n", OPERATOR_NAMESPACE)
        self.cluster.kubectl("patch", *operator, "-p", patch, check=False)
        self.cluster.kubectl("rollout", "status", *operator, "--timeout=120s", check=False)
        self.cluster.place("ctl").end(DOOR)


def _is_ready(pod: Manifest) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _latest(load: Load) -> float:
    return max((one.scheduled for one in load.entries()), default=0.0)
