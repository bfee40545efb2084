"""Which replica writes: the holder of one Lease (coordination.k8s.io/v1), as Kubernetes' own controllers do it.

Every replica watches and keeps its cache; only the holder works on the queue. Invariants: nobody trusts another's
clock (a Lease is over when it was seen unchanged for its whole duration by the clock of who wants it); the holder is
sure of it for less time than that, counted from before its renewal was sent, and writes nothing unless it is sure
(`Kube.fenced`); who has lost it says so by an error that ends the process, and comes back as one that waits; who sees
a Lease older than before ends too, since etcd was restored from a snapshot, and its cache is of what is no more.
Times: client-go's 15, 10 and 2 s, the first two shortened so that a replica that was killed is followed within 20 s.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable
from typing import Final, Never

import structlog

from lane_operator import metrics
from lane_operator.errors import ConflictError, KubeError, WentBackError
from lane_operator.inputs import Key, Manifest
from lane_operator.kube import LEASE, Kube

__all__ = ["EVERY_S", "LEASE_S", "RENEW_WITHIN_S", "Leadership", "LeaseLostError"]

LEASE_S: Final = 12
"""How long a Lease stands that nobody renews."""
RENEW_WITHIN_S: Final = 8.0
"""How long its holder is sure of it; what is left to LEASE_S is for requests that are under way."""
EVERY_S: Final = 2.0
"""Between two looks, of the holder and of who waits."""
ATTEMPT_S: Final = 3.0
log = structlog.get_logger(__name__)


class LeaseLostError(Exception):
    """Another replica holds the Lease, or may hold it by now."""


class Leadership:
    """One replica's side of the Lease."""

    def __init__(
        self, kube: Kube, lease: Key, identity: str, clock: Callable[[], float], wall: Callable[[], dt.datetime]
    ) -> None:
        """`identity` stays the same after a restart in its pod; `clock` gives seconds that never go back."""
        self.leading = asyncio.Event()
        """Set once the Lease is held, until the process ends."""
        self._kube = kube
        self._lease = lease
        self._identity = identity
        self._clock = clock
        self._wall = wall
        self._known: Manifest | None = None
        """The Lease as our own last write left it."""
        self._newest = 0
        """resourceVersion of the newest Lease that we have read or written."""
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0
        self._sure_until = float("-inf")
        self._trouble = ""

    def holds(self) -> bool:
        """Whether no other replica can hold it now."""
        return self._clock() < self._sure_until

    async def keep(self) -> Never:
        """Waits for the Lease, then keeps it; raises LeaseLostError."""
        while True:
            await self.turn()
            await asyncio.sleep(EVERY_S)

    async def turn(self) -> None:
        """One look: takes, renews, or goes on waiting; raises LeaseLostError, or WentBackError."""
        began, won = self._clock(), None
        try:
            async with asyncio.timeout(ATTEMPT_S):
                won = await self._try()
            self._trouble = ""
        except (KubeError, TimeoutError) as error:
            self._known = None
            self._say(str(error) or f"no answer in {ATTEMPT_S:g} s", conflict=isinstance(error, ConflictError))
        if won:
            self._sure_until = began + RENEW_WITHIN_S
            if not self.leading.is_set():
                log.info("leading", lease=self._lease[1], identity=self._identity)
                metrics.leader.set(1)
            self.leading.set()
        elif self.leading.is_set() and (won is False or not self.holds()):
            self._sure_until = float("-inf")
            metrics.leader.set(0)
            raise LeaseLostError(self._trouble or "another replica holds it")

    async def release(self) -> None:
        """Hands the Lease on, where we hold it; best effort, it runs out by itself."""
        if not self.holds() or self._known is None:
            return
        self._sure_until = float("-inf")
        metrics.leader.set(0)
        spec = {**self._known["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._now()}
        with contextlib.suppress(KubeError, TimeoutError):
            async with asyncio.timeout(ATTEMPT_S):
                await self._write(self._known, spec)

    async def _try(self) -> bool:
        """Whether the Lease is ours now; raises KubeError, or WentBackError."""
        lease = self._known or await self._kube.get(LEASE, *self._lease)
        self._remember(lease)
        if lease is None:
            self._known = await self._kube.create(
                {
                    "apiVersion": LEASE.api_version,
                    "kind": LEASE.kind,
                    "metadata": {"namespace": self._lease[0], "name": self._lease[1]},
                    "spec": self._ours({}),
                }
            )
            self._remember(self._known)
            return True
        spec: Manifest = lease.get("spec") or {}
        if not self._may_take(spec):
            return False
        self._known = await self._write(lease, self._ours(spec))
        self._remember(self._known)
        return True

    def _remember(self, lease: Manifest | None) -> None:
        """Raises WentBackError for a Lease older than one that we know: a read without a version is of the newest."""
        version = int(lease["metadata"]["resourceVersion"]) if lease is not None else self._newest
        if version < self._newest:
            self._sure_until = float("-inf")
            metrics.leader.set(0)
            raise WentBackError(
                f"Lease {'/'.join(self._lease)} is older (resourceVersion {version}) than it was ({self._newest})"
            )
        self._newest = version

    def _may_take(self, spec: Manifest) -> bool:
        """Whether nobody else holds it, or did not renew it for its whole duration by our clock."""
        holder = spec.get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        seen, now = (holder, spec.get("renewTime"), spec.get("leaseTransitions")), self._clock()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        return now - self._seen_at >= float(spec.get("leaseDurationSeconds") or LEASE_S)

    def _ours(self, spec: Manifest) -> Manifest:
        """The spec with us as the holder."""
        kept, now = spec.get("holderIdentity") == self._identity, self._now()
        return {
            **spec,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": spec.get("acquireTime", now) if kept else now,
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (1 if spec and not kept else 0),
        }

    async def _write(self, lease: Manifest, spec: Manifest) -> Manifest:
        return await self._kube.patch_json(
            LEASE, *self._lease, [{"op": "add", "path": "/spec", "value": spec}], lease["metadata"]["resourceVersion"]
        )

    def _now(self) -> str:
        """MicroTime of the API: six digits, always."""
        return self._wall().astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _say(self, trouble: str, *, conflict: bool) -> None:
        if trouble != self._trouble:
            (log.debug if conflict else log.warning)("lease out of reach", lease=self._lease[1], error=trouble)
        self._trouble = trouble
