"""Where mail goes instead of its recipients' MX hosts: fixed routes, or the way out of a slot that is to go; pure."""

from collections.abc import Iterable, Iterator, Sequence

from lane_api import names
from lane_api.lane_status import SlotRole
from lane_api.outbound import SmartHost
from lane_api.queue import DrainPolicy
from lane_api.relayconfig import RelayRoute
from lane_operator.inputs import Claim, Lane

__all__ = ["relay_routes", "route_secrets", "way_out"]

_SMTP_PORT, _SMTPS_PORT = 25, 465


def relay_routes(lane: Lane) -> tuple[RelayRoute, ...]:
    """The lane's routes; a domain that stands in several goes the first one's way."""
    taken: set[str] = set()
    routes = []
    for route in lane.spec.routes:
        domains = tuple(domain for domain in dict.fromkeys(route.domains) if domain not in taken)
        taken.update(domains)
        if domains:
            routes.append(_route(route, domains))
    return tuple(routes)


def way_out(lane: Lane, claim: Claim, others: Sequence[Claim]) -> RelayRoute | None:
    """The host that takes what the slot has; None where a sibling does, or the slot stays, or none is named."""
    drain = lane.spec.drain
    if drain.to is None or drain.policy is not DrainPolicy.TRANSFER:
        return None
    leaves = lane.deleting_since is not None or claim.role is SlotRole.DRAINING
    sibling_stays = lane.deleting_since is None and any(other.takes_mail for other in others)
    if not leaves or sibling_stays:
        return None
    return _route(drain.to, ("*",), hands_over=True)


def route_secrets(lane: Lane) -> Iterator[tuple[str, str]]:
    """Each Secret with a password for a host, and the field that names it; that of the way out before it is taken."""
    hosts: Iterable[tuple[SmartHost, str]] = [(one, f"routes[{one.host}].authSecret") for one in lane.spec.routes]
    to = lane.spec.drain.to
    for host, field in (*hosts, *([(to, "drain.to.authSecret")] if to is not None else [])):
        if host.auth_secret:
            yield host.auth_secret, field


def _route(host: SmartHost, domains: tuple[str, ...], *, hands_over: bool = False) -> RelayRoute:
    auth = f"{names.ROUTES_DIR}/{host.auth_secret}" if host.auth_secret else None
    tls = host.tls or ("Required" if auth else None)
    port = host.port or (_SMTPS_PORT if tls == "Implicit" else _SMTP_PORT)
    return RelayRoute(domains=domains, host=host.host, port=port, tls=tls, auth_dir=auth, hands_over=hands_over)
