"""What shares a reputation without being told: a From domain of two classes, a network of two classes; pure.

Both only tell: nothing stops, and no GitOps tool waits for it.
"""

from collections import defaultdict
from collections.abc import Iterable

from lane_api.classes import TrafficClass
from lane_api.conditions import ConditionType, Reason
from lane_api.ippool import IPPoolStatus
from lane_operator.indexes import network_of
from lane_operator.inputs import Pool
from lane_operator.status.book import Book
from lane_operator.status.view import View

__all__ = ["put_mixed_networks", "put_shared_domain"]

SHOWN = 3
"""What a message names of many; it counts the rest."""


def put_shared_domain(book: Book, view: View) -> None:
    """SharedDomain: a lane of another class sends from one of the lane's From domains."""
    lane, found = view.lane, []
    for domain in dict.fromkeys(one.name for one in lane.spec.domains):
        others = [one for one in view.references.others if domain in one.domains]
        found += [f"{domain} by lane {'/'.join(one.key)} ({one.traffic_class})" for one in others]
    if lane.spec.traffic_class is TrafficClass.COLD or not found:  # a Cold lane stops, and says so itself
        return
    message = (
        f"ISPs keep one reputation for a domain, and it is used in other classes too: {_some(found)}. What is said of "
        f"that mail is said of this lane's: give each class a domain of its own, such as one below {_first(view)}"
    )
    book.put(ConditionType.SHARED_DOMAIN, True, Reason.DOMAIN_SHARED, message)


def put_mixed_networks(book: Book, pool: Pool, allocated: IPPoolStatus, neighbours: Iterable[Pool]) -> None:
    """MixedNetworks: addresses of other classes lie in the same /24 or /64, which lists and ISPs judge together."""
    mine: defaultdict[str, set[str]] = defaultdict(set)
    for network, classes in _networks(pool, allocated):
        mine[network] |= classes
    found = [
        f"{network} has {' and '.join(sorted(classes))} in this pool"
        for network, classes in sorted(mine.items())
        if len(classes) > 1
    ]
    theirs: dict[tuple[str, str], set[str]] = {}
    for other in neighbours:
        for network, classes in _networks(other, other.status):
            if network in mine:
                theirs.setdefault((network, "/".join(other.key)), set()).update(classes)
    found += [
        f"{network} has {' and '.join(sorted(classes - mine[network]))} in IPPool {name}"
        for (network, name), classes in sorted(theirs.items())
        if mine[network] and classes - mine[network]
    ]
    if found:
        message = (
            f"addresses of different classes are neighbours, and blocklists and ISPs judge a network as a whole: "
            f"{_some(found)}. Give each class a network of its own (IPv4: /24, IPv6: /64)"
        )
        book.put(ConditionType.MIXED_NETWORKS, True, Reason.CLASSES_MIXED, message)


def _networks(pool: Pool, status: IPPoolStatus) -> Iterable[tuple[str, set[str]]]:
    """Each address's network, with the classes that send from there: of who holds or held it, else the pool's."""
    served = {row.ip: row.lane_class for row in status.addresses if row.lane_class and not row.held_elsewhere}
    elsewhere = {row.ip for row in status.addresses if row.held_elsewhere}
    usual = {str(one) for one in pool.spec.classes} if len(pool.spec.classes) == 1 else set[str]()
    for address in pool.spec.addresses:
        for ip in address.ips:
            if ip not in elsewhere:
                yield network_of(ip), {served[ip]} if ip in served else usual


def _some(found: list[str]) -> str:
    return "; ".join(found[:SHOWN]) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def _first(view: View) -> str:
    return view.lane.spec.domains[0].name
