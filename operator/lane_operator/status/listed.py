"""Listed and ListsAnswer: which addresses blocklists have, what follows, and which lists cannot be asked; pure."""

from lane_api.conditions import ConditionType, Reason
from lane_api.dnsbl import OnListing, shown
from lane_api.ippool import IPPoolStatus
from lane_operator.deliverability.dnsbl import Standing
from lane_operator.deliverability.listings import Follows, follows, listing_text
from lane_operator.inputs import Claim, Pool
from lane_operator.status.book import Book
from lane_operator.status.observed import SEPARATOR
from lane_operator.status.view import View

__all__ = ["put_listed", "put_listed_of_pool"]


def put_listed_of_pool(book: Book, pool: Pool, allocated: IPPoolStatus, standing: Standing | None) -> None:
    """What the pool says of its addresses; `standing` is None while nothing was asked yet, as after a restart."""
    dnsbl = pool.spec.dnsbl
    if dnsbl is None or not allocated.addresses:
        return
    listed = [
        f"{row.ip}{f' of slot {row.slot}' if row.lane and row.released_at is None else ''} {listing_text(one)}"
        for row in allocated.addresses
        for one in row.listings
    ]
    if listed:
        book.put(ConditionType.LISTED, True, Reason.DNSBL, SEPARATOR.join(listed))
    before = book.before(ConditionType.LISTS_ANSWER)
    if standing is not None and standing.broken:
        told = [f"{name} {why}" for name, why in standing.broken.items()]
        message = f"{SEPARATOR.join(told)}. It lists nobody, and what it said before counts for a day"
        book.put(ConditionType.LISTS_ANSWER, False, Reason.LIST_BROKEN, message)
    elif standing is not None:
        message = f"each has its test address and not every one: {', '.join(map(shown, dnsbl.lists))}"
        if standing.without_ipv6:
            message = f"{message}; of IPv6 addresses nothing is known to {', '.join(standing.without_ipv6)}"
        book.put(ConditionType.LISTS_ANSWER, True, Reason.LISTS_WORK, message)
    elif before is not None:
        book.put(ConditionType.LISTS_ANSWER, before.status == "True", Reason(before.reason), before.message)


def put_listed(book: Book, view: View) -> None:
    """What the lane says of those that its slots have."""
    pool, lane = view.references.pool, view.lane
    if pool is None:
        return
    claims = {claim.slot_name: claim for claim in view.assignment.claims}
    then = follows(pool, lane.spec)
    told = [
        f"{row.slot} ({row.ip}) {listing_text(one)}: {_outcome(claims.get(row.slot), then, pool)}"
        for row in pool.status.addresses
        if row.lane == "/".join(lane.key) and row.released_at is None
        for one in row.listings
    ]
    if told:
        book.put(ConditionType.LISTED, True, Reason.DNSBL, SEPARATOR.join(told))


def _outcome(claim: Claim | None, then: Follows, pool: Pool) -> str:
    quarantine = claim.quarantine if claim is not None else None
    if quarantine is not None and quarantine.is_by_dnsbl:
        return f"{quarantine.stood_in_by} sends instead" if quarantine.stood_in_by else "nothing leaves from it"
    if then is Follows.REPLACED:
        return "it sends on, since the lane is NeverPause and no standby slot can send instead"
    if then is Follows.STOPPED:
        return "nothing is to leave from it"
    asks = pool.spec.dnsbl is not None and pool.spec.dnsbl.on_listing is OnListing.QUARANTINE
    return "it sends on, since automation is Observe" if asks else "it sends on, as onListing says"
