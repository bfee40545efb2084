"""What is done, act by act; each returns when its fault is over, and `Rig.act` sees that all is as asked for again.

Invariant: an act leaves cluster and door as they were; what it changes of the lanes it asks for by their specs.
Before: `rig`, `control`, `door`. After: `__main__`.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from e2e.chaos.door import Fault
from e2e.chaos.rig import BULK, CODES, FORGOTTEN, LATE, MOVES, MOVING, PASSING, Rig
from e2e.cluster import ClusterError
from e2e.eventually import eventually
from e2e.internet.internet import InternetError
from e2e.load.ledger import Kill
from e2e.release import OPERATOR_NAMESPACE, RELEASE

__all__ = ["FULL", "SHORT", "Acts", "Scale"]

MOST_WRITES: Final = 14
"""A pass that makes a slot has about so many."""
FOLLOWED_WITHIN_S: Final = 60.0
OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"


@dataclass(frozen=True)
class Scale:
    """How much of it, and how long."""

    kills: int
    api_server_away_s: float
    operator_away_s: float
    bad_answers_s: float
    node_away_s: float
    raced_s: float
    watch_cuts: int
    left_out: frozenset[str] = frozenset()
    """Acts that are not done."""


LONG: Final = frozenset({
    "no operator", "volume pending", "two that lead", "node away", "node cut off", "node gone", "API server hangs"
})  # fmt: skip
"""What they are about is the longest part of a run: the short form does the others."""
SHORT: Final = Scale(12, 60.0, 30.0, 8.0, 20.0, 15.0, 10, LONG)
FULL: Final = Scale(200, 300.0, 1800.0, 60.0, 120.0, 60.0, 60)


class Acts:
    """All that is done to one rig; the same seed does the same in the same order."""

    def __init__(self, rig: Rig, scale: Scale, seed: int) -> None:
        self.rig, self.scale = rig, scale
        self._random = random.Random(seed)
        self._sent_to_passing = 0

    def all(self) -> dict[str, Callable[[], None]]:
        """The acts by name, in their order."""
        every = self._every()
        assert self.scale.left_out <= every.keys(), self.scale.left_out - every.keys()
        return {name: act for name, act in every.items() if name not in self.scale.left_out}

    def _every(self) -> dict[str, Callable[[], None]]:
        return {
            "operator killed at a write": self.operator_killed_at_a_write,
            "both replicas killed": self.both_replicas_killed,
            "leader hangs": self.leader_hangs,
            "no operator": self.no_operator,
            "bad answers": self.bad_answers,
            "watches cut": self.watches_cut,
            "status raced": self.status_raced,
            "slots killed": self.slots_killed,
            "secrets and pool deleted": self.secrets_and_pool_deleted,
            "volume pending": self.volume_pending,
            "two that lead": self.two_that_lead,
            "node away": self.node_away,
            "node cut off": self.node_cut_off,
            "node gone": self.node_gone,
            "API server hangs": self.api_server_hangs,
            "API server killed": self.api_server_killed,
            "etcd restored": self.etcd_restored,
        }

    # the operator

    def operator_killed_at_a_write(self) -> None:
        """Each kill falls into what a change has set off: applies, scale-ins and deletes in turn."""
        changes = self._changes()
        for number in range(self.scale.kills):
            self._killed_during(next(changes), number)
        self._as_at_first()

    def _killed_during(self, change: Callable[[], object], number: int) -> None:
        rig = self.rig
        pid = eventually(lambda: rig.operator_pid(rig.leader()), "one leads", FOLLOWED_WITHIN_S)
        at_a_write = number % 4 != 3  # a fourth of them whenever it may be
        if at_a_write:
            rig.door.kills(
                pid, self._random.randrange(MOST_WRITES), "before" if self._random.random() < 0.5 else "after"
            )
        change()
        time.sleep(self._random.uniform(0.0, 3.0))
        if at_a_write and not rig.door.spares():
            rig.kills += 1
            rig.kills_between_requests += 1
        else:
            rig.kills += _killed(pid)
        before = rig.renewed()
        eventually(lambda: rig.renewed() > before and rig.leader(), "one leads again", FOLLOWED_WITHIN_S)

    def _changes(self) -> Iterator[Callable[[], object]]:
        """What people ask for, one thing after the other."""
        rig, here = self.rig, self.rig.here
        for most in itertools.cycle(range(3, 9)):
            codes = rig.manifest(CODES, 2, limits={"connectionsPerIP": most})
            other = rig.manifest(BULK, 2, limits={"connectionsPerIP": most})
            yield lambda: here.apply(rig.manifest(BULK, 1))
            yield lambda: here.apply(rig.manifest(PASSING, 2))
            yield lambda: here.apply(rig.manifest(BULK, 3))
            yield partial(here.apply, codes)
            yield self._mail_and_delete_passing
            yield partial(here.apply, other)
            yield lambda: rig.cluster.kubectl("delete", "pod", f"{BULK}-0-0", "-n", here.namespace, "--wait=false")

    def _mail_and_delete_passing(self) -> None:
        """A lane that took mail, if it came so far, is deleted with what it has."""
        rig = self.rig
        with contextlib.suppress(AssertionError, ClusterError, InternetError):
            eventually(lambda: _serves(rig, PASSING), "it takes mail", 20)
            self._sent_to_passing += 1
            rig.send_to(PASSING, self._sent_to_passing, 20)
        self._delete_passing()

    def _delete_passing(self) -> None:
        """It may be gone: who applied it while the one before was going has changed that one."""
        rig = self.rig
        how = ("-n", rig.here.namespace, "--wait=false", "--ignore-not-found")
        rig.cluster.kubectl("delete", "sendinglane", PASSING, *how)

    def _as_at_first(self) -> None:
        """Two lanes of two slots."""
        self._delete_passing()
        self.rig.here.apply(self.rig.manifest(CODES, 2), self.rig.manifest(BULK, 2))

    def both_replicas_killed(self) -> None:
        """While a lane grows."""
        rig = self.rig
        pids = [rig.operator_pid(one["metadata"]["name"]) for one in rig.operators()]
        rig.here.apply(rig.manifest(BULK, 3))
        time.sleep(self._random.uniform(0.1, 1.5))
        rig.kills += sum(_killed(pid) for pid in pids)
        rig.here.apply(rig.manifest(BULK, 2))

    def leader_hangs(self) -> None:
        """Stopped in the midst of a scale-in until another leads, then woken with what it had in mind."""
        rig = self.rig
        first = rig.leader()
        pid = rig.operator_pid(first)
        rig.here.apply(rig.manifest(BULK, 1))
        time.sleep(self._random.uniform(0.1, 1.5))
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: rig.leader() != first, "another leads", FOLLOWED_WITHIN_S)
            rig.here.apply(rig.manifest(BULK, 2))
            time.sleep(3.0)
        finally:
            with contextlib.suppress(ProcessLookupError):  # its liveness probe may have ended it
                os.kill(pid, signal.SIGCONT)

    def no_operator(self) -> None:
        """Nobody looks after the lanes, which are changed, lose a pod, and send on."""
        rig, operator = self.rig, ("deployment", RELEASE, "-n", OPERATOR_NAMESPACE)
        rig.cluster.kubectl("scale", *operator, "--replicas=0")
        try:
            eventually(lambda: not rig.operators(), "no operator is left", 60)
            since = time.monotonic()
            rig.here.apply(rig.manifest(BULK, 1))
            rig.cluster.kubectl("delete", "pod", f"{CODES}-0-0", "-n", rig.here.namespace, "--wait=false")
            time.sleep(max(0.0, self.scale.operator_away_s - (time.monotonic() - since)))
        finally:
            rig.cluster.kubectl("scale", *operator, "--replicas=2")
        rig.here.apply(rig.manifest(BULK, 2))

    def two_that_lead(self) -> None:
        """By mistake both replicas have no Lease to hold, and both work while lanes change."""
        rig = self.rig
        self._leases(of="")
        try:
            for replicas in (3, 1, 2, 1, 3):
                rig.here.apply(rig.manifest(BULK, replicas))
                time.sleep(self.scale.raced_s / 5)
        finally:
            self._leases(of=RELEASE)
        self._as_at_first()

    def _leases(self, of: str) -> None:
        """Both replicas start anew with this name of a Lease; none: each works."""
        rig, operator = self.rig, ("deployment", RELEASE, "-n", OPERATOR_NAMESPACE)
        env = [{"name": "LANEWRIGHT_LEASE", "value": of}]
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "operator", "env": env}]}}}}
        rig.cluster.kubectl("patch", *operator, "-p", json.dumps(patch))
        rig.cluster.kubectl("rollout", "status", *operator, "--timeout=120s")

    # the way to the API server

    def bad_answers(self) -> None:
        """Half of all requests go wrong, in each way in turn, while a lane grows and shrinks."""
        half = 0.5
        mixed = [Fault(kind=kind, share=0.12) for kind in ("429", "500", "409", "cut", "silent", "swallowed")]
        kinds = ("429", "500", "503", "409", "cut", "swallowed", "slow", "silent")
        rounds = [*([Fault(kind=kind, share=half)] for kind in kinds), mixed]
        for number, faults in enumerate(rounds):
            with self._broken(faults):
                self.rig.here.apply(self.rig.manifest(BULK, (3, 2, 1, 2)[number % 4]))
                time.sleep(self.scale.bad_answers_s)
        self._as_at_first()

    @contextmanager
    def _broken(self, faults: list[Fault]) -> Iterator[None]:
        self.rig.door.breaks(faults)
        try:
            yield
        finally:
            self.rig.door.breaks(())

    def watches_cut(self) -> None:
        """Every stream of changes ends, again and again, while lanes change."""
        cut = 0
        for number in range(self.scale.watch_cuts):
            self.rig.here.apply(self.rig.manifest(BULK, 1 + number % 3))
            time.sleep(self._random.uniform(0.2, 2.0))
            cut += self.rig.door.cut_watches()
        assert cut, "not one was open"
        self._as_at_first()

    def status_raced(self) -> None:
        """Somebody else writes status all the time: nonsense, nothing, and the pools' record of who holds what."""
        rig, space = self.rig, self.rig.here.namespace
        nonsense = json.dumps([{"op": "add", "path": "/status/conditions", "value": []}])
        nothing = json.dumps([{"op": "add", "path": "/status", "value": {}}])
        until, number = time.monotonic() + self.scale.raced_s, 0
        while time.monotonic() < until:
            number += 1
            rig.here.apply(rig.manifest(BULK, 2 + number % 2))
            for kind, name, patch in (
                ("sendinglane", BULK, nonsense),
                ("ippool", f"{BULK}-pool", nothing),
                ("sendinglane", CODES, nothing),
                ("ippool", f"{CODES}-pool", nothing),
            ):
                how = ("--subresource=status", "--type=json", "-p", patch)
                rig.cluster.kubectl("patch", kind, name, "-n", space, *how, check=False)
        self._as_at_first()

    # what the operator looks after

    def slots_killed(self) -> None:
        """A relay is killed, a pod is deleted, a pod goes by force, a workload is deleted."""
        rig, space = self.rig, self.rig.here.namespace
        self._relay_killed(f"{CODES}-1")
        rig.cluster.kubectl("delete", "pod", f"{BULK}-1-0", "-n", space, "--wait=false")
        eventually(lambda: _pod_serves(rig, f"{CODES}-1"), "the slot is back", 60)
        rig.cluster.kubectl("delete", "statefulset", f"{CODES}-0", "-n", space, "--wait=false")
        time.sleep(1.0)
        self._relay_killed(f"{BULK}-0")

    def _relay_killed(self, slot: str) -> None:
        rig = self.rig
        address, pid = rig.address_of(slot), rig.cluster.container_pid(rig.here.namespace, f"{slot}-0", "relay")
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        rig.relay_kills.append(Kill(at, address))

    def secrets_and_pool_deleted(self) -> None:
        """Every Secret of a lane but those that nobody could make again, the reflectors' key, and a pool by force."""
        rig, space = self.rig, self.rig.here.namespace
        kept = (f"{CODES}-users", f"{CODES}-audit", f"{CODES}-feedback")
        for one in rig.cluster.get("secrets", "-n", space, "-l", f"lanewright.dev/lane={CODES}")["items"]:
            name = one["metadata"]["name"]
            if name not in kept and one["metadata"]["labels"].get("app.kubernetes.io/managed-by") == "lanewright":
                rig.cluster.kubectl("delete", "secret", name, "-n", space, "--wait=false")
        rig.cluster.kubectl("delete", "secret", "reflector", "-n", space)
        rig.cluster.kubectl("delete", "ippool", f"{BULK}-pool", "-n", space, "--wait=false")
        time.sleep(3.0)
        forced = ("--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        rig.cluster.kubectl("patch", "ippool", f"{BULK}-pool", "-n", space, *forced)
        time.sleep(5.0)
        rig.apply_ground()

    def volume_pending(self) -> None:
        """Nobody makes volumes while a lane grows by a slot whose empty one was deleted."""
        rig, claim = self.rig, f"queue-{BULK}-2"
        rig.cluster.kubectl("delete", "pvc", claim, "-n", rig.here.namespace, "--wait=false", "--ignore-not-found")
        eventually(lambda: not rig.here.is_there("pvc", claim), "the volume of before is gone", 30)
        rig.control.end("volumes")
        try:
            rig.here.apply(rig.manifest(BULK, 3))
            eventually(lambda: rig.here.get("pvc", claim)["status"]["phase"] == "Pending", "it waits", 30)
            time.sleep(self.scale.raced_s)
        finally:
            rig.control.repair()
        eventually(lambda: _pod_serves(rig, f"{BULK}-2"), "the new slot serves", 90)
        rig.here.apply(rig.manifest(BULK, 2))

    def node_cut_off(self) -> None:
        """The second node's cable is cut: its slots reach nobody, and nobody takes their place or address."""
        rig, node = self.rig, self.rig.cluster.nodes[1]
        rig.cluster.cut_link(node)
        try:
            eventually(lambda: not _node_ready(rig, node), "the node is not ready", 90)
            time.sleep(self.scale.node_away_s)
        finally:
            rig.cluster.restore_link(node)
        eventually(lambda: _node_ready(rig, node), "the node is ready again", 90)

    def node_away(self) -> None:
        """Kubelet and containerd of the second node end; its pods run on, and come to be unready."""
        rig, node = self.rig, self.rig.cluster.nodes[1]
        rig.cluster.stop_node(node)
        try:
            eventually(lambda: not _node_ready(rig, node), "the node is not ready", 90)
            rig.here.apply(rig.manifest(BULK, 1))
            time.sleep(self.scale.node_away_s)
        finally:
            rig.cluster.start_node(node)
        eventually(lambda: _node_ready(rig, node), "the node is ready again", 90)
        rig.here.apply(rig.manifest(BULK, 2))

    def node_gone(self) -> None:
        """A node's cable is cut for good, its power goes, and somebody says that it runs nothing any more.

        The lane whose volume is the network's goes on elsewhere with the mail that waited and its address; slots whose
        volumes are on that node wait for it, and nobody has their addresses.
        """
        rig, space = self.rig, self.rig.here.namespace
        claim, volume = f"queue-{MOVING}-0", {"size": "1Gi", "storageClassName": MOVES}
        rig.network_volume(claim)
        rig.here.apply(rig.manifest(MOVING, 1, pool_of=PASSING, queue=volume))
        eventually(lambda: _serves(rig, MOVING), "it serves", 120)
        rig.here.apply(rig.manifest(MOVING, 1, pool_of=PASSING, queue=volume, suspend=True))
        self._sent_to_passing += 1
        rig.send_to(MOVING, self._sent_to_passing, 20)
        node, address = rig.here.get("pod", f"{MOVING}-0-0")["spec"]["nodeName"], rig.address_of(f"{MOVING}-0")
        stuck = [one for one in self._slots_on(node) if not one.startswith(MOVING)]
        rig.relay_kills += [Kill(time.time(), rig.address_of(slot)) for slot in stuck]
        rig.cluster.cut_link(node)
        taint = ("taint", "node", node, f"{OUT_OF_SERVICE}=nodeshutdown:NoExecute")
        try:
            eventually(lambda: not _node_ready(rig, node), "the node is not ready", 90)
            rig.cluster.power_off(node)
            rig.cluster.kubectl(*taint)
            eventually(lambda: f"{MOVING}-0" not in self._slots_on(node), "its pod there is gone", 120)
            eventually(lambda: _pod_serves(rig, f"{MOVING}-0"), "it is elsewhere", 120)
            assert rig.address_of(f"{MOVING}-0") == address, "it has another address"
            rig.here.apply(rig.manifest(MOVING, 1, pool_of=PASSING, queue=volume))
            eventually(lambda: _has_sent_all(rig, MOVING), "what waited has left", 120)
            assert not [slot for slot in stuck if _runs(rig, slot)], "a slot runs without its volume"
            time.sleep(self.scale.node_away_s)
        finally:
            rig.cluster.restore_link(node)
            rig.cluster.start_node(node)
            rig.cluster.kubectl(*taint[:-1], f"{OUT_OF_SERVICE}-", check=False)
        eventually(lambda: _node_ready(rig, node), "the node is ready again", 90)
        rig.cluster.kubectl("delete", "sendinglane", MOVING, "-n", space, "--wait=false")
        eventually(lambda: not rig.here.is_there("sendinglane", MOVING), "the lane is gone", 180)
        rig.give_up_volume(claim)

    def _slots_on(self, node: str) -> list[str]:
        """Slots whose pods are there."""
        found = self.rig.cluster.get("pods", "-n", self.rig.here.namespace, "-l", "lanewright.dev/slot")["items"]
        there = (one for one in found if one["spec"].get("nodeName") == node)
        return [one["metadata"]["labels"]["lanewright.dev/slot"] for one in there]

    # the API server

    def api_server_hangs(self) -> None:
        """Connections stay open and nothing is answered."""
        rig = self.rig
        rig.here.apply(rig.manifest(BULK, 3))
        rig.cluster.pause_api_server()
        try:
            time.sleep(self.scale.api_server_away_s)
        finally:
            rig.cluster.resume_api_server()
        self._answers_again()
        rig.here.apply(rig.manifest(BULK, 2))

    def api_server_killed(self) -> None:
        """Nobody listens; who waits for it in the control plane may end meanwhile and is started again."""
        rig = self.rig
        rig.here.apply(rig.manifest(BULK, 1))
        rig.control.end("kube-apiserver")
        time.sleep(self.scale.api_server_away_s)
        self._answers_again()
        rig.here.apply(rig.manifest(BULK, 2))

    def etcd_restored(self) -> None:
        """The store is put back to what it was before a slot was given up, a limit was changed, and a lane was made.

        That lane's slot runs on, on a node that does not hear of it; another lane wants an address of its pool at once.
        """
        rig = self.rig
        self._delete_passing()
        eventually(lambda: not rig.here.is_there("sendinglane", PASSING), "the lane of before is gone", 120)
        kept = rig.control.keep("before")
        node = self._with_fewest_operators()
        there = {"nodeSelector": {"kubernetes.io/hostname": node}}
        changed = rig.manifest(CODES, 2, limits={"connectionsPerIP": 3}), rig.manifest(BULK, 1)
        rig.here.apply(*changed, rig.manifest(FORGOTTEN, 1, pool_of=PASSING, pod=there))
        eventually(lambda: not rig.here.is_there("statefulset", f"{BULK}-1"), "the slot is gone", 120)
        eventually(lambda: _serves(rig, FORGOTTEN), "the lane that will be forgotten serves", 120)
        rig.control.restore(kept, away=node)
        try:
            self._answers_again()
            assert not rig.here.is_there("sendinglane", FORGOTTEN), "it was not forgotten"
            rig.here.apply(rig.manifest(LATE, 1, pool_of=PASSING))
            eventually(lambda: _is_held_back(rig, LATE), "no address is given while others may be held", 150)
            eventually(lambda: not _node_ready(rig, node), "the node is not ready", 90)
            assert _is_held_back(rig, LATE), "an address is given while a node runs what nobody knows"
        finally:
            rig.cluster.start_node(node)
        eventually(lambda: _serves(rig, LATE), "it has its address once all are seen", 240)
        rig.cluster.kubectl("delete", "sendinglane", LATE, "-n", rig.here.namespace, "--wait=false")

    def _with_fewest_operators(self) -> str:
        """A node; one operator at least is on another one, and does not wait for its kubelet."""
        theirs = [one["spec"]["nodeName"] for one in self.rig.operators()]
        return min(self.rig.cluster.nodes, key=theirs.count)

    def _answers_again(self) -> None:
        self.rig.control.repair()
        eventually(lambda: self.rig.cluster.get("nodes")["items"], "the API server answers", 60)


def _killed(pid: int) -> int:
    """How many were killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def _serves(rig: Rig, lane: str) -> bool:
    status = rig.here.get("sendinglane", lane).get("status", {})
    return any(one["ready"] and one["egressVerified"] for one in status.get("slots", ()))


def _is_held_back(rig: Rig, lane: str) -> bool:
    """It says that it gets no address yet, and nothing of it runs."""
    conditions = rig.here.get("sendinglane", lane).get("status", {}).get("conditions", ())
    said = any(one["reason"] == "StoreWentBack" for one in conditions)
    return said and not rig.here.is_there("statefulset", f"{lane}-0")


def _has_sent_all(rig: Rig, lane: str) -> bool:
    slots = rig.here.get("sendinglane", lane)["status"].get("slots", ())
    return bool(slots) and all(one["egressVerified"] and not one["queued"] for one in slots)


def _runs(rig: Rig, slot: str) -> bool:
    """Whether a container of its pod has been started."""
    found = rig.cluster.get("pod", f"{slot}-0", "-n", rig.here.namespace, "--ignore-not-found")
    return any(one.get("started") for one in found.get("status", {}).get("containerStatuses", ()))


def _pod_serves(rig: Rig, slot: str) -> bool:
    pod = rig.here.get("pod", f"{slot}-0")
    states = pod["status"].get("containerStatuses", ())
    return "deletionTimestamp" not in pod["metadata"] and any(one["ready"] for one in states if one["name"] == "relay")


def _node_ready(rig: Rig, node: str) -> bool:
    try:
        found = rig.cluster.get("node", node)
    except ClusterError:
        return False
    return any(one["type"] == "Ready" and one["status"] == "True" for one in found["status"]["conditions"])
