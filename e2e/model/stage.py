"""The rest of the cluster, moved by hand: workload controller, garbage collector, kubelet, and relays with their mail.

It also keeps what nobody may break, from what it sees itself: which process sends from which address, and which volume
has mail. Before: `door`, `relay`. After: the test's rules.
"""

import base64
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from e2e.model.relay import Relay, Volume, door_of
from lane_api.names import LANE_LABEL, QUEUE_FINALIZER, SLOT_LABEL
from lane_api.packing import unpacked
from lane_operator.errors import ConflictError, NotFoundError
from lane_operator.kube import IP_POOL, POD, SECRET, SENDING_LANE, STATEFUL_SET, VOLUME_CLAIM, Kind, Kube
from lane_operator.kube.kinds import CHILD_KINDS, OPTIONAL_KINDS
from lane_relay.config import parse

__all__ = ["Stage"]

Manifest = dict[str, Any]
_CHILDREN: Final = tuple(kind for kind in CHILD_KINDS if kind not in OPTIONAL_KINDS)


@dataclass
class Stage:
    """One namespace."""

    kube: Kube
    namespace: str
    folder: Path
    relays_lie: bool = False
    """A fault on purpose, see `Relay`."""
    relays: dict[str, Relay] = field(default_factory=dict)
    """Pod's uid -> its process."""
    volumes: dict[str, Volume] = field(default_factory=dict)
    """Claim's uid -> what is on it."""
    waiting: set[str] = field(default_factory=set)
    """Slots that were not started in the last turn: another process of the node has a port of theirs."""
    faults: list[str] = field(default_factory=list)
    """What must never be."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("sent", "handed", "released", "pods"), 0))
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    # controllers

    async def controllers(self) -> None:
        """One turn of garbage collection, of the workload controller, and of the kubelets."""
        await self._collect_garbage()
        self.waiting.clear()
        workloads = {one["metadata"]["name"]: one for one in await self._all(STATEFUL_SET)}
        pods = {one["metadata"]["name"]: one for one in await self._all(POD)}
        for name, pod in pods.items():
            workload = workloads.get(name.rpartition("-")[0])
            if workload is None or not workload["spec"]["replicas"] or _revision(workload) != _revision(pod):
                await self.delete_pod(pod)
        pods = {one["metadata"]["name"]: one for one in await self._all(POD)}
        for workload in workloads.values():
            if workload["spec"]["replicas"] and f"{workload['metadata']['name']}-0" not in pods:
                await self._start(workload)
            await self._tell(workload)
        for relay in self.relays.values():
            await self._remount(relay)

    async def _remount(self, relay: Relay) -> None:
        """Secrets that have changed reach the pods that run."""
        admin = await self.kube.get(SECRET, self.namespace, f"{relay.slot}-admin")
        config = await self.kube.get(SECRET, self.namespace, f"{relay.slot}-config")
        if admin is not None and config is not None:
            relay.mounted(_content(admin), unpacked(_content(config)["relay.yaml.gz"]))

    async def delete_pod(self, pod: Manifest) -> None:
        """The pod goes, and its process with it."""
        relay = self.relays.pop(pod["metadata"]["uid"], None)
        if relay is not None:
            await relay.stop()
        await self._delete(POD, pod)

    async def close(self) -> None:
        """Ends every process."""
        for relay in self.relays.values():
            await relay.stop()

    async def _collect_garbage(self) -> None:
        lanes = {one["metadata"]["uid"] for one in await self._all(SENDING_LANE)}
        for kind in _CHILDREN:
            for body in await self._all(kind):
                owners = body["metadata"].get("ownerReferences") or ()
                if owners and not any(one["uid"] in lanes for one in owners):
                    await self._delete(kind, body)

    async def _start(self, workload: Manifest) -> None:
        """A pod and its process, where everything is there that the kubelet mounts."""
        slot = workload["metadata"]["name"]
        claim = await self.kube.get(VOLUME_CLAIM, self.namespace, f"queue-{slot}")
        admin = await self.kube.get(SECRET, self.namespace, f"{slot}-admin")
        config = await self.kube.get(SECRET, self.namespace, f"{slot}-config")
        if claim is None or admin is None or config is None or "deletionTimestamp" in claim["metadata"]:
            return
        wanted = parse(unpacked(_content(config)["relay.yaml.gz"]))
        if door_of(wanted) in {one.door for one in self.relays.values()}:  # the scheduler lets it wait
            self.waiting.add(slot)
            return
        volume = self.volumes.setdefault(claim["metadata"]["uid"], Volume(claim["metadata"]["uid"]))
        relay = Relay(slot, volume, wanted, self.relays_lie)
        port = await relay.start(self.folder / f"{next(self._numbers)}", _content(admin))
        metadata = {
            "name": f"{slot}-0",
            "namespace": self.namespace,
            "labels": workload["spec"]["template"]["metadata"]["labels"],
            "annotations": {"revision": _revision(workload)},
        }
        ports = [{"name": "admin", "containerPort": port}]
        spec = {"containers": [{"name": "relay", "image": "relay", "ports": ports}]}
        pod = await self.kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self.relays[pod["metadata"]["uid"]] = relay
        self.counts["pods"] += 1
        said = {"name": "relay", "ready": True, "restartCount": 0, "image": "relay", "imageID": "relay"}
        status = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [said],
        }
        await self.kube.patch_status(POD, self.namespace, f"{slot}-0", status)

    async def _tell(self, workload: Manifest) -> None:
        """What the workload controller says of it."""
        running = int(bool(workload["spec"]["replicas"]))
        revision = _revision(workload)
        status = {
            "observedGeneration": workload["metadata"]["generation"],
            "replicas": running,
            "readyReplicas": running,
            "availableReplicas": running,
            "updatedReplicas": running,
            "currentRevision": revision,
            "updateRevision": revision,
            "collisionCount": 0,
        }
        known = workload.get("status") or {}
        if any(known.get(name, 0) != value for name, value in status.items()):  # the API server leaves zeros out
            await self.kube.patch_status(STATEFUL_SET, self.namespace, workload["metadata"]["name"], status)

    # mail

    def mail_arrives(self, number: int, count: int) -> None:
        """One of the slots that take mail gets so many messages."""
        takes = sorted((one for one in self.relays.values() if one.is_open), key=lambda one: one.slot)
        if takes:
            takes[number % len(takes)].volume.live += count

    def mail_arrives_everywhere(self, lane: str, count: int) -> None:
        """Each slot of the lane that takes mail gets so many messages."""
        for relay in self.relays.values():
            if relay.config.lane.name == lane and relay.is_open:
                relay.volume.live += count

    def mail_leaves(self) -> None:
        """Each slot does with its mail what its configuration says."""
        for relay in self.relays.values():
            state = relay.config.delivery.state
            if state == "Running" and relay.volume.live:
                self._check_alone(relay)
                self.counts["sent"] += relay.volume.live
                relay.volume.live = 0
            elif state.startswith("Transferring"):
                self._hand_over(relay)

    def _hand_over(self, giver: Relay) -> None:
        lane = giver.config.lane
        for taker in self.relays.values():
            if taker is not giver and taker.config.lane == lane and taker.is_open:
                self.counts["handed"] += giver.volume.live
                taker.volume.live += giver.volume.live
                giver.volume.live = 0
                return

    def _check_alone(self, relay: Relay) -> None:
        others = [one.slot for one in self.relays.values() if one is not relay and one.address == relay.address]
        if relay.address and others:
            self.faults.append(f"{relay.slot} sends from {relay.address}, and so may {others}")

    # what nobody may break

    async def check(self) -> None:
        """Looks at everything; notes what must never be."""
        self._check_processes()
        held: dict[str, str] = {}
        for pool in await self._all(IP_POOL):
            for row in (pool.get("status") or {}).get("addresses") or ():
                if row.get("lane") and not row.get("releasedAt"):
                    who = f"{row['lane']} {row['slot']} by {pool['metadata']['name']}"
                    if row["ip"] in held:
                        self.faults.append(f"{row['ip']} is held twice: {held[row['ip']]}, {who}")
                    held[row["ip"]] = who
        claims = {one["metadata"]["uid"]: one for one in await self._all(VOLUME_CLAIM)}
        for uid, volume in self.volumes.items():
            finalizers = (claims.get(uid) or {}).get("metadata", {}).get("finalizers") or ()
            if volume.guarded and QUEUE_FINALIZER not in finalizers:
                self.counts["released"] += 1
            volume.guarded = QUEUE_FINALIZER in finalizers
            if volume.live and QUEUE_FINALIZER not in finalizers:
                self.faults.append(f"claim {uid} with {volume.live} messages is not guarded any more")

    def _check_processes(self) -> None:
        seen: dict[str, str] = {}
        for relay in self.relays.values():
            if relay.address and seen.setdefault(relay.address, relay.slot) != relay.slot:
                self.faults.append(f"{relay.address} is in the processes of {seen[relay.address]} and {relay.slot}")

    # the API

    async def _all(self, kind: Kind) -> tuple[Manifest, ...]:
        return (await self.kube.list(kind, self.namespace)).items

    async def _delete(self, kind: Kind, body: Manifest) -> None:
        try:
            await self.kube.delete(kind, self.namespace, body["metadata"]["name"], uid=body["metadata"]["uid"])
        except (ConflictError, NotFoundError):
            return


def _content(secret: Manifest) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in (secret.get("data") or {}).items()}


def _revision(body: Manifest) -> str:
    """Of a workload's template; of a pod the one that it was made from."""
    if body["kind"] == POD.kind:
        return str((body["metadata"].get("annotations") or {}).get("revision", ""))
    labels = body["spec"]["template"]["metadata"]["labels"]
    return f"{labels.get(LANE_LABEL)}-{labels.get(SLOT_LABEL)}-{hash(repr(body['spec']['template'])):x}"
