"""Every site that is known: whole where mail waits or something is under way, packed where it is only left alone.

Before it: the dispatcher, with entries and with connections that are over. After it: `ready_queue`, `parked`.
Invariants: a name is in one of the two; who asks about a site gets the same answer of either.
"""

from lane_api.relayconfig import RelayConfig
from lane_relay.deliver.day_count import DayCount
from lane_relay.deliver.judgement import Judgement
from lane_relay.deliver.kept_limits import KeptLimits
from lane_relay.deliver.parked import ParkedSites, may_be_packed
from lane_relay.deliver.ready_queue import ReadyQueue, SiteLimits, site_limits
from lane_relay.records import Route

__all__ = ["KnownSites"]


class KnownSites:
    """Of one slot."""

    def __init__(
        self, config: RelayConfig, whole: dict[str, ReadyQueue], judgement: Judgement, kept: KeptLimits
    ) -> None:
        """`whole`: by name; shared with all who walk over what waits."""
        self._config = config
        self.whole = whole
        self._judgement = judgement
        self._kept = kept
        self._limits: dict[str, SiteLimits] = {}
        """By policy that there is, or empty: who asks may name any site."""
        self.parked = ParkedSites()

    def apply(self, config: RelayConfig, now: float) -> None:
        """Other limits, from the next decision on."""
        self._config = config
        self._limits.clear()
        self._kept.days.limit_to(one.name for one in config.delivery.policies if one.messages_per_day is not None)
        for site in self.whole.values():
            site.change(*self.limits_of(site.policy), now)

    def limits_of(self, policy: str) -> tuple[SiteLimits, DayCount | None]:
        """Shared by all sites of this policy, or of none; and what was attempted of a daily limit."""
        if policy not in self._limits and all(one.name != policy for one in self._config.delivery.policies):
            policy = ""
        known = self._limits.get(policy)
        if known is None:
            known = self._limits[policy] = site_limits(self._config.delivery, policy)
        return known, self._kept.days.of(policy) if known.messages_per_day is not None else None

    def begin(self, route: Route) -> ReadyQueue:
        """A site that is not whole has mail: as it was left, or new."""
        limits, day = self.limits_of(route.policy)
        site = self.parked.take(route.site, limits) if not route.policy else None
        if site is None:
            site = ReadyQueue(route.site, route.policy, limits, day)
        self.whole[route.site] = site
        self._kept.paces.resume(site)
        self._judgement.begin(site)
        return site

    def look(self, name: str) -> ReadyQueue | None:
        """A site as it is or would be; None: nothing is known of it."""
        site = self.whole.get(name)
        if site is None:
            site = self.parked.look(name, self.limits_of("")[0])
            if site is not None:
                self._judgement.begin(site)
        return site

    def shrink(self, site: ReadyQueue, now: float) -> bool:
        """Packs a site that is only left alone; False: it stays whole."""
        if self.whole.get(site.name) is not site or not may_be_packed(site, now) or not self.parked.put(site):
            return False
        del self.whole[site.name]
        site.forget_empty(now, crowded=True)  # they know their site: without a look of the collector neither would go
        return True
