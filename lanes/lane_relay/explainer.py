"""Why mail has not gone yet: for a message, a recipient domain or a site, what holds it, until when, and who said so.

Every answer is what the stages themselves decide when they are asked now; nothing is guessed from figures.
Invariants: changes nothing; looks over many entries a portion at a time, with the loop free between them, and keeps
the count of all queues for a few seconds, so that asking often costs no more.
Before it: `pipeline`, which gives it the stages. After it: `api`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, Literal

from lane_api.relayconfig import Delivery, RelayConfig, SitePolicy
from lane_relay.clock import Clock, rfc3339
from lane_relay.deliver.dispatcher import Dispatcher
from lane_relay.deliver.explain import Place
from lane_relay.deliver.ready_queue import Hold, Limit, ReadyQueue
from lane_relay.orders.order import Order
from lane_relay.records import Hop, QueueEntry, Route, TlsPolicy, Unroutable, message_id_text, received_at
from lane_relay.resolve.router import Router
from lane_relay.smtp.address import normalise_domain

__all__ = ["Explainer"]

_PORTION: Final = 5000
"""Entries looked at in one turn of the loop: a millisecond or two."""
_FRESH_S: Final = 5.0
"""So long one count of all queues answers for another."""
_MOST: Final = 100
"""Entries of one message, or of one domain, that are told one by one."""
_LOOK_UP_S: Final = 2.0
_LAST: Final = ("type", "timestamp", "recipient", "response", "bounce_classification", "rule")

_FIELD_OF: Final = {
    Limit.CONNECTIONS: "connectionsPerIP",
    Limit.CONNECT_RATE: "connectRate",
    Limit.MESSAGE_RATE: "messageRate",
    Limit.DAY: "messagesPerDay",
    Limit.TOTAL_CONNECTIONS: "totalConnectionsPerIP",
    Limit.BACKOFF: "backoff",
}

_NAMES: Final = {
    "connectionsPerIP": "connections",
    "messagesPerConnection": "messages_per_connection",
    "connectRate": "connect_rate",
    "messageRate": "message_rate",
    "messagesPerDay": "messages_per_day",
    "recipientsPerMessage": "recipients_per_message",
    "retryAfter": "retry_after",
}
"""Limits of a policy as the resources have them, and as its model does."""
_STATES: Final = {
    "Suspended": "Suspended: spec.suspend of the lane, or what its conditions say",
    "Held": "Held: drain.policy Hold of a slot that goes",
    "Running": "the egress address is not proved, or the volume has failed: see GET /v1/slot",
}

Trace = Callable[[str, str], Awaitable[list[dict[str, Any]]]]


class Explainer:
    """Of one slot."""

    def __init__(
        self,
        config: Callable[[], RelayConfig],
        clock: Clock,
        dispatcher: Dispatcher,
        scheduled: Callable[[], Iterator[list[QueueEntry]]],
        router: Router,
        trace: Trace,
        waiting: Callable[[], Iterable[Place]] = tuple,
        order_of: Callable[[str], Order | None] = lambda _: None,
        look_up_s: float = _LOOK_UP_S,
    ) -> None:
        """`config()` is in force; `scheduled()`: what waits for its time; `trace(name, "")`: a message's records;
        `waiting()`: what goes to siblings or waits for a warm-up; `order_of(id)`: the order, if it stands;
        `look_up_s`: how long a question about a domain waits for DNS."""
        self._config = config
        self._clock = clock
        self._dispatcher = dispatcher
        self._scheduled = scheduled
        self._router = router
        self._trace = trace
        self._waiting = waiting
        self._order_of = order_of
        self._look_up_s = look_up_s
        self._counts: tuple[float, dict[str, dict[str, list[float]]]] = (-_FRESH_S, {})
        self._counting = asyncio.Lock()

    # -- a message

    async def message(self, name: str) -> list[dict[str, Any]]:
        """Each message of this spool id, Message-ID or correlation id; empty: neither queue nor records know it.

        Raises OSError if the records cannot be read.
        """
        records = await self._trace(name, "")
        ids = {record["id"]: record for record in records if record.get("id")}  # the latest record of each
        if len(name) == 24 and set(name) <= set("0123456789abcdef"):
            ids.setdefault(name, {})
        wanted = {int(one, 16) for one in ids}
        found: dict[int, list[dict[str, Any]]] = {one: [] for one in wanted}
        async for place, entry in self.everything():
            if entry.id in wanted and len(found[entry.id]) < _MOST:
                found[entry.id].append(self.waits(place, entry))
        return [
            {
                "id": one,
                "receivedAt": rfc3339(received_at(int(one, 16))),
                "queued": found[int(one, 16)],
                "last": {key: record[key] for key in _LAST if key in record} or None,
            }
            for one, record in ids.items()
            if found[int(one, 16)] or record
        ]

    def waits(self, place: Place, entry: QueueEntry) -> dict[str, Any]:
        """Where an entry is, and what holds it there."""
        said: dict[str, Any] = {
            "domain": entry.domain,
            "recipients": len(entry.recipients),
            "campaign": entry.campaign,
            "attempts": entry.attempts,
            "state": place.state,
            "site": place.route.site or None,
            "dueAt": rfc3339(max(entry.due, place.not_before)),
        }
        if place.hold is not None:
            said["heldBy"] = self._hold(place)
        return said

    def _hold(self, place: Place) -> dict[str, Any]:
        hold, site = place.hold or Hold(Limit.NONE), place.site
        said: dict[str, Any] = {
            "limit": hold.limit,
            "detail": _STATES.get(hold.detail, hold.detail) if hold.limit is Limit.GATE else hold.detail,
            "since": self._unix(place.since),
            "until": self._unix(hold.until),
        }
        order = self._order_of(place.order) if place.order else None
        if order is not None:
            until = rfc3339(order.expires) if order.expires else None
            said |= {"since": rfc3339(order.created), "until": until}
        policy = site.policy if site is not None else place.route.policy
        field = _FIELD_OF.get(hold.limit)
        if field is not None:
            said["value"] = next((one for one in self._limits(policy, site) if one["field"] == field), None)
        if hold.limit is Limit.BACKOFF and site is not None and site.pacing is not None:
            said["rule"] = site.pacing.backoff.rule
            said["reply"] = site.pacing.backoff.reason
        return said

    # -- a domain, a site

    async def domain(self, name: str) -> dict[str, Any] | None:
        """Where mail for this recipient domain would go, what of it waits, and what holds it; None: it is no domain.

        DNS is asked where nobody has asked it yet, for a moment: a limit can be looked at before the first mail.
        """
        domain = normalise_domain(name.rstrip("."))
        name = domain or name.lower()
        route = self._router.known(name)
        if route is None and "." in domain:
            route = await self._look_up(domain)
        states: Counter[str] = Counter()
        told: list[dict[str, Any]] = []
        async for place, entry in self.everything():
            if entry.domain == name:
                states[place.state] += 1
                if len(told) < _MOST:
                    told.append({"id": message_id_text(entry.id), **self.waits(place, entry)})
        if route is None and not states and not self._router.is_looked_up(name):
            return None
        said: dict[str, Any] = {"domain": name, "queued": dict(states), "entries": told}
        if isinstance(route, Route):
            said["route"] = {
                "site": route.site,
                "policy": route.policy or None,
                "hosts": [{"host": hop.host, "addresses": list(hop.addresses), **_tls(hop)} for hop in route.hops],
            }
            said["site"] = self.site(route.site, route.policy)
        elif route is not None:
            said["unroutable"] = {"reply": str(route.reply), "category": route.category}
        sts = self._router.sts_policy(name)
        if sts is not None:
            said["mtaSTS"] = {"id": sts.id, "mode": sts.mode, "mx": list(sts.mx), "until": rfc3339(sts.expires_at)}
        said["lookingUp"] = self._router.is_looked_up(name)
        return said

    async def _look_up(self, name: str) -> Route | Unroutable | None:
        """What DNS says of a domain, within a moment; None: nothing so far."""
        found: asyncio.Future[Route | Unroutable] = asyncio.get_running_loop().create_future()

        def tell(destination: Route | Unroutable) -> None:
            if not found.done():
                found.set_result(destination)

        if not self._router.ask(name, tell):
            return None
        try:
            async with asyncio.timeout(self._look_up_s):
                return await found
        except TimeoutError:
            return None

    def site(self, name: str, policy: str | None = None) -> dict[str, Any] | None:
        """One site: its limits with where each comes from, what is used of them, and what holds which hosts.

        `policy`: of a route that leads there, be it the first; else None for a site that nobody knows.
        """
        site = self._dispatcher.known.look(name)
        state = self._dispatcher.explain_site(name)
        if site is not None:
            policy = site.policy
        elif policy is None and self._policy(name) is not None:
            policy = name
        if site is None and state is None and policy is None:
            return None
        said: dict[str, Any] = {"site": name, "policy": policy or None, "limits": self._limits(policy or "", site)}
        if state is not None:
            said |= {"lastFailure": state.last_failure, "attempts": state.attempts, "delivered": state.delivered}
        if site is None:
            return said
        now = self._clock.monotonic()
        said["backedOff"] = site.backed_off or None
        said["messagesOfTheDay"] = site.pacing.of_day(now) if site.pacing is not None else None
        said["connections"] = site.connections
        said["hosts"] = [
            {
                "hosts": [hop.host for hop in known.route.hops],
                "waiting": known.waiting,
                "campaigns": {one: known.entries.count(one) for one in known.entries.in_turn()[:_MOST]},
                "connections": known.sessions,
                "heldBy": self._hold(self._dispatcher.whereabouts.of(known)) if known.waiting else None,
                "failures": known.failures,
                "passedOver": {address: self._unix(until) for address, until in known.bad.items() if until > now},
            }
            for known in list(site.destinations.values())[:_MOST]
        ]
        return said

    def _policy(self, name: str) -> SitePolicy | None:
        return next((one for one in self._config().delivery.policies if one.name == name), None)

    def _limits(self, name: str, site: ReadyQueue | None) -> list[dict[str, Any]]:
        """Every limit of a site of this policy: its value, what is in force now, where it comes from, what lost."""
        delivery, policy = self._config().delivery, self._policy(name)
        rows = [_row(field, value, source, policy) for field, value, source in _values(delivery, policy)]
        for row in rows:
            if row["field"] == "connectionsPerIP" and site is not None:
                row["inForce"] = site.connection_limit
            elif row["field"] == "messageRate" and site is not None:
                row["inForce"] = f"{site.message_rate:g}/s" if site.message_rate is not None else None
        return rows

    # -- all queues

    async def queues(self, by: Literal["domain", "campaign"], first: int, most: int) -> dict[str, Any]:
        """Entries by recipient domain or campaign, the longest queue first, a page of them."""
        counts = (await self._count())[by]
        names = sorted(counts, key=lambda name: (-counts[name][0], name))
        return {
            "by": by,
            "total": len(names),
            "next": first + most if first + most < len(names) else None,
            "queues": [
                {"name": name, "entries": int(count), "oldestSince": rfc3339(oldest), "nextAt": rfc3339(due)}
                for name in names[first : first + most]
                for count, oldest, due in (counts[name],)
            ],
        }

    async def _count(self) -> dict[str, dict[str, list[float]]]:
        async with self._counting:
            at, counts = self._counts
            if self._clock.monotonic() < at + _FRESH_S:
                return counts
            counts = {"domain": {}, "campaign": {}}
            async for place, entry in self.everything():
                due = max(entry.due, place.not_before)
                for of, name in (("domain", entry.domain), ("campaign", entry.campaign)):
                    row = counts[of].get(name)
                    if row is None:
                        counts[of][name] = [1, received_at(entry.id), due]
                    else:
                        row[0] += 1
                        row[1] = min(row[1], received_at(entry.id))
                        row[2] = min(row[2], due)
            self._counts = (self._clock.monotonic(), counts)
            return counts

    async def everything(self) -> AsyncGenerator[tuple[Place, QueueEntry]]:
        """Every entry that is not settled; one that moves meanwhile may be met twice, or not."""
        looked = 0
        for place in self._places():
            for entry in place.entries:
                yield place, entry
                looked += 1
                if looked % _PORTION == 0:
                    await asyncio.sleep(0)

    def _places(self) -> Iterator[Place]:
        yield from self._dispatcher.whereabouts.places()
        yield from self._waiting()
        for portion in self._scheduled():
            yield Place("Scheduled", Route("", "", ()), None, tuple(portion))

    def _unix(self, monotonic: float | None) -> str | None:
        if monotonic is None or monotonic == float("inf"):
            return None
        return rfc3339(monotonic - self._clock.monotonic() + self._clock.now())


def _source(delivery: Delivery, field: str) -> str:
    """Whose value a limit of the lane is; what a lane gives and what it leaves out look alike where they are equal."""
    is_default = getattr(delivery, field) == Delivery.model_fields[field].default
    return "limits (the default)" if is_default else "limits"


def _values(delivery: Delivery, policy: SitePolicy | None) -> list[tuple[str, Any, str]]:
    """(field as in the resources, value, where it comes from if nobody says otherwise)."""
    total = ("totalConnectionsPerIP", delivery.total_connections, _source(delivery, "total_connections"))
    if policy is None:
        return [("connectionsPerIP", delivery.connections, _source(delivery, "connections")), total]
    given = set() if policy.origins else policy.model_fields_set  # without Kubernetes the file has it, or nobody

    def whose(name: str) -> str:
        return "relay.yaml" if name in given else "default"

    values = [(field, getattr(policy, name), whose(name)) for field, name in _NAMES.items()]
    backoff = policy.backoff.model_dump(mode="json", by_alias=True, exclude_none=True)
    return [*(one for one in values if one[1] is not None), total, ("backoff", backoff, whose("backoff"))]


def _row(field: str, value: Any, source: str, policy: SitePolicy | None) -> dict[str, Any]:
    origins = policy.origins if policy is not None else ()
    said = next((one.given for one in origins if one.field == field), ())
    plain = isinstance(value, int | float | dict)
    return {
        "field": field,
        "value": value if plain else str(value),
        "from": said[0].source if said else source,
        "over": [{"from": one.source, "value": one.value} for one in said[1:]],
    }


def _tls(hop: Hop) -> dict[str, Any]:
    """What is published about TLS with this host, and binds; nothing where the lane's outboundTLS alone counts."""
    demand = hop.demand
    if demand is None or demand.policy is TlsPolicy.NONE:
        return {}
    said: dict[str, Any] = {"by": demand.policy, "enforced": demand.enforced}
    if demand.policy is TlsPolicy.DANE:
        said |= {"base": demand.server_name, "usableRecords": len(demand.tlsa)}
    if demand.problem:
        said["problem"] = demand.problem
    return {"tls": said}
