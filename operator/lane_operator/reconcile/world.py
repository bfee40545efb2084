"""What every pass works with: the API, the cache, the visits to the slots, the clock; handed in, never looked up."""

import asyncio
import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from lane_api.dnsbl import Listing
from lane_operator.blocklists import Aim
from lane_operator.cache import Cache
from lane_operator.deliverability.dnsbl import Standing
from lane_operator.inputs import DesiredSettings, Key
from lane_operator.kube import Kube
from lane_operator.observe import Observer
from lane_operator.reconcile.turns import Turns
from lane_operator.settings import Settings

__all__ = ["AsksNobody", "NeverWentBack", "QueueKey", "WentBack", "World"]


class QueueKey(NamedTuple):
    """What the work queue holds: a kind of ours and an object of it."""

    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)


class WentBack(Protocol):
    """Who knows whether the API server's store went back, so that slots may run that it does not know."""

    @property
    def went_back_at(self) -> dt.datetime | None:
        """When that was noticed; None once it is dealt with."""

    @property
    def unknown_since(self) -> dt.datetime | None:
        """Since when slots may have begun that nobody knows; None: any time."""

    def dealt_with(self) -> None:
        """Whoever may run is seen by now."""


class NeverWentBack:
    """Of an operator without a Lease: it remembers nothing over its restart."""

    went_back_at: dt.datetime | None = None
    unknown_since: dt.datetime | None = None

    def dealt_with(self) -> None:
        """There is nothing to deal with."""


class AsksBlocklists(Protocol):
    """Who looks for pools' addresses in blocklists."""

    def aim(self, pool: Key, aim: Aim | None, recorded: Mapping[str, Iterable[Listing]]) -> None:
        """Has a pool looked after; None: no more."""

    def standing(self, pool: Key) -> Standing | None:
        """What is known of a pool's addresses; None before its first look."""


class AsksNobody:
    """Of a world without DNS: what stands in a pool's status stays."""

    def aim(self, pool: Key, aim: Aim | None, recorded: Mapping[str, Iterable[Listing]]) -> None:
        """Nothing is looked for."""

    def standing(self, _pool: Key) -> Standing | None:
        """Nothing is known."""
        return None


@dataclass(slots=True)
class World:
    """The collaborators of the passes of one operator process."""

    kube: Kube
    cache: Cache
    observer: Observer
    settings: Settings
    lanes: DesiredSettings
    """What an installation decides for all lanes."""
    enqueue: Callable[[QueueKey], None]
    wall: Callable[[], dt.datetime]
    """The time of day, with its zone."""
    monotonic: Callable[[], float]
    withheld: frozenset[str] = frozenset()
    """API kinds that the chart's values give us no rights to."""
    kinds: frozenset[str] = frozenset()
    """API kinds that the cluster serves and we may use."""
    allocating: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One allocation at a time, since an address may stand in two pools; resourceVersions guard against others."""
    figures_written: dict[Key, float] = field(default_factory=dict)
    """When a lane's figures were last written."""
    pool_figures_written: dict[Key, float] = field(default_factory=dict)
    """When a pool's figures, of what slots say of its addresses, were last written."""
    pools_behind: set[Key] = field(default_factory=set)
    """Pools that are to be looked at for them."""
    turns: Turns = field(default_factory=Turns)
    """Which lanes' slots are upgraded now."""
    went_back: WentBack = field(default_factory=NeverWentBack)
    unseen: tuple[float, tuple[str, ...]] = (-math.inf, ())
    """When it was looked for who may still hold addresses, by the monotonic clock, and what is waited for."""
    blocklists: AsksBlocklists = field(default_factory=AsksNobody)
    """What is asked whether pools' addresses are listed."""
    served: frozenset[str] = frozenset()
    """Namespaces whose Secrets are ours to read and write."""
