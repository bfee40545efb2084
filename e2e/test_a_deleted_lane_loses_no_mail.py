"""A lane that is deleted with mail queued for a dead ISP keeps it: held back, released on purpose, adopted again.

What was kept is judged when the ISP wakes: every message that was submitted arrives there, once, unaltered and from
the lane's own address. Until then, and long after the deadline, the slot goes on trying.
"""

import time
from collections.abc import AsyncIterator

import pytest

from e2e import figures
from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, Stock, network, pool, reflector_secret, serve
from e2e.internet import addresses
from e2e.internet.internet import eventually as becomes
from e2e.internet.policy import RecipientRule, Reply
from e2e.internet.records import Message
from e2e.load.ledger import Entry, compare
from e2e.outbound import COMMAND, Outbound, record_e2e, sending_lane

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

QUEUED = 3
BEHIND = 2  # messages for an ISP that lives, and takes them only after the deadline
ASLEEP = "asleep.example.net"  # an ISP's domain in a zone that takes updates, so that it can wake
ADDRESSES = ("203.0.113.120", "203.0.113.121")


@pytest.fixture
async def parting(installation: Installation) -> AsyncIterator[Outbound]:
    """The test's lanes and the internet, with one ISP asleep."""
    internet = installation.internet
    async with internet.isps:
        await internet.reset_records()
        internet.dns.publish_address(ASLEEP, addresses.DEAD)
        made = Outbound(installation)
        yield made
        made.end_loads()


def _lane(here: Installation, **spec: object) -> Manifest:
    return sending_lane("parting", here.namespace, "pool", drain={"policy": "Wait", "deadline": "5s"}, **spec)


def _apply(here: Installation) -> None:
    """A lane with its own address."""
    here.apply(network(here.namespace), reflector_secret(here.internet, here.namespace))
    here.apply(pool("pool", here.namespace, *ADDRESSES), _lane(here))
    here.wait_ready("parting")


def _delete(here: Installation, *options: str) -> None:
    here.cluster.kubectl("delete", "sendinglane", "parting", "-n", here.namespace, "--wait=false", *options)


def _release(here: Installation) -> None:
    here.cluster.kubectl(
        "annotate", "sendinglane", "parting", "-n", here.namespace, "lanewright.dev/release=keep-volumes"
    )


def _queued(here: Installation) -> int:
    return int(here.get("sendinglane", "parting")["status"]["queued"])


def _stalled_with_count(here: Installation, count: int = QUEUED) -> None:
    def stalled() -> bool:
        said = here.condition("parting", "Stalled")
        return said.get("reason") == "DrainDeadlineExceeded" and f"about {count} messages" in said["message"]

    eventually(stalled, "the lane says that its deadline has passed, and what is left", within=60)


async def _busy_isp(parting: Outbound) -> list[Entry]:
    """Mail behind that of the dead ISP, for one that lives and puts it off."""
    busy = RecipientRule(match="*", reply=Reply(code=450, text="4.2.1 try again"))
    await parting.policy(addresses.YAHOO, recipients=(busy,))
    return await parting.submit("behind", "parting", "yahoo-like.example", BEHIND)


async def _goes_on_sending(parting: Outbound, behind: list[Entry], address: str) -> None:
    """After the deadline: what a living ISP takes leaves, and the dead one is tried again, as packets show."""
    since = time.time()
    await parting.policy(addresses.YAHOO)
    assert {one.source_ip for one in await parting.arrivals(behind)} == {address}

    async def tried() -> bool:
        return any((one.isp, one.source_ip) == ("dead", address) for one in await parting.spans(since))

    await becomes(tried, 60, "the dead ISP is not tried again")
    _stalled_with_count(parting.here)


async def _wake(parting: Outbound) -> None:
    """The ISP that was asleep takes its mail."""
    domains = (*addresses.GMAIL.domains, ASLEEP)
    await parting.policy(addresses.GMAIL, domains=domains)
    parting.internet.dns.publish_address(ASLEEP, addresses.GMAIL.hosts[0][1])


async def _judge(parting: Outbound, way: str, entries: list[Entry], address: str) -> None:
    """What was submitted beside what has arrived, message by message; then the same with one taken away."""
    records = await parting.internet.records()
    own = {one.stream: frozenset({address}) for one in entries}
    found = compare(entries, records, own)
    taken = entries[0].message_id
    short = [one for one in records if not (isinstance(one, Message) and one.message_id == taken)]
    seeded = compare(entries, short, own)
    record_e2e(f"deleted_lane_lost_{way}", len(found.lost), "messages")
    record_e2e(f"deleted_lane_messages_{way}", found.accepted, "messages", None)
    figures.record("e2e", f"deleted_lane_lost_{way}_seeded", len(seeded.lost), "messages", 1.0, "higher", COMMAND)
    assert found.accepted == len(entries)
    assert (found.lost, found.duplicated, found.wrong_ip, found.altered, found.misdirected) == ([], {}, [], [], [])
    assert seeded.lost == [taken], "what is lost would be seen"


@pytest.mark.long("tests/lane_operator/test_drain.py", "e2e/test_scale_in_drains_first.py")
async def test_a_deleted_lane_waits_is_released_and_adopted_with_volume_and_address(parting: Outbound) -> None:
    here = parting.here
    _apply(here)
    claim, address = here.get("pvc", "queue-parting-0"), parting.address("parting")
    asleep = await parting.submit("asleep", "parting", ASLEEP, QUEUED)
    behind = await _busy_isp(parting)

    _delete(here)
    _stalled_with_count(here, QUEUED + BEHIND)
    assert "oldest since" in here.condition("parting", "Stalled")["message"]
    assert here.is_there("pod", "parting-0-0")
    await _goes_on_sending(parting, behind, address)

    _release(here)
    eventually(lambda: not here.is_there("sendinglane", "parting"), "the lane is gone")
    eventually(lambda: not here.is_there("pod", "parting-0-0"), "its pod is gone", within=90)
    kept = here.get("pvc", "queue-parting-0")
    assert kept["metadata"]["uid"] == claim["metadata"]["uid"]
    assert "lanewright.dev/queue" in kept["metadata"]["finalizers"]

    here.apply(sending_lane("stranger", here.namespace, "pool"))
    assert eventually(lambda: parting.address("stranger"), "another lane has an address") != address

    here.apply(_lane(here))
    here.wait_ready("parting")
    assert here.get("pvc", "queue-parting-0")["metadata"]["uid"] == claim["metadata"]["uid"]
    assert parting.address("parting") == address
    eventually(lambda: _queued(here) == QUEUED, "the mail is there", within=60)
    await _wake(parting)
    eventually(lambda: _queued(here) == 0, "nothing waits any more", within=120)
    await _judge(parting, "adopted", [*asleep, *behind], address)


def test_an_empty_lane_goes_by_itself_and_its_address_rests(installation: Installation) -> None:
    here = installation
    _apply(here)
    address = here.get("sendinglane", "parting")["status"]["slots"][0]["ip"]

    _delete(here)

    eventually(lambda: not here.is_there("sendinglane", "parting"), "the lane is gone", within=120)
    left = here.get("pvc", "queue-parting-0")  # reclaimPolicy Retain
    assert "lanewright.dev/queue" not in left["metadata"].get("finalizers", ())

    def rests() -> bool:
        records = here.get("ippool", "pool")["status"]["addresses"]
        return any(one["ip"] == address and one.get("releasedAt") for one in records)

    eventually(rests, "the address rests")


async def test_foreground_deletion_loses_no_mail_and_goes_when_the_isp_wakes(parting: Outbound) -> None:
    here = parting.here
    _apply(here)
    claim, address = here.get("pvc", "queue-parting-0"), parting.address("parting")
    asleep = await parting.submit("asleep", "parting", ASLEEP, QUEUED)

    _delete(here, "--cascade=foreground")

    _stalled_with_count(here)
    eventually(lambda: here.is_there("pod", "parting-0-0"), "the slot was made again to finish its queue")
    assert here.get("pvc", "queue-parting-0")["metadata"]["uid"] == claim["metadata"]["uid"]
    await _wake(parting)
    eventually(
        lambda: not here.is_there("sendinglane", "parting"), "the lane has sent its mail and is gone", within=180
    )
    await _judge(parting, "foreground", asleep, address)


@pytest.mark.long("tests/lane_operator/test_volumes.py")
async def test_a_deleted_namespace_gives_its_volume_and_address_to_the_lane_that_is_made_again(
    parting: Outbound, images: dict[str, str], stock: Stock
) -> None:
    here = parting.here
    # the pool stands elsewhere, as a platform team's does, and outlives the namespace
    pools = stock.take()
    pooled = pool("pool", pools, *ADDRESSES, allowedNamespaces={"names": [here.namespace]})
    mine = _lane(here, poolRef={"name": "pool", "namespace": pools})
    here.apply(network(pools), reflector_secret(here.internet, pools), pooled, mine)
    here.wait_ready("parting")
    asleep = await parting.submit("asleep", "parting", ASLEEP, QUEUED)
    eventually(lambda: _queued(here) == QUEUED, "the mail is seen", within=60)
    volume, address = here.get("pvc", "queue-parting-0")["spec"]["volumeName"], parting.address("parting")

    here.cluster.kubectl("delete", "namespace", here.namespace, "--wait=false")
    _stalled_with_count(here)
    _release(here)
    eventually(
        lambda: not here.cluster.get("namespace", here.namespace, "--ignore-not-found"),
        "the namespace is gone",
        within=120,
    )

    serve(here.cluster, images, here.namespace)
    here.apply(mine)
    here.wait_ready("parting")
    assert here.get("pvc", "queue-parting-0")["spec"]["volumeName"] == volume
    assert parting.address("parting") == address
    eventually(lambda: _queued(here) == QUEUED, "the mail is there", within=60)
    await _wake(parting)
    eventually(lambda: _queued(here) == 0, "nothing waits any more", within=120)
    await _judge(parting, "namespace", asleep, address)
    here.cluster.kubectl("delete", "namespace", pools, "--wait=false")
