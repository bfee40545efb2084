"""A missing Secret or pool is a condition on the lanes that need it and on no other; it heals without a restart."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, lane, pool

pytestmark = pytest.mark.cluster


def test_missing_secret_and_missing_pool_are_conditions_of_their_lanes_and_heal(installation: Installation) -> None:
    here, space = installation, installation.namespace
    tls = {"senders": ["@keyless.example.com"], "tls": {"secretName": "late"}}
    here.apply(
        pool("pool", space),
        lane("sound", space),
        lane("keyless", space, submission=tls),
        lane("poolless", space, pool="late"),
    )
    here.wait_ready("sound")
    started = here.operator_restarts()

    waiting = {
        name: eventually(lambda n=name: here.condition(n, "Reconciling"), f"{name} says what it waits for")  # type: ignore[misc]  # a default binds the loop's value
        for name in ("keyless", "poolless")
    }
    assert waiting["keyless"]["reason"] == "WaitingForSecret"
    assert "late" in waiting["keyless"]["message"]
    assert waiting["poolless"]["reason"] == "WaitingForPool"
    assert here.condition("sound", "Ready")["status"] == "True"
    assert not here.condition("sound", "Reconciling")
    assert not here.is_there("statefulset", "keyless-0")

    here.apply(pool("late", space), _certificate(space))

    here.wait_ready("poolless", "keyless")
    assert here.operator_restarts() == started


def _certificate(space: str) -> Manifest:
    """A Secret with a certificate that signed itself, as `kubectl create secret tls` makes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keyless.example.com")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("keyless.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    entries = {"tls.crt": signed.public_bytes(Encoding.PEM).decode(), "tls.key": private.decode()}
    metadata = {"name": "late", "namespace": space}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "stringData": entries,
    }


def test_a_slot_that_could_not_run_runs_once_its_spec_is_corrected(installation: Installation) -> None:
    here, space = installation, installation.namespace
    much = {"resources": {"requests": {"cpu": "1000"}}}
    here.apply(pool("pool", space), lane("huge", space, pod=much))

    def waits() -> bool:
        found = here.cluster.get("pods", "-n", space, "-l", "lanewright.dev/lane=huge")["items"]
        return any(one.get("reason") == "Unschedulable" for pod in found for one in pod["status"].get("conditions", ()))

    eventually(waits, "no node is large enough")
    here.apply(lane("huge", space))

    here.wait_ready("huge")


@pytest.mark.long("tests/lane_operator/pools/test_allocate.py")
def test_a_pool_that_closes_keeps_its_slots_and_refuses_new_ones(installation: Installation) -> None:
    here, space = installation, installation.namespace
    here.apply(pool("pool", space), lane("inside", space))
    here.wait_ready("inside")

    here.apply(pool("pool", space, classes=["Transactional"]), lane("late", space))

    stalled = eventually(lambda: here.condition("late", "Stalled"), "the new lane says that it may not")
    assert stalled["reason"] == "ClassMismatch"
    assert here.is_there("statefulset", "inside-0")
    assert not here.is_there("statefulset", "late-0")
