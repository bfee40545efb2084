"""Keys that the operator made give way to new ones, in a Secret, over passes that remember nothing."""

import base64
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from lane_api.lane_status import KeyPhase, LaneStatus, UpgradePhase, UpgradeStatus
from lane_api.names import MANAGED_BY
from lane_api.selector import SelectorFinding
from lane_api.sendinglane import SendingLaneSpec
from lane_operator import credentials
from lane_operator.cache import Cache
from lane_operator.deliverability.dkim import Rotation, write
from lane_operator.dkim_keys import dkim_secret_name
from lane_operator.errors import ConflictError
from lane_operator.inputs import DkimKey, KeyTurn, Lane, Observation, SlotObservation
from lane_operator.kube import SECRET, Kube
from lane_operator.packed import entry_of
from lane_operator.provision import provision
from lane_operator.seen import NextKeySeen
from tests.lane_operator.small_api import SmallApi, small_api

MADE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
DOMAIN = "example.com"
PATH = "/api/v1/namespaces/mail/secrets/otp-dkim-example.com"
ROTATES = {"rotateEvery": "2160h", "propagation": "48h", "retire": "168h"}


Rig = tuple[SmallApi, Kube, tuple[bytes, bytes]]


@pytest.fixture
async def rig(pems: tuple[bytes, bytes]) -> AsyncIterator[Rig]:
    async with small_api() as (api, kube):
        yield api, kube, pems


def lane(dkim: dict[str, Any] | None = None, name: str = "otp") -> Lane:
    given = {
        "trafficClass": "Bulk",
        "poolRef": {"name": "pool"},
        "submission": {"senders": [f"@{DOMAIN}"]},
        "domains": [{"name": DOMAIN, "dkim": ROTATES if dkim is None else dkim}],
    }
    return Lane("mail", name, "lane-uid", 1, SendingLaneSpec.model_validate(given))


def published(dkim: dict[str, Any] | None = None, provider: str = "ExternalDNS") -> Lane:
    """A lane of which another program publishes the records."""
    domain = {"name": DOMAIN, "dkim": dkim or {}, "dns": {"provider": provider}}
    return replace(lane(), spec=lane().spec.model_validate({**_spec(lane()), "domains": [domain]}))


def _spec(of: Lane) -> dict[str, Any]:
    return of.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)


async def key_of(kube: Kube, now: dt.datetime, seen: Observation | None = None, of: Lane | None = None) -> DkimKey:
    """A pass of an operator that has just started."""
    found = await provision(kube, Cache(), of or lane(), None, (), (), frozenset({"mail"}), now, (), seen)
    return found.dkim[DOMAIN]


@pytest.fixture(scope="module")
def pems() -> tuple[bytes, bytes]:
    """Two RSA keys, each a tenth of a second of CPU."""
    return credentials.make_dkim_key(), credentials.make_dkim_key()


def secret(api: SmallApi, of: Lane, content: dict[str, bytes]) -> None:
    """The Secret with the lane's keys, as old as the lane."""
    name = dkim_secret_name(of.name, DOMAIN)
    metadata = {
        "name": name,
        "namespace": "mail",
        "labels": dict(MANAGED_BY),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    data = {entry: base64.b64encode(value).decode() for entry, value in content.items()}
    api.put(f"/api/v1/namespaces/mail/secrets/{name}", {"metadata": metadata, "data": data})


def pair(pem: bytes, selector: str, prefix: str = "") -> dict[str, bytes]:
    second = credentials.make_ed25519_key()
    entries = {"private.key": pem, "selector": selector.encode(), "ed25519.key": second}
    return {f"{prefix}{entry}": value for entry, value in entries.items()}


async def first_key(rig: Rig, of: Lane | None = None) -> DkimKey:
    """The key that a lane begins with."""
    api, kube, pems = rig
    of = of or lane()
    secret(api, of, pair(pems[0], f"lw20260101-{of.name}"))
    return await key_of(kube, MADE, of=of)


def sees(signing: str, following: str = "", *, published: bool = True) -> Observation:
    """One slot's words."""
    finding = SelectorFinding.PUBLISHED if published else SelectorFinding.ABSENT
    return Observation(
        (
            SlotObservation(
                "otp-0",
                reachable=True,
                domains_published={DOMAIN: True},
                domains_selectors={DOMAIN: signing},
                domains_next={DOMAIN: NextKeySeen(following, published, finding)} if following else {},
            ),
        )
    )


def turn_of(key: DkimKey) -> KeyTurn:
    assert key.turn is not None
    return key.turn


def next_of(key: DkimKey) -> DkimKey:
    following = turn_of(key).following
    assert following is not None
    return following


async def propagating(rig: Rig) -> tuple[DkimKey, DkimKey]:
    """(the key that signs, the next one), which DNS has answered since the 90th day."""
    api, kube, pems = rig
    stands = write(Rotation(other="Next", answered=MADE + 90 * DAY))
    keys = pair(pems[0], "lw20260101-otp") | pair(pems[1], "lw20260401000000-otp", "2.")
    secret(api, lane(), {**keys, "rotation": stands})
    key = await key_of(kube, MADE + 90 * DAY)
    assert turn_of(key).phase is KeyPhase.PROPAGATING
    return key, next_of(key)


async def test_a_key_gives_way_to_the_next_one_by_way_of_dns(rig: Rig) -> None:
    api, kube, _ = rig
    first = await key_of(kube, MADE)
    assert turn_of(first) == KeyTurn(KeyPhase.STABLE)  # nobody knows how old the Secret is
    api.objects[PATH]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    young = await key_of(kube, MADE + 89 * DAY, sees(first.selector))
    assert turn_of(young) == KeyTurn(KeyPhase.STABLE, MADE + 90 * DAY)

    key = await key_of(kube, MADE + 90 * DAY, sees(first.selector))
    following = next_of(key)
    assert (key.selector, key.public_record) == (first.selector, first.public_record)
    assert following.public_record.startswith("v=DKIM1; k=rsa; p=")
    assert following.public_record != first.public_record
    assert following.selector.startswith("lw20260401-")
    assert following.second is not None
    assert following.second.selector == f"{following.selector}-ed25519"

    key = await key_of(kube, MADE + 95 * DAY, sees(first.selector, following.selector, published=False))
    assert (turn_of(key).phase, key.selector) == (KeyPhase.PUBLISHING, first.selector)
    key = await key_of(kube, MADE + 96 * DAY, sees(first.selector, following.selector))
    assert (turn_of(key).phase, turn_of(key).ends) == (KeyPhase.PROPAGATING, MADE + 98 * DAY)
    assert key.selector == first.selector

    key = await key_of(kube, MADE + 98 * DAY, sees(first.selector, following.selector))
    before = turn_of(key).before
    assert (turn_of(key).phase, turn_of(key).ends) == (KeyPhase.RETIRING, MADE + 105 * DAY)
    assert (key.selector, key.public_record, key.secret_key) == (
        following.selector,
        following.public_record,
        "2.private.key",
    )
    assert before is not None
    assert (before.selector, before.public_record) == (first.selector, first.public_record)

    key = await key_of(kube, MADE + 106 * DAY, sees(first.selector))  # a slot that has not got the news yet
    assert turn_of(key).before is not None
    key = await key_of(kube, MADE + 106 * DAY, sees(following.selector))
    assert turn_of(key) == KeyTurn(KeyPhase.STABLE, MADE + 188 * DAY, retired=first.selector)
    assert not any(entry_of(api.objects[PATH], entry) for entry in ("private.key", "ed25519.key", "selector"))

    key = await key_of(kube, MADE + 188 * DAY, sees(following.selector))
    assert (next_of(key).place, next_of(key).secret_key) == (1, "private.key")
    assert next_of(key).selector not in {first.selector, following.selector}


async def test_passes_between_the_steps_write_nothing(rig: Rig) -> None:
    api, kube, _ = rig
    key, following = await propagating(rig)
    api.writes.clear()
    for hours in (1, 20, 47):
        again = await key_of(kube, MADE + 90 * DAY + dt.timedelta(hours=hours), sees(key.selector, following.selector))
        assert again == key
    assert api.writes == []


async def test_an_operator_that_has_heard_of_no_slot_changes_nothing(rig: Rig) -> None:
    _api, kube, _ = rig
    key, _ = await propagating(rig)
    assert await key_of(kube, MADE + 999 * DAY) == key
    assert await key_of(kube, MADE + 999 * DAY, Observation((SlotObservation("otp-0"),))) == key


async def test_a_record_that_goes_again_begins_its_time_anew(rig: Rig) -> None:
    _api, kube, _ = rig
    key, following = await propagating(rig)
    gone = sees(key.selector, following.selector, published=False)
    back = sees(key.selector, following.selector)
    key = await key_of(kube, MADE + 91 * DAY, gone)
    assert turn_of(key).phase is KeyPhase.PUBLISHING
    assert turn_of(await key_of(kube, MADE + 100 * DAY, back)).ends == MADE + 102 * DAY


async def test_of_two_operators_one_does_a_step(rig: Rig) -> None:
    api, kube, _ = rig
    first = await first_key(rig)
    stale = Cache()
    stale.put(SECRET.kind, api.objects[PATH])
    following = next_of(await key_of(kube, MADE + 90 * DAY, sees(first.selector)))
    of = lane()
    with pytest.raises(ConflictError):
        await provision(kube, stale, of, None, (), (), frozenset({"mail"}), MADE + 91 * DAY, (), sees(first.selector))
    assert next_of(await key_of(kube, MADE + 91 * DAY, sees(first.selector))) == following


async def test_a_rotation_that_is_not_asked_for_any_more_forgets_the_next_key(rig: Rig) -> None:
    api, kube, _ = rig
    key, following = await propagating(rig)
    found = await key_of(kube, MADE + 99 * DAY, sees(key.selector, following.selector), lane({}))
    assert found.selector == key.selector
    assert turn_of(found) == KeyTurn(KeyPhase.STABLE, retired=following.selector)
    assert not entry_of(api.objects[PATH], "2.private.key")


async def test_a_turn_that_was_done_is_brought_to_its_end_without_rotation(rig: Rig) -> None:
    _api, kube, _ = rig
    key, following = await propagating(rig)
    await key_of(kube, MADE + 99 * DAY, sees(key.selector, following.selector))
    found = await key_of(kube, MADE + 200 * DAY, sees(following.selector), lane({}))
    assert found.selector == following.selector
    assert turn_of(found) == KeyTurn(KeyPhase.STABLE, retired=key.selector)


@pytest.mark.parametrize("dkim", [{}, {"propagation": "0s", "retire": "0s"}])
async def test_without_rotation_a_key_never_changes(rig: Rig, dkim: dict[str, Any]) -> None:
    api, kube, _ = rig
    first = await first_key(rig, lane(dkim))
    api.writes.clear()
    assert await key_of(kube, MADE + 9999 * DAY, sees(first.selector), lane(dkim)) == first
    assert first.turn is None
    assert not [one for one in api.writes if one[1] == PATH]


async def test_a_given_key_is_never_written(rig: Rig) -> None:
    api, kube, _ = rig
    await first_key(rig)
    mine = "/api/v1/namespaces/mail/secrets/mine"
    made = api.objects[PATH]
    api.put(mine, {**made, "metadata": {"name": "mine", "namespace": "mail"}})
    api.writes.clear()
    given = lane({"secretName": "mine", "selector": "s1"})
    key = await key_of(kube, MADE + 9999 * DAY, sees("s1"), given)
    assert (key.selector, key.secret_name, key.turn) == ("s1", "mine", None)
    assert not [one for one in api.writes if one[1].endswith(("/mine", "/otp-dkim-example.com"))]


async def test_lanes_that_share_a_domain_turn_their_keys_each_by_itself(rig: Rig) -> None:
    _api, kube, _ = rig
    other = lane(name="news")
    first, theirs = await first_key(rig), await first_key(rig, other)
    now = MADE + 90 * DAY
    following = next_of(await key_of(kube, now, sees(first.selector)))
    their_next = next_of(await key_of(kube, now, sees(theirs.selector), other))
    assert len({first.selector, theirs.selector, following.selector, their_next.selector}) == 4

    await key_of(kube, now, sees(first.selector, following.selector))
    turned = await key_of(kube, now + 2 * DAY, sees(first.selector, following.selector))
    still = await key_of(kube, now + 2 * DAY, sees(theirs.selector, their_next.selector, published=False), other)
    assert (turned.selector, still.selector) == (following.selector, theirs.selector)


async def test_a_next_key_that_a_hand_has_damaged_is_made_again(rig: Rig) -> None:
    api, kube, _ = rig
    key, following = await propagating(rig)
    api.objects[PATH]["data"]["2.private.key"] = base64.b64encode(b"none").decode()
    again = await key_of(kube, MADE + 100 * DAY, sees(key.selector, following.selector))
    assert turn_of(again).phase is KeyPhase.PUBLISHING
    assert next_of(again).public_record
    assert next_of(again).selector != following.selector


async def test_a_key_that_a_hand_has_damaged_is_made_again_in_its_place(rig: Rig) -> None:
    api, kube, _ = rig
    key, following = await propagating(rig)
    key = await key_of(kube, MADE + 92 * DAY, sees(key.selector, following.selector))
    assert key.place == 2
    api.objects[PATH]["data"]["2.private.key"] = base64.b64encode(b"none").decode()
    again = await key_of(kube, MADE + 93 * DAY, sees(following.selector))
    assert (again.place, again.public_record != key.public_record) == (2, True)
    assert turn_of(again).before == turn_of(key).before


async def test_another_key_has_another_selector_on_the_same_day_as_well(rig: Rig) -> None:
    api, kube, pems = rig
    before = await key_of(kube, MADE)
    stored = api.objects[PATH]["data"]
    del api.objects[PATH]  # a namespace goes, with what is in it, and the lane is applied anew
    other = await key_of(kube, MADE)
    api.objects[PATH]["data"]["private.key"] = ""  # a hand
    third = await key_of(kube, MADE)
    secret(api, lane(), {name: base64.b64decode(value) for name, value in stored.items()})
    back = await key_of(kube, MADE + DAY)
    assert (back.selector, back.public_record) == (before.selector, before.public_record)
    secret(api, lane(), pair(pems[0], "lw20260101-4802b8"))
    assert (await key_of(kube, MADE)).selector == "lw20260101-4802b8"  # of a lane that is older than this rule
    assert len({one.public_record for one in (before, other, third)}) == 3
    assert len({one.selector for one in (before, other, third)}) == 3


async def test_the_key_that_is_left_signs_where_a_hand_has_taken_away_which(rig: Rig) -> None:
    api, kube, _ = rig
    key, following = await propagating(rig)
    await key_of(kube, MADE + 92 * DAY, sees(key.selector, following.selector))
    key = await key_of(kube, MADE + 99 * DAY, sees(following.selector))
    del api.objects[PATH]["data"]["rotation"]
    again = await key_of(kube, MADE + 100 * DAY, sees(following.selector))
    assert (again.selector, again.public_record) == (following.selector, key.public_record)


@pytest.mark.parametrize(
    "changes",
    [
        {"deleting_since": "2026-06-01T00:00:00Z"},
        {"status": LaneStatus(upgrade=UpgradeStatus(phase=UpgradePhase.WATCHED, since="2026-11-28T10:00:00Z"))},
        {"status": LaneStatus(upgrade=UpgradeStatus(phase=UpgradePhase.ROLLED_BACK, since="2026-11-28T10:00:00Z"))},
    ],
)
async def test_a_lane_that_goes_or_gets_another_image_begins_nothing(rig: Rig, changes: dict[str, Any]) -> None:
    _api, kube, _ = rig
    first = await first_key(rig)
    busy = replace(lane(), **changes)
    assert turn_of(await key_of(kube, MADE + 999 * DAY, sees(first.selector), busy)).following is None
    done = replace(
        lane(), status=LaneStatus(upgrade=UpgradeStatus(phase=UpgradePhase.DONE, since="2026-11-28T10:00:00Z"))
    )
    assert turn_of(await key_of(kube, MADE + 999 * DAY, sees(first.selector), done)).following is not None


async def test_a_lane_without_ed25519_has_none_in_its_next_key(rig: Rig) -> None:
    _api, kube, _ = rig
    of = lane({**ROTATES, "ed25519": False})
    first = await first_key(rig, of)
    assert next_of(await key_of(kube, MADE + 90 * DAY, sees(first.selector), of)).second is None


async def test_a_lane_of_the_same_name_goes_on_where_the_one_before_stood(rig: Rig) -> None:
    api, kube, _ = rig
    key, _ = await propagating(rig)
    assert await key_of(kube, MADE + 91 * DAY, of=replace(lane(), uid="another")) == key
    assert entry_of(api.objects[PATH], "rotation") == write(Rotation(other="Next", answered=MADE + 90 * DAY))


@pytest.mark.parametrize("why", ["a Secret that another hand has made", "a right that is missing"])
async def test_a_turn_that_is_forbidden_leaves_the_present_key_signing(rig: Rig, why: str) -> None:
    api, kube, _ = rig
    first = await first_key(rig)
    if why.startswith("a Secret"):
        api.objects[PATH]["metadata"]["labels"] = {}
    else:
        api.fails["PATCH", PATH] = (403, {"message": "not by you"})
    found = await key_of(kube, MADE + 90 * DAY, sees(first.selector))
    assert (found.selector, found.public_record) == (first.selector, first.public_record)
    assert turn_of(found).following is None


async def test_a_key_that_another_program_publishes_gives_way_every_quarter_of_a_year_by_itself(rig: Rig) -> None:
    key = await first_key(rig, published())

    assert turn_of(key).ends == MADE + dt.timedelta(hours=2160)


@pytest.mark.parametrize(
    "of",
    [lane({}), published(provider="Manual"), published({"selector": "mine"})],
    ids=["by hand", "by hand, said", "a selector of its own"],
)
async def test_no_key_gives_way_that_a_person_publishes_or_named(rig: Rig, of: Lane) -> None:
    assert (await first_key(rig, of)).turn is None


async def test_what_a_domain_says_counts_whoever_publishes(rig: Rig) -> None:
    key = await first_key(rig, published({"rotateEvery": "720h"}))

    assert turn_of(key).ends == MADE + dt.timedelta(hours=720)
