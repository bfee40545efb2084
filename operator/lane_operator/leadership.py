"""Which replica writes: the holder of one Lease (coordination.k8s.io/v1), as Kubernetes' own controllers do it.

Every replica watches and keeps its cache; only the holder works on the queue. Invariants: nobody trusts another's
clock (a Lease is over when it was seen unchanged for its whole duration by the clock of who wants it); the holder is
sure of it for less time than that, counted from before its renewal was sent, and writes nothing unless it is sure
(`Kube.fenced`); who has lost it says so by an error that ends the process, and comes back as one that waits; who sees
a Lease that is no later state of what it has seen (`terms`) ends too, since etcd was restored from a snapshot, and its
cache is of what is no more. That stands on the Lease, for whoever leads then, until it is dealt with.
Times: client-go's 15, 10 and 2 s, the first two shortened so that a replica that was killed is followed within 20 s.
"""

import asyncio
import contextlib
import datetime as dt
import secrets
from collections.abc import Callable, Mapping
from typing import Final, Never

import structlog

from lane_api.names import LEASE_TERMS_ANNOTATION, WENT_BACK_ANNOTATION
from lane_operator import metrics
from lane_operator.errors import ConflictError, KubeError, WentBackError
from lane_operator.inputs import Key, Manifest
from lane_operator.kube import LEASE, Kube
from lane_operator.terms import contradiction, renewed, terms_of

__all__ = ["AWAY_S", "EVERY_S", "LEASE_S", "RENEW_WITHIN_S", "Leadership", "LeaseLostError"]

LEASE_S: Final = 12
"""How long a Lease stands that nobody renews."""
RENEW_WITHIN_S: Final = 8.0
"""How long its holder is sure of it; what is left to LEASE_S is for requests that are under way."""
UNDER_WAY_S: Final = LEASE_S - RENEW_WITHIN_S - 1.0
"""How much longer they may take: who gives up has its request cancelled, and the API server a second to notice."""
EVERY_S: Final = 2.0
"""Between two looks, of the holder and of who waits."""
ATTEMPT_S: Final = 3.0
AWAY_S: Final = 600.0
"""A Lease that nobody renewed for so long says either that no operator ran, or that etcd was restored while none did:
there is nobody who would remember, and what came after the snapshot may run on."""
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
        self._process = secrets.token_hex(4)
        self._last: Manifest | None = None
        """The Lease as we saw it last."""
        self._went_back_at = self._dealt_with = ""
        """What the Lease says of that, and which of it is over."""
        self._newest = 0
        """resourceVersion of the newest Lease that we have read or written."""
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0
        self._renewed_at = float("-inf")
        self._sure_until = float("-inf")
        self._trouble = ""

    def holds(self) -> bool:
        """Whether no other replica can hold it now."""
        return self._clock() < self._sure_until

    def may_write_for(self) -> float:
        """How many seconds a write that goes out now may take, before another replica may lead; 0: none may."""
        return max(0.0, self._sure_until + UNDER_WAY_S - self._clock()) if self.holds() else 0.0

    @property
    def went_back_at(self) -> dt.datetime | None:
        """When it was noticed that the store went back, or may have; None once that is dealt with."""
        at = self._went_back_at.partition(" ")[0]
        return (_time(at) or self._wall()) if at else None  # a hand may have written it

    @property
    def unknown_since(self) -> dt.datetime | None:
        """Since when slots may have begun that nobody knows: the last renewal that is known from before; None: any
        time."""
        return _time(self._went_back_at.partition(" ")[2])

    def dealt_with(self) -> None:
        """Nobody has to know any more that the store went back: the next renewal says so."""
        self._dealt_with, self._went_back_at = self._went_back_at, ""

    async def note_went_back(self) -> None:
        """Writes on the Lease that the store went back, for whoever leads next; best effort, raises nothing."""
        with contextlib.suppress(KubeError, TimeoutError):
            async with asyncio.timeout(ATTEMPT_S):
                lease = await self._kube.get(LEASE, *self._lease)
                while lease is not None:
                    noted = _annotations(lease) | {WENT_BACK_ANNOTATION: self._note(self._last)}
                    try:
                        await self._annotate(lease, noted)
                    except ConflictError:  # renewed meanwhile
                        lease = await self._kube.get(LEASE, *self._lease)
                    else:
                        return

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
                    "metadata": {
                        "namespace": self._lease[0],
                        "name": self._lease[1],
                        "annotations": {LEASE_TERMS_ANNOTATION: renewed(terms_of(self._last), self._process)},
                    },
                    "spec": self._ours({}),
                }
            )
            self._remember(self._known)
            return True
        spec: Manifest = lease.get("spec") or {}
        if not self._may_take(spec):
            return False
        noted = _annotations(lease).get(WENT_BACK_ANNOTATION, "")
        if noted and noted != self._dealt_with:  # by whoever it was, also while we lead
            self._went_back_at = noted
        elif not self.leading.is_set() and self._was_away(spec):
            self._went_back_at = self._note(lease)
        self._known = await self._write(lease, self._ours(spec))
        self._remember(self._known)
        return True

    def _was_away(self, spec: Manifest) -> bool:
        """Whether nobody renewed it for long: by our own clock where we saw a renewal, else by the walls of both."""
        if self._clock() - self._renewed_at < AWAY_S:
            return False
        try:
            since = dt.datetime.fromisoformat(str(spec.get("renewTime")))
        except ValueError:
            return False
        return (self._wall() - since).total_seconds() > AWAY_S

    def _remember(self, lease: Manifest | None) -> None:
        """Raises WentBackError for a Lease that is no later state of one that we know: a read without a version is of
        the newest."""
        version = int(lease["metadata"]["resourceVersion"]) if lease is not None else self._newest
        older = f"is older (resourceVersion {version}) than it was ({self._newest})" if version < self._newest else ""
        known = self._last if lease is not None and _uid(lease) == _uid(self._last) else None
        other = older or contradiction(terms_of(known), terms_of(lease))
        if other:
            self._sure_until = float("-inf")
            metrics.leader.set(0)
            raise WentBackError(f"Lease {'/'.join(self._lease)} {other}")
        self._newest, self._last = version, lease if terms_of(lease) else self._last

    def _may_take(self, spec: Manifest) -> bool:
        """Whether nobody else holds it, or did not renew it for its whole duration by our clock."""
        holder = spec.get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        seen, now = (holder, spec.get("renewTime"), spec.get("leaseTransitions")), self._clock()
        if seen != self._seen:
            self._renewed_at = now if self._seen else self._renewed_at
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
        kept = {name: value for name, value in _annotations(lease).items() if name != WENT_BACK_ANNOTATION}
        kept[LEASE_TERMS_ANNOTATION] = renewed(terms_of(lease) or terms_of(self._last), self._process)
        if self._went_back_at:
            kept[WENT_BACK_ANNOTATION] = self._went_back_at
        return await self._annotate(lease, kept, {"op": "add", "path": "/spec", "value": spec})

    async def _annotate(self, lease: Manifest, annotations: Mapping[str, str], *more: Manifest) -> Manifest:
        operations = [{"op": "add", "path": "/metadata/annotations", "value": annotations}, *more]
        return await self._kube.patch_json(LEASE, *self._lease, operations, lease["metadata"]["resourceVersion"])

    def _note(self, lease: Manifest | None) -> str:
        """What stands on the Lease: now, and its last renewal that is known from before, if any."""
        renewed_at = str(((lease or {}).get("spec") or {}).get("renewTime") or "")
        return f"{self._now()} {renewed_at}".rstrip() if _time(renewed_at) is not None else self._now()

    def _now(self) -> str:
        """MicroTime of the API: six digits, always."""
        return self._wall().astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _say(self, trouble: str, *, conflict: bool) -> None:
        if trouble != self._trouble:
            (log.debug if conflict else log.warning)("lease out of reach", lease=self._lease[1], error=trouble)
        self._trouble = trouble


def _time(text: str) -> dt.datetime | None:
    """A time with its zone; None for what is none."""
    try:
        found = dt.datetime.fromisoformat(text)
        return found.astimezone(dt.UTC) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _uid(lease: Manifest | None) -> str:
    """One that was deleted and made again is another one."""
    return str((lease or {}).get("metadata", {}).get("uid", ""))


def _annotations(lease: Manifest) -> dict[str, str]:
    return lease["metadata"].get("annotations") or {}
