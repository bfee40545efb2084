"""Stories of what is shared with other classes, and of blocklists: told, and nothing is waited for."""

from collections.abc import Iterator
from dataclasses import replace

from lane_api.dnsbl import Listing
from lane_operator.deliverability.dnsbl import Standing, remembered
from lane_operator.inputs import LaneDomains
from tests.gitops.stories import ADDRESSES, LaneStory, PoolStory, Story
from tests.gitops.truth import Truth
from tests.lane_operator import made

AS_ASKED = Truth.AS_ASKED


def those_that_share() -> Iterator[Story]:
    """A From domain, and a /24."""
    story = LaneStory("a Bulk lane has its domain", made.pool(addresses=ADDRESSES))
    story.references = {"others": (LaneDomains(("mail", "news"), "Bulk", ("notify.example.com",)),)}
    story.step("it serves", AS_ASKED, *story.slots())
    story.step("for days", AS_ASKED, *story.slots(), after=600_000)
    yield story

    closed = LaneStory("the template network is not for its pool", made.pool(addresses=ADDRESSES))
    bare = made.TEMPLATE | {"metadata": {"name": "public", "namespace": "mail"}}
    closed.references = {"multus_network": bare}
    closed.step("it may be annotated in the same sync", Truth.COMING)
    closed.step("it is not", Truth.STUCK, after=30)
    closed.references = {}
    closed.step("annotated, slots serve", AS_ASKED, *closed.slots(), after=5)
    yield closed

    pool = PoolStory("a pool of another class is in its network", classes=["Transactional"])
    bulk = made.pool(classes=["Bulk"], addresses=[{"ip": "203.0.113.200", "hostname": "out.example.com"}])
    pool.near = (replace(bulk, name="bulk"),)
    pool.step("it gives addresses", AS_ASKED)
    pool.step("for days", AS_ASKED, after=600_000)
    yield pool


def those_that_are_listed() -> Iterator[Story]:
    """By a blocklist, which may not work."""
    spec = {"lists": ["zen.spamhaus.org"]}
    listing = Listing(list="zen.spamhaus.org", codes=("127.0.0.2",), since="2026-11-23T07:00:00Z")
    listed = remembered({"203.0.113.10": (listing,)}, made.NOW)

    story = LaneStory("a blocklist has an address", made.pool(addresses=ADDRESSES, dnsbl=spec))
    story.step("it serves", AS_ASKED, *story.slots())
    story.listed = listed
    story.step("listed", AS_ASKED, *story.slots(), after=1200)
    story.listed = Standing()
    story.step("no more", AS_ASKED, *story.slots(), after=1200)
    yield story

    pool = PoolStory("a blocklist has an address of the pool", dnsbl=spec)
    pool.step("it gives addresses", AS_ASKED)
    pool.standing = listed
    pool.step("listed", AS_ASKED, after=1200)
    pool.standing = Standing(broken={"zen.spamhaus.org": "answers 127.255.255.254"})
    pool.step("the list cannot be asked", AS_ASKED, after=1200)
    yield pool
