"""Where events come in: kopf's handlers, three lines each, our own watches, and the periodic list that covers what
events lose.

Only kopf's `on.event` is used: it leaves nothing on users' objects. A handler puts the object into the cache and the
keys that it wakes into the queue; it never reconciles and never returns a value. What we make ourselves, and its pods
and volumes, come through our own watches (`kube.watch`): one a kind, and of Secrets one a served namespace, since we
hold no right to watch them in the whole cluster.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import kopf
import structlog

from lane_api.names import MANAGED_BY
from lane_operator import metrics
from lane_operator.cache import Change
from lane_operator.errors import KubeError, NotFoundError, WentBackError
from lane_operator.inputs import Manifest
from lane_operator.kube import (
    CERTIFICATE,
    CHILD_KINDS,
    CILIUM_GATEWAY,
    CILIUM_POLICY,
    DNS_ENDPOINT,
    IP_POOL,
    ISP_POLICY,
    NETWORK_ATTACHMENT,
    NODE,
    OPTIONAL_KINDS,
    PERSISTENT_VOLUME,
    POD,
    POD_MONITOR,
    PROMETHEUS_RULE,
    SECRET,
    SENDING_LANE,
    STATEFUL_SET,
    VOLUME_CLAIM,
    Kind,
    watch_kind,
)
from lane_operator.reconcile import QueueKey, World, everything, woken_by
from lane_operator.settings import Settings

__all__ = ["Intake", "register", "watched_kinds", "withheld_kinds"]

OURS = ",".join(f"{name}={value}" for name, value in MANAGED_BY.items())
"""Selector of what we make: children, their pods, kept volumes."""
_USERS = (SENDING_LANE, IP_POOL, ISP_POLICY, NODE)
"""Kinds that users write."""
_DECISIVE = (SENDING_LANE, IP_POOL, STATEFUL_SET, VOLUME_CLAIM)
"""What slots there are, and whose addresses."""
_WHOLE = (*_USERS, NETWORK_ATTACHMENT)
"""Kinds that are watched whole; of networks, users write the templates that pools name."""
GATHER_S = 0.1
"""How long changes of what we make are gathered: the API server's answer to our own write comes before its event, and
the event is then no news; what changes thrice in a moment, as a pod that starts, is one pass."""
log = structlog.get_logger(__name__)


def watched_kinds(settings: Settings) -> tuple[Kind, ...]:
    """The kinds that are watched but Secrets, as far as the chart gave us rights to them."""
    enabled = _enabled(settings)
    kinds = (SENDING_LANE, IP_POOL, ISP_POLICY, *CHILD_KINDS, POD, NODE, PERSISTENT_VOLUME)
    return tuple(kind for kind in kinds if enabled.get(kind, True) and kind != SECRET)


def withheld_kinds(settings: Settings) -> frozenset[str]:
    """The kinds that the chart gave us no rights to."""
    return frozenset(kind.qualified for kind, is_ours in _enabled(settings).items() if not is_ours)


def _enabled(settings: Settings) -> dict[Kind, bool]:
    """Kinds whose rights are a value of the chart."""
    return {
        NETWORK_ATTACHMENT: "Multus" in settings.engines,
        CILIUM_GATEWAY: "Cilium" in settings.engines,
        CILIUM_POLICY: "Cilium" in settings.engines,
        POD_MONITOR: settings.monitoring,
        PROMETHEUS_RULE: settings.monitoring,
        CERTIFICATE: settings.certificates,
        DNS_ENDPOINT: settings.dns_endpoints,
        NODE: settings.nodes,
        PERSISTENT_VOLUME: settings.volumes,
    }


class Intake:
    """Takes changes into the cache and wakes what they concern."""

    def __init__(self, world: World, wake: Callable[[QueueKey], None]) -> None:
        self._world = world
        self._wake = wake
        self._versions: dict[tuple[Kind, str | None], str] = {}
        """As of which resourceVersion each collection was listed last."""
        self._asked_at: dict[tuple[Kind, str | None], float] = {}
        """When its last list that came was asked for."""
        self._gathered: list[tuple[Kind, str, Manifest]] = []

    def changed(self, kind: Kind, change: str | None, body: Manifest) -> None:
        """One event; `change` is None for an object that was listed."""
        cache = self._world.cache
        self._announce([cache.drop(kind.kind, body) if change == "DELETED" else cache.put(kind.kind, body)])

    def gathered(self, kind: Kind, change: str, body: Manifest) -> None:
        """One event of what we make; it is taken in with what else comes within GATHER_S."""
        if not self._gathered:
            asyncio.get_running_loop().call_later(GATHER_S, self._take_gathered)
        self._gathered.append((kind, change, body))

    def _take_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        for one in gathered:
            self.changed(*one)

    async def take_in(self, kind: Kind, namespace: str | None) -> str:
        """Takes in a whole collection, of one namespace or of all, page by page; its resourceVersion.

        A kind that is not served is an empty collection: NotFoundError. Raises KubeError, and WentBackError for a list
        as of before what we knew when we asked: one without a version is of the newest.
        """
        cache, seen, version = self._world.cache, set[tuple[str, str]](), ""
        asked_at = self._world.monotonic()
        newest = cache.newest(kind.kind, namespace)
        try:
            async for page in self._world.kube.pages(kind, namespace, _selector(kind)):
                version = page.resource_version
                if int(version) < newest:
                    raise WentBackError(f"{kind.plural} are listed as of resourceVersion {version}, and were {newest}")
                seen.update((one["metadata"].get("namespace") or "", one["metadata"]["name"]) for one in page.items)
                self._announce(cache.take(kind.kind, page.items, int(version)))
        except NotFoundError:  # its definition went, and with it, unseen by a watch, every object
            self._announce(cache.keep_only(kind.kind, namespace, ()))
            raise
        self._announce(cache.keep_only(kind.kind, namespace, seen, int(version)))
        self._asked_at[kind, namespace] = asked_at
        return version

    async def resync(self) -> None:
        """Lists and compares every kind, asks which optional ones there are, wakes everything. Raises KubeError."""
        world, settings = self._world, self._world.settings
        world.kinds = frozenset(kind.qualified for kind in await self._present())
        for kind in watched_kinds(settings):
            if kind in OPTIONAL_KINDS and kind.qualified not in world.kinds:
                continue
            for namespace in self._namespaces(kind):
                await self._list(kind, namespace)
        for namespace in settings.secret_namespaces:
            await self._list(SECRET, namespace)
        for key in everything(world.cache):
            self._wake(key)
        metrics.resync_timestamp_seconds.set(world.wall().timestamp())

    async def relist_slots(self, since: float) -> None:
        """Lists lanes, pools, workloads and volume claims that were listed before that time of the monotonic clock.

        For who leads since then: its watches may be behind, and who led before has given addresses and ended slots.
        Raises KubeError, and WentBackError.
        """
        for kind in _DECISIVE:
            for namespace in self._namespaces(kind):
                if self._asked_at.get((kind, namespace), -math.inf) < since:
                    await self._list(kind, namespace)

    async def look_for_kinds(self) -> None:
        """Asks which optional kinds the cluster serves; where that changed, lists new ones and wakes everything.

        Raises KubeError.
        """
        world, present = self._world, await self._present()
        kinds = frozenset(kind.qualified for kind in present)
        if kinds == world.kinds:
            return
        for kind in present:
            if kind.qualified not in world.kinds:
                for namespace in self._namespaces(kind):
                    await self._list(kind, namespace)
        world.kinds = kinds
        for key in everything(world.cache):
            self._wake(key)

    async def _present(self) -> frozenset[Kind]:
        enabled = watched_kinds(self._world.settings)
        return await self._world.kube.present([kind for kind in OPTIONAL_KINDS if kind in enabled])

    def own_collections(self) -> tuple[tuple[Kind, str | None], ...]:
        """What is watched without kopf: kinds, each with a namespace or None for all."""
        settings = self._world.settings
        kinds = (kind for kind in watched_kinds(settings) if kind not in _USERS)
        return (
            *((kind, namespace) for kind in kinds for namespace in self._namespaces(kind)),
            *((SECRET, namespace) for namespace in settings.secret_namespaces),
        )

    async def watch(self, kind: Kind, namespace: str | None) -> None:
        """Follows one of them, from the last list of it, until cancelled."""
        version = self._versions.get((kind, namespace), "")
        relist = partial(self.take_in, kind, namespace)
        await watch_kind(
            self._world.kube,
            kind,
            namespace,
            _selector(kind),
            relist,
            self.gathered,
            version,
            absent_s=self._world.settings.secret_recheck_s,
            resumes=bool(self._world.settings.lease),  # which tells within seconds that the store went back
        )

    def _namespaces(self, kind: Kind) -> tuple[str | None, ...]:
        return (self._world.settings.watch_namespaces or (None,)) if kind.namespaced else (None,)

    async def _list(self, kind: Kind, namespace: str | None) -> None:
        try:
            self._versions[kind, namespace] = await self.take_in(kind, namespace)
        except NotFoundError:
            log.warning("the cluster serves no such kind", kind=kind.qualified)
            return
        except KubeError as error:
            if kind is not SECRET:
                raise
            log.warning("Secrets are out of reach", namespace=namespace, error=str(error))
            return

    def _announce(self, changes: Iterable[Change | None]) -> None:
        for change in changes:
            if change is not None:
                for key in woken_by(self._world.cache, change, self._world.settings.operator_namespace):
                    self._wake(key)


def _selector(kind: Kind) -> str:
    return "" if kind in _WHOLE else OURS


def register(registry: kopf.OperatorRegistry, intake: Intake, ours: Settings) -> None:
    """Registers a handler for each kind that users write."""
    for kind in watched_kinds(ours):
        if kind in _USERS:
            _register(registry, intake, kind)


def _register(registry: kopf.OperatorRegistry, intake: Intake, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.api_version.rpartition("/")[2], kind.plural, registry=registry, id=kind.plural)
    async def _(event: Any, **_: Any) -> None:
        intake.changed(kind, event["type"], event["object"])
