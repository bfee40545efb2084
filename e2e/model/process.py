"""One operator process as it is inside: its cache, its queue of keys, its passes; without watches.

What it knows is what it listed last and what its own writes were answered, so that a test says how stale it is.
Before: `door`. After: the test's rules.
"""

import datetime as dt
import random
import time

from kubernetes.aio.client import Configuration

from e2e.model.door import Door
from lane_operator.cache import Cache
from lane_operator.errors import KubeError
from lane_operator.handlers import Intake
from lane_operator.inputs import DesiredSettings
from lane_operator.kube import SENDING_LANE, Kube
from lane_operator.observe import Observer
from lane_operator.reconcile import QueueKey, World, run_pass
from lane_operator.settings import Settings

__all__ = ["OperatorProcess"]


class OperatorProcess:
    """The operator of one namespace, a step at a time."""

    def __init__(self, door: Door, namespace: str, chance: random.Random) -> None:
        self.door = door
        self._chance = chance
        self._waiting: set[QueueKey] = set()
        self._kube = Kube(Configuration(host=door.url))
        settings = Settings(
            relay_image="relay",
            resolver_image="resolver",
            operator_namespace="lanewright-system",
            watch_namespaces=(namespace,),
            engines=("HostNetwork",),
            monitoring=False,
            volumes=False,
            observe_settled_s=0.02,
            observe_busy_s=0.02,
            upgrade_drain_s=0.5,
        )
        self._world = World(
            kube=self._kube,
            cache=Cache(),
            observer=Observer(lambda lane: self._waiting.add(QueueKey(SENDING_LANE.kind, *lane))),
            settings=settings,
            lanes=DesiredSettings("relay", "resolver", "lanewright-system", network_policies=None),
            enqueue=self._waiting.add,
            wall=lambda: dt.datetime.now(dt.UTC),
            monotonic=time.monotonic,
            served=frozenset({namespace}),
        )
        self._intake = Intake(self._world, self._waiting.add)
        self.passes = self.failures = 0

    async def start(self) -> None:
        """Connects."""
        await self._kube.__aenter__()

    async def stop(self) -> None:
        """Ends, wherever it was."""
        await self._world.observer.close()
        await self._kube.__aexit__(None, None, None)

    async def resync(self) -> None:
        """Lists everything, as far as its door lets it."""
        try:
            await self._intake.resync()
        except KubeError:
            self.failures += 1

    async def work(self, most: int) -> None:
        """So many passes in any order; one that fails comes again."""
        for _ in range(most):
            if not self._waiting:
                return
            key = self._chance.choice(sorted(self._waiting))
            self._waiting.discard(key)
            self.passes += 1
            try:
                await run_pass(self._world, key)
            except KubeError:
                self.failures += 1
                self._waiting.add(key)
            if self.door.is_broken:
                return
