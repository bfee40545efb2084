"""A lane's authority is followed by another one: at no instant does a slot show what another slot does not trust yet.

Slots get their Secrets from kubelets, at different times; each has a whole Secret, of now or of some time before.
"""

import base64
import datetime as dt
from collections.abc import AsyncIterator

import pytest

from lane_operator import credentials
from lane_operator.credentials import CA_LIFETIME, LEAF_LIFETIME, SPREAD
from lane_operator.kube import Kube
from tests.lane_operator.small_api import SmallApi, small_api
from tests.lane_operator.test_provision import NOW, SECRETS, provisioned

HOUR = dt.timedelta(hours=1)
DUE = NOW + CA_LIFETIME - LEAF_LIFETIME + HOUR


@pytest.fixture
async def rig() -> AsyncIterator[tuple[SmallApi, Kube]]:
    async with small_api() as found:
        yield found


def entry(api: SmallApi, name: str, of: str) -> bytes:
    return base64.b64decode(api.objects[f"{SECRETS}/{name}"]["data"].get(of, ""))


def shown(api: SmallApi) -> tuple[bytes, bytes]:
    """What a slot has: its leaf, and whom it trusts."""
    return entry(api, "otp-0-admin", "tls.crt"), entry(api, "otp-0-admin", "ca.crt")


def trusts(authorities: bytes, leaf: bytes) -> bool:
    each = authorities.split(b"-----END CERTIFICATE-----\n")[:-1]
    return any(credentials.signed_by(leaf, one + b"-----END CERTIFICATE-----\n") for one in each)


async def test_any_two_slots_trust_each_other_whichever_secrets_they_have(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    seen: list[tuple[dt.datetime, bytes, bytes]] = []
    for at in (NOW, *(DUE + hour * HOUR for hour in range(-2, 52, 2))):
        said = await provisioned(kube, at)
        leaf, authorities = shown(api)
        assert trusts(said.authority.encode(), leaf), "the operator's visits"
        seen.append((at, leaf, authorities))

    late = seen[1:]
    assert len({authorities for _, _, authorities in late}) == 3, "before, with the next one, after"
    for when, leaf, _ in late:
        for then, _, authorities in late:
            if abs(when - then) < SPREAD:  # a kubelet that is a day behind
                assert trusts(authorities, leaf), (when, then)


async def test_the_next_authority_signs_a_day_after_it_was_told_and_the_one_before_stays_trusted(
    rig: tuple[SmallApi, Kube],
) -> None:
    api, kube = rig
    await provisioned(kube)
    first = entry(api, "otp-ca", "tls.crt")

    told = await provisioned(kube, DUE)
    successor = entry(api, "otp-ca", "next.crt")
    assert entry(api, "otp-ca", "tls.crt") == first
    assert told.authority.encode() == first + successor
    assert credentials.signed_by(shown(api)[0], first)
    api.writes.clear()
    await provisioned(kube, DUE + SPREAD - HOUR)
    assert api.writes == [], "it waits"

    await provisioned(kube, DUE + SPREAD + HOUR)
    assert entry(api, "otp-ca", "tls.crt") == successor
    assert entry(api, "otp-ca", "next.crt") == b""
    assert credentials.signed_by(shown(api)[0], successor)
    assert shown(api)[1] == successor + first
    api.writes.clear()
    await provisioned(kube, DUE + 3 * SPREAD)
    assert api.writes == [], "and that is all"


async def test_an_authority_that_has_run_out_while_nobody_looked_is_followed_at_once(
    rig: tuple[SmallApi, Kube],
) -> None:
    api, kube = rig
    await provisioned(kube)
    long_after = NOW + CA_LIFETIME + HOUR

    await provisioned(kube, long_after)
    await provisioned(kube, long_after)

    assert credentials.signed_by(shown(api)[0], entry(api, "otp-ca", "tls.crt"))
    assert not credentials.leaf_is_due(
        credentials.Pem(shown(api)[0], entry(api, "otp-0-admin", "tls.key")),
        ("otp-0.otp-slots.mail.svc",),
        long_after,
    )


async def test_a_damaged_successor_is_made_again(rig: tuple[SmallApi, Kube]) -> None:
    api, kube = rig
    await provisioned(kube)
    await provisioned(kube, DUE)
    api.objects[f"{SECRETS}/otp-ca"]["data"]["next.key"] = "bm9uZQ=="
    before = entry(api, "otp-ca", "next.crt")

    await provisioned(kube, DUE + 2 * SPREAD)

    assert entry(api, "otp-ca", "next.crt") not in (before, b"")
    assert entry(api, "otp-ca", "tls.crt") not in (before, b"")
