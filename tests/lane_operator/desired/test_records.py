"""What a lane says of its records reaches the relay, with each key and volume that it needs."""

from typing import Any

import pytest

from lane_api.relayconfig import Records
from lane_operator.desired.secrets import missing_secrets, secret_needs
from lane_operator.inputs import SecretFacts
from lane_relay.config import parse
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import desired, pod, relay_yaml

S3 = {"bucket": "mail-evidence", "prefix": "lanes", "endpoint": "https://s3.example.com", "secretName": "s3"}


def _rendered(**audit: Any) -> tuple[Records, dict[str, dict[str, Any]], dict[str, str]]:
    """(records, volumes by name, mount paths by name)."""
    found = desired(made.lane(audit=audit))
    spec = pod(found)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    return parse(relay_yaml(found)).records, volumes, mounts


def test_by_default_records_are_signed_and_stay_on_the_slots_volume() -> None:
    records, volumes, mounts = _rendered()
    assert records.signing_key_file == f"{mounts['audit']}/signing.key"
    assert (records.archive, records.webhook, records.recipients, records.seal_every) == (None, None, "Plain", 900.0)
    entries = {item["key"] for item in volumes["audit"]["secret"]["items"]}
    assert entries == {"signing.key", "recipients.key"}


def test_a_bucket_is_named_with_its_credentials_by_path() -> None:
    records, volumes, mounts = _rendered(archive={"s3": S3}, sealEvery="5m", recipients="Hashed")
    assert records.archive is not None
    assert records.archive.s3 is not None
    assert (records.archive.s3.bucket, records.archive.s3.prefix) == ("mail-evidence", "lanes")
    assert records.archive.s3.endpoint == "https://s3.example.com"
    assert records.archive.s3.credentials_dir == mounts["archive-access"]
    assert volumes["archive-access"]["secret"]["secretName"] == "s3"
    assert (records.recipients, records.seal_every) == ("Hashed", 300.0)
    assert records.recipients_key_file == f"{mounts['audit']}/recipients.key"


def test_a_volume_claim_is_mounted_and_written() -> None:
    records, volumes, mounts = _rendered(archive={"pvc": {"claimName": "evidence"}})
    assert records.archive is not None
    assert records.archive.path == mounts["archive"]
    assert volumes["archive"]["persistentVolumeClaim"] == {"claimName": "evidence"}


@pytest.mark.parametrize("secret", ["hook", None])
def test_a_webhook_has_its_secret_where_one_is_named(secret: str | None) -> None:
    given = {"url": "https://sink.example.com/records"} | ({"secretName": secret} if secret else {})
    records, _, mounts = _rendered(webhook=given)
    assert records.webhook is not None
    assert records.webhook.url == "https://sink.example.com/records"
    assert records.webhook.secret_dir == mounts.get("webhook")


def test_secrets_without_their_entries_name_the_field() -> None:
    of = made.lane(audit={"archive": {"s3": S3}, "webhook": {"url": "https://a.example", "secretName": "hook"}})
    whole = made.references(of, made.pool())
    assert {"s3", "hook", "otp-audit"} <= set(secret_needs(of, made.pool()))
    bare = {name: SecretFacts(name, frozenset({"other"}), "d") for name in ("s3", "hook")}
    said = [
        one.message for one in missing_secrets(of, made.references(of, made.pool(), secrets={**whole.secrets, **bare}))
    ]
    assert "audit.archive.s3.secretName) has no entry access_key_id, secret_access_key: add it" in said[0]
    assert "audit.webhook.secretName) has neither key nor authorization: add one" in said[1]
