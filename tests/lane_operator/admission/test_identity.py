"""The webhook's certificate: in time, trusted before it is shown, the same for every replica."""

import base64
import datetime as dt
import ssl
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lane_operator import credentials
from lane_operator.admission.identity import Identity, renewed
from lane_operator.credentials import Pem
from lane_operator.reconcile import World
from tests.lane_operator.made import NOW
from tests.lane_operator.small_api import SmallApi

SECRET = "/api/v1/namespaces/lw/secrets/lanewright-webhook"
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/lw-lanewright"
_PEM = Encoding.PEM
NAMES = ("lanewright-webhook.lw.svc",)


def identity(world: World, hours: int = 0) -> Identity:
    at = NOW + dt.timedelta(hours=hours)
    return Identity(world.kube, ("lw", "lanewright-webhook"), "lw-lanewright", lambda: at)


@pytest.fixture
def api(rig: tuple[SmallApi, World]) -> SmallApi:
    hook = {"name": "review.lanewright.dev", "clientConfig": {"service": {"name": "lanewright-webhook"}}}
    rig[0].put(CONFIGURATION, {"metadata": {"name": "lw-lanewright"}, "webhooks": [hook]})
    return rig[0]


def bundle(api: SmallApi) -> list[x509.Certificate]:
    text = base64.b64decode(api.objects[CONFIGURATION]["webhooks"][0]["clientConfig"]["caBundle"])
    return x509.load_pem_x509_certificates(text)


def kept(api: SmallApi) -> dict[str, bytes]:
    data: dict[str, Any] = api.objects[SECRET]["data"]
    return {name: base64.b64decode(text) for name, text in data.items()}


async def test_who_leads_makes_it_and_has_it_trusted_first(api: SmallApi, rig: tuple[SmallApi, World]) -> None:
    ours = identity(rig[1])

    await ours.turn(leads=True)

    assert [path for _, path in api.writes] == [CONFIGURATION, "/api/v1/namespaces/lw/secrets"]
    assert ours.is_shown
    assert credentials.signed_by(kept(api)["tls.crt"], bundle(api)[0].public_bytes(_PEM))


async def test_who_waits_shows_what_the_leader_made_and_makes_nothing(
    api: SmallApi, rig: tuple[SmallApi, World]
) -> None:
    other = identity(rig[1])
    await other.turn(leads=False)
    assert not other.is_shown
    assert api.writes == []

    await identity(rig[1]).turn(leads=True)
    await other.turn(leads=False)

    assert other.is_shown


async def test_nothing_is_written_while_nothing_is_due(api: SmallApi, rig: tuple[SmallApi, World]) -> None:
    await identity(rig[1]).turn(leads=True)
    api.writes.clear()

    await identity(rig[1], hours=24).turn(leads=True)

    assert api.writes == []


async def test_a_bundle_that_somebody_took_away_is_there_again(api: SmallApi, rig: tuple[SmallApi, World]) -> None:
    await identity(rig[1]).turn(leads=True)
    del api.objects[CONFIGURATION]["webhooks"][0]["clientConfig"]["caBundle"]

    await identity(rig[1]).turn(leads=True)

    assert len(bundle(api)) == 1


def test_a_leaf_is_renewed_in_time_by_the_same_authority() -> None:
    first = renewed({}, NAMES, NOW)
    later = renewed(first, NAMES, NOW + dt.timedelta(days=21))

    assert renewed(first, NAMES, NOW + dt.timedelta(days=19)) == first
    assert later["tls.crt"] != first["tls.crt"]
    assert later["ca.crt"] == first["ca.crt"]


def test_an_authority_that_runs_out_stays_trusted_beside_the_next() -> None:
    first = renewed({}, NAMES, NOW)
    ends = x509.load_pem_x509_certificate(first["ca.crt"]).not_valid_after_utc

    later = renewed(first, NAMES, ends - dt.timedelta(days=29))

    assert later["ca.crt"] != first["ca.crt"]
    assert later["previous.crt"] == first["ca.crt"]
    assert credentials.signed_by(later["tls.crt"], later["ca.crt"])


@pytest.mark.parametrize("damaged", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
def test_what_a_hand_has_damaged_is_made_again(damaged: str) -> None:
    found = renewed(renewed({}, NAMES, NOW) | {damaged: b"nonsense"}, NAMES, NOW)

    assert credentials.is_pair(Pem(found["ca.crt"], found["ca.key"]))
    assert credentials.is_pair(Pem(found["tls.crt"], found["tls.key"]))
    assert credentials.signed_by(found["tls.crt"], found["ca.crt"])


async def test_what_is_shown_is_believed_for_the_service_s_name(api: SmallApi, rig: tuple[SmallApi, World]) -> None:
    ours = identity(rig[1])
    await ours.turn(leads=True)
    client = ssl.create_default_context(cadata="".join(one.public_bytes(_PEM).decode() for one in bundle(api)))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = ours.context.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server, server_hostname=NAMES[0])

    done: set[ssl.SSLObject] = set()
    for _ in range(8):
        for side in (client_side, server_side):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue

    assert done == {client_side, server_side}


async def test_a_replica_that_waits_goes_on_showing_what_it_has_where_a_hand_has_damaged_the_secret(
    api: SmallApi, rig: tuple[SmallApi, World]
) -> None:
    await identity(rig[1]).turn(leads=True)
    other = identity(rig[1])
    await other.turn(leads=False)
    api.objects[SECRET]["data"]["tls.key"] = base64.b64encode(b"\xff no key").decode()

    await other.turn(leads=False)

    assert other.is_shown
