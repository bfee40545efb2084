"""A lane's credentials: made once, and never made again because they could not be read."""

import base64
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from lane_api.ippool import Engine, IPPoolSpec, PoolAddress, Socks5Proxy
from lane_api.lane_status import SlotRole
from lane_api.sendinglane import SendingLaneSpec
from lane_operator import credentials
from lane_operator.cache import Cache
from lane_operator.credentials import LEAF_LIFETIME
from lane_operator.errors import KubeError
from lane_operator.inputs import Claim, Lane, Pool
from lane_operator.kube import Kube
from lane_operator.provision import Provisioned, dkim_secret_name, kept_secrets, provision
from tests.lane_operator.small_api import SmallApi, small_api

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
SECRETS = "/api/v1/namespaces/mail/secrets"
CLAIM = Claim(0, "otp-0", None, SlotRole.ACTIVE, None, ("mail", "pool"))
POOL = Pool(
    "pools",
    "pool",
    "p",
    1,
    "1",
    IPPoolSpec.model_validate({"classes": ["Bulk"], "engine": "Multus", "verification": {"secretName": "reflector"}}),
)


@pytest.fixture
async def rig() -> AsyncIterator[tuple[SmallApi, Kube]]:
    async with small_api() as found:
        yield found


def lane(**spec: Any) -> Lane:
    given = {
        "trafficClass": "Bulk",
        "poolRef": {"name": "pool"},
        "submission": {"senders": ["@example.com"]},
        "domains": [{"name": "example.com"}],
        **spec,
    }
    return Lane("mail", "otp", "lane-uid", 1, SendingLaneSpec.model_validate(given))


async def provisioned(
    kube: Kube,
    now: dt.datetime = NOW,
    served: str = "mail",
    needed: tuple[str, ...] = ("otp-users", "late"),
    **spec: Any,
) -> Provisioned:
    """A pass with nothing remembered from an earlier one."""
    return await provision(kube, Cache(), lane(**spec), POOL, (CLAIM,), needed, frozenset({served}), now)


async def test_everything_is_made_once_and_found_afterwards(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    first = await provisioned(kube)
    assert {path.removeprefix(f"{SECRETS}/") for path in api.objects} == {
        "otp-ca",
        "otp-0-admin",
        "otp-users",
        "otp-audit",
        "otp-dkim-example.com",
    }
    assert api.reads == [f"{SECRETS}/late"], "what is ours to make is not looked for before"
    api.writes.clear()

    second = await provisioned(kube)

    assert api.writes == []
    assert second == first
    key = second.dkim["example.com"]
    assert key.public_record.startswith("v=DKIM1; k=rsa; p=")
    assert key.second is not None
    assert key.second.public_record.startswith("v=DKIM1; k=ed25519; p=")
    assert key.second.selector == f"{key.selector}-ed25519"


async def test_a_dkim_key_that_is_there_unknown_to_us_is_used_and_a_damaged_one_made_again(
    rig: tuple[SmallApi, Kube],
) -> None:
    api, kube = rig
    before = (await provisioned(kube)).dkim["example.com"]

    assert (await provisioned(kube)).dkim["example.com"] == before

    damaged(api, "otp-dkim-example.com", private_key="none")
    after = (await provisioned(kube)).dkim["example.com"]
    assert after.public_record.startswith("v=DKIM1; k=rsa; p=")
    assert after.public_record != before.public_record


async def test_an_ed25519_key_joins_a_secret_that_was_made_without_one_and_the_rsa_key_stays(
    rig: tuple[SmallApi, Kube],
) -> None:
    _, kube = rig
    alone = [{"name": "example.com", "dkim": {"ed25519": False}}]
    before = (await provisioned(kube, domains=alone)).dkim["example.com"]
    assert before.second is None

    after = (await provisioned(kube)).dkim["example.com"]

    assert after.second is not None
    assert (after.selector, after.public_record) == (before.selector, before.public_record)


async def test_lanes_that_share_a_domain_have_a_selector_each(rig: tuple[SmallApi, Kube]) -> None:
    _, kube = rig
    first = await provisioned(kube)
    other = replace(lane(), name="news")
    second = await provision(kube, Cache(), other, POOL, (), (), frozenset({"mail"}), NOW)
    elsewhere = await provision(kube, Cache(), replace(other, namespace="shop"), POOL, (), (), frozenset({"shop"}), NOW)

    selectors = {found.dkim["example.com"].selector for found in (first, second, elsewhere)}
    assert len(selectors) == 3


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize("name", ["otp-ca", "otp-0-admin", "otp-users", "otp-dkim-example.com"])
async def test_what_cannot_be_read_is_not_made_again(rig: tuple[SmallApi, Kube], name: str, status: int) -> None:
    api, kube = rig
    await provisioned(kube)
    before = dict(api.objects)
    api.writes.clear()
    api.fails["GET", f"{SECRETS}/{name}"] = (status, {"message": "not now"})

    try:
        result: Provisioned | None = await provisioned(kube)
    except KubeError:
        result = None

    assert result is None or result.forbidden
    assert api.writes == []
    assert api.objects == before


def damaged(api: SmallApi, name: str, **entries: str | None) -> None:
    """Edits a Secret as a hand does; None takes an entry out, and without entries all data goes."""
    body = api.objects[f"{SECRETS}/{name}"]
    if not entries:
        del body["data"]
    for entry, value in entries.items():
        body["data"].pop(entry.replace("_", "."), None)
        if value is not None:
            body["data"][entry.replace("_", ".")] = base64.b64encode(value.encode()).decode()


def entry(api: SmallApi, name: str, of: str) -> bytes:
    return base64.b64decode(api.objects[f"{SECRETS}/{name}"]["data"][of])


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("otp-ca", {}),
        ("otp-ca", {"tls_crt": "none"}),
        ("otp-ca", {"tls_key": "none"}),
        ("otp-ca", {"tls_key": None}),
        ("otp-0-admin", {}),
        ("otp-0-admin", {"token": None}),
        ("otp-0-admin", {"token": " "}),
        ("otp-0-admin", {"token": "two\nlines"}),
        ("otp-0-admin", {"tls_key": "none"}),
        ("otp-0-admin", {"tls_crt": None}),
        ("otp-0-admin", {"ca_crt": "none"}),
        ("otp-dkim-example.com", {}),
        ("otp-dkim-example.com", {"private_key": "none"}),
        ("otp-dkim-example.com", {"selector": None}),
        ("otp-dkim-example.com", {"ed25519_key": None}),
        ("otp-dkim-example.com", {"ed25519_key": "none"}),
        ("otp-dkim-example.com", {"selector": "no host name"}),
    ],
)
async def test_what_a_hand_has_damaged_is_made_again_once(
    rig: tuple[SmallApi, Kube], name: str, entries: dict[str, str | None]
) -> None:
    api, kube = rig
    await provisioned(kube)
    damaged(api, name, **entries)

    healed = await provisioned(kube)
    api.writes.clear()
    again = await provisioned(kube)

    assert api.writes == []
    assert again == healed
    leaf, token = entry(api, "otp-0-admin", "tls.crt"), entry(api, "otp-0-admin", "token").decode()
    assert credentials.signed_by(leaf, healed.authority.encode())
    assert healed.tokens == {"otp-0": token}
    assert len(token) > 20
    assert healed.dkim["example.com"].public_record
    assert healed.dkim["example.com"].selector.startswith("lw20261123-")


async def test_a_damaged_leaf_leaves_the_token_as_it_is(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    first = await provisioned(kube)
    damaged(api, "otp-0-admin", tls_key="none")

    assert (await provisioned(kube)).tokens == first.tokens


async def test_the_authority_before_is_trusted_until_slots_show_the_new_ones_leaf(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    first = await provisioned(kube)
    damaged(api, "otp-ca", tls_key="none")

    second = await provisioned(kube)

    assert second.authority.endswith(first.authority)
    assert second.authority != first.authority


async def test_a_strangers_secret_is_never_changed(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    theirs = {"metadata": {"name": "otp-ca", "namespace": "mail"}, "data": {"tls.crt": "eA=="}}
    kept = dict(api.put(f"{SECRETS}/otp-ca", theirs))

    result = await provisioned(kube)

    assert "Secret otp-ca is not the lane's" in result.forbidden
    assert api.objects[f"{SECRETS}/otp-ca"] == kept
    assert {method for method, _ in api.writes} <= {"POST"}


async def test_keys_that_others_know_have_no_owner_and_the_rest_goes_with_the_lane(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    await provisioned(kube)

    owned = {
        path.removeprefix(f"{SECRETS}/") for path, body in api.objects.items() if "ownerReferences" in body["metadata"]
    }
    assert owned == {"otp-ca", "otp-0-admin"}


async def test_what_is_made_again_while_the_lane_is_being_deleted_has_no_owner_whose_deletion_takes_it(
    rig: tuple[SmallApi, Kube],
) -> None:
    api, kube = rig
    going = dataclasses.replace(lane(), deleting_since="2026-11-23T00:00:00Z")

    await provision(kube, Cache(), going, POOL, (CLAIM,), (), frozenset({"mail"}), NOW)

    assert f"{SECRETS}/otp-0-admin" in api.objects
    assert all("ownerReferences" not in body["metadata"] for body in api.objects.values())


async def test_a_leaf_is_renewed_in_good_time_and_its_token_stays(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    first = await provisioned(kube)
    certificate = api.objects[f"{SECRETS}/otp-0-admin"]["data"]["tls.crt"]

    await provisioned(kube, NOW + LEAF_LIFETIME / 2)
    assert api.objects[f"{SECRETS}/otp-0-admin"]["data"]["tls.crt"] == certificate
    later = await provisioned(kube, NOW + LEAF_LIFETIME * 0.7)

    assert api.objects[f"{SECRETS}/otp-0-admin"]["data"]["tls.crt"] != certificate
    assert later.tokens == first.tokens
    assert later.authority == first.authority


async def test_a_secret_made_by_somebody_else_meanwhile_is_the_one(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    theirs = {"metadata": {"name": "otp-users", "namespace": "mail"}, "data": {"alice": "eA=="}}
    api.put(f"{SECRETS}/otp-users", theirs)

    result = await provisioned(kube)

    facts = result.secrets["otp-users"]
    assert facts is not None
    assert facts.keys == {"alice"}


async def test_the_reflectors_key_is_copied_and_followed(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    origin = "/api/v1/namespaces/pools/secrets/reflector"
    for key in ("old", "new"):
        encoded = base64.b64encode(key.encode()).decode()
        api.put(origin, {"metadata": {"name": "reflector"}, "data": {"key": encoded}})

        await provisioned(kube, needed=("otp-users", "otp-proof"))

        assert api.objects[f"{SECRETS}/otp-proof"]["data"]["key"] == encoded


async def test_a_copy_of_the_reflectors_key_that_somebody_made_by_hand_is_told_at_once(
    rig: tuple[SmallApi, Kube],
) -> None:
    api, kube = rig
    key, other = "c2FtZQ==", "b3RoZXI="
    origin, copy = "/api/v1/namespaces/pools/secrets/reflector", f"{SECRETS}/otp-proof"
    api.put(copy, {"metadata": {"name": "otp-proof", "namespace": "mail"}, "data": {"key": key}})
    needed = ("otp-users", "otp-proof")

    alone = await provisioned(kube, needed=needed)
    api.put(origin, {"metadata": {"name": "reflector"}, "data": {"key": key}})
    same = await provisioned(kube, needed=needed)
    api.put(origin, {"metadata": {"name": "reflector"}, "data": {"key": other}})
    changed = await provisioned(kube, needed=needed)

    for said in (alone.foreign, same.foreign, changed.forbidden):
        assert "Secret otp-proof in namespace mail was not made by the operator" in said
        assert "Secret reflector in namespace pools" in said
        assert "then delete this one" in said
    assert "instead of" in alone.foreign
    assert "another key" in changed.forbidden
    assert not alone.forbidden
    assert not same.forbidden
    assert api.objects[copy]["data"]["key"] == key

    del api.objects[copy]
    healed = await provisioned(kube, needed=needed)
    assert (healed.foreign, healed.forbidden) == ("", "")
    assert api.objects[copy]["data"]["key"] == other


async def test_the_reflectors_key_stays_where_it_is_for_a_lane_that_gets_no_address(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    api.put("/api/v1/namespaces/pools/secrets/reflector", {"metadata": {"name": "reflector"}, "data": {"key": "a2V5"}})

    await provisioned(kube)

    assert f"{SECRETS}/otp-proof" not in api.objects


async def test_what_a_slots_own_proxy_asks_for_is_copied_and_followed_and_nobody_elses(
    rig: tuple[SmallApi, Kube],
) -> None:
    api, kube = rig
    for name in ("one", "two"):
        entries = {part: base64.b64encode(f"{name} {part}".encode()).decode() for part in ("username", "password")}
        api.put(f"/api/v1/namespaces/pools/secrets/{name}", {"metadata": {"name": name}, "data": entries})
    behind = [
        PoolAddress(
            ip=f"203.0.113.{10 + number}",
            hostname="out.example.com",
            proxy=Socks5Proxy(address="192.0.2.80", secret_name=name),
        )
        for number, name in enumerate(("one", "two"))
    ]
    spec = POOL.spec.model_copy(update={"engine": Engine.SOCKS5, "addresses": tuple(behind)})
    claims = [Claim(index, f"otp-{index}", one, SlotRole.ACTIVE, None, POOL.key) for index, one in enumerate(behind)]

    async def pass_with(*of: Claim) -> dict[str, str]:
        needed, served = ("otp-users", "otp-proxy"), frozenset({"mail"})
        await provision(kube, Cache(), lane(), replace(POOL, spec=spec), of, needed, served, NOW)
        data = api.objects[f"{SECRETS}/otp-proxy"]["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    assert await pass_with(claims[0]) == {"otp-0.username": "one username", "otp-0.password": "one password"}
    api.put("/api/v1/namespaces/pools/secrets/one", {"metadata": {"name": "one"}, "data": {"username": "bmV3"}})
    assert await pass_with(*claims) == {
        "otp-0.username": "new",
        "otp-0.password": "one password",  # gone there: what runs goes on with what it has
        "otp-1.username": "two username",
        "otp-1.password": "two password",
    }


async def test_a_namespace_that_is_not_served_is_not_touched(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig

    result = await provisioned(kube, served="elsewhere")

    assert "servedNamespaces" in result.forbidden
    assert api.writes == []


async def test_a_missing_secret_of_the_user_is_waited_for(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    assert (await provisioned(kube)).waiting

    api.put(f"{SECRETS}/late", {"metadata": {"name": "late"}, "data": {"a": "eA=="}})

    assert not (await provisioned(kube)).waiting


async def test_a_given_dkim_key_that_is_none_signs_nothing(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    api.put(f"{SECRETS}/mine", {"metadata": {"name": "mine"}, "data": {"tls.key": "eA=="}})
    domains = [{"name": "example.com", "dkim": {"secretName": "mine", "selector": "s1"}}]

    result = await provisioned(kube, domains=domains)

    assert result.dkim == {}
    assert result.waiting


async def test_no_key_shows_in_what_is_handed_on(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    result = await provisioned(kube)

    shown = repr(result)
    for body in api.objects.values():
        for name, value in body["data"].items():
            if name in {"token", "tls.key", "private.key", "otp"}:
                assert base64.b64decode(value).decode() not in shown


def test_the_name_of_a_key_is_a_name_however_long_its_domain_is() -> None:
    long = ".".join(["a" * 60] * 4)

    names = {dkim_secret_name("lane", domain) for domain in (long, f"{long[:-1]}b")}

    assert len(names) == 2
    assert all(len(name) == 253 for name in names)


def test_two_domains_that_differ_by_a_dot_have_two_keys() -> None:
    assert dkim_secret_name("otp", "a-b.example") != dkim_secret_name("otp", "a.b.example")


async def test_the_keys_of_records_are_made_once_and_outlive_the_lane(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    await provisioned(kube)
    made = api.objects[f"{SECRETS}/otp-audit"]
    assert "ownerReferences" not in made["metadata"]
    assert ("Secret", "otp-audit") in kept_secrets(lane())
    public = base64.b64decode(made["data"]["signing.pub"])
    assert credentials.signing_public(base64.b64decode(made["data"]["signing.key"])) == public
    assert len(base64.b64decode(made["data"]["recipients.key"])) == 64

    await provisioned(kube)
    assert api.objects[f"{SECRETS}/otp-audit"]["data"] == made["data"]


async def test_a_lost_key_of_records_is_made_anew_and_the_other_one_stays(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    await provisioned(kube)
    before = dict(api.objects[f"{SECRETS}/otp-audit"]["data"])
    del api.objects[f"{SECRETS}/otp-audit"]["data"]["recipients.key"]
    await provisioned(kube)
    after = api.objects[f"{SECRETS}/otp-audit"]["data"]
    assert after["signing.key"] == before["signing.key"]
    assert after["recipients.key"] != before["recipients.key"]


async def test_the_keys_of_feedback_are_made_once_where_it_is_asked_for_and_outlive_the_lane(
    rig: tuple[SmallApi, Kube],
) -> None:
    api, kube = rig
    await provisioned(kube)
    assert f"{SECRETS}/otp-feedback" not in api.objects
    await provisioned(kube, feedback={})
    made = api.objects[f"{SECRETS}/otp-feedback"]
    assert "ownerReferences" not in made["metadata"]
    assert ("Secret", "otp-feedback") in kept_secrets(lane(feedback={}))
    assert set(made["data"]) == {"feedback.key", "suppression.key", "webhook.key"}
    assert len(set(made["data"].values())) == 3
    del made["data"]["webhook.key"]  # as an earlier release made it
    await provisioned(kube, feedback={})
    completed = api.objects[f"{SECRETS}/otp-feedback"]["data"]
    assert made["data"].items() < completed.items()
    made["data"] = completed
    await provisioned(kube, feedback={})
    assert api.objects[f"{SECRETS}/otp-feedback"]["data"] == made["data"]


async def test_lanes_that_share_their_lists_have_one_key_and_their_slots_trust_the_others_authority(
    rig: tuple[SmallApi, Kube],
) -> None:
    api, kube = rig
    shared = {"suppression": {"scope": "Namespace"}}
    news = replace(lane(feedback=shared), name="news", uid="news-uid")
    claim = replace(CLAIM, slot_name="news-0")

    async def of_news() -> None:
        await provision(kube, Cache(), news, POOL, (claim,), (), frozenset({"mail"}), NOW, ("otp",))

    async def of_otp(**spec: Any) -> None:
        await provision(kube, Cache(), lane(**spec), POOL, (CLAIM,), (), frozenset({"mail"}), NOW, ("news",))

    def data(name: str) -> dict[str, bytes]:
        return {entry: base64.b64decode(text) for entry, text in api.objects[f"{SECRETS}/{name}"]["data"].items()}

    await of_news()  # whose neighbour is not there yet
    made = api.objects[f"{SECRETS}/lanewright-suppressions"]
    assert "ownerReferences" not in made["metadata"]
    assert "lanewright.dev/lane" not in made["metadata"]["labels"]  # it goes with no lane
    del api.objects[f"{SECRETS}/lanewright-suppressions"]
    await of_otp(feedback=shared)  # what another lane has is the key, whatever became of the namespace's
    await of_news()
    assert data("otp-feedback")["namespace.key"] == data("news-feedback")["namespace.key"]
    assert data("otp-feedback")["suppression.key"] != data("news-feedback")["suppression.key"]
    both = data("otp-ca")["tls.crt"], data("news-ca")["tls.crt"]
    assert data("otp-0-admin")["ca.crt"] == b"".join(both)
    assert data("news-0-admin")["ca.crt"] == b"".join(reversed(both))
    await provisioned(kube, feedback={})  # it leaves: it trusts nobody else, and keeps the key of what it heard
    assert data("otp-0-admin")["ca.crt"] == both[0]
    assert data("otp-feedback")["namespace.key"]
