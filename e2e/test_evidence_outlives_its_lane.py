"""A lane with an archive is scaled to nothing and deleted, volumes and all: its archive answers for every message."""

import base64
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from e2e.cluster import programs
from e2e.cluster.identity import Purpose, layout
from e2e.eventually import eventually
from e2e.installation import DEAD_DOMAIN, LIVE_DOMAIN, Installation, Manifest, lane, pool
from e2e.internet import addresses
from e2e.internet.internet import Internet

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

SENDER = "news@proven.example.com"
BUCKET, PORT = "mail-evidence", 7070
ACCESS = {"access_key_id": "lane-archive", "secret_access_key": "not-a-real-secret"}
EACH = 5


@dataclass(frozen=True)
class Bucket:
    """A real server that speaks S3, on an address of the internet, and a folder with the keys to it."""

    internet: Internet
    keys: Path

    @property
    def endpoint(self) -> str:
        return f"http://{addresses.ARCHIVE}:{PORT}"

    def ask(self, *arguments: str) -> "CompletedProcess[str]":
        """A command of the relay's program, from where no lane is."""
        access = ("--endpoint", self.endpoint, "--credentials", str(self.keys))
        return self.internet.place.run([sys.executable, "-m", "lane_relay", *arguments, *access], check=False)


@pytest.fixture
def bucket(internet: Internet, tmp_path: Path) -> Iterator[Bucket]:
    here = layout(os.environ, purpose=Purpose.TESTS)
    programs.ensure(here, ("versitygw",))
    (tmp_path / "root" / BUCKET).mkdir(parents=True)
    (tmp_path / "meta").mkdir()
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, value in ACCESS.items():
        (keys / name).write_text(value)
    place = internet.place
    place.add_address(addresses.ARCHIVE)
    place.spawn(
        "s3",
        [
            str(programs.path(here, "versitygw")), "--port", f"{addresses.ARCHIVE}:{PORT}", "--quiet",
            "posix", "--sidecar", str(tmp_path / "meta"), str(tmp_path / "root"),
        ],
        env={
            "PATH": os.environ["PATH"],
            "ROOT_ACCESS_KEY": ACCESS["access_key_id"],
            "ROOT_SECRET_KEY": ACCESS["secret_access_key"],
        },
    )  # fmt: skip
    yield Bucket(internet, keys)
    place.end("s3")


def _lane(here: Installation, bucket: Bucket) -> Manifest:
    s3 = {"bucket": BUCKET, "endpoint": bucket.endpoint, "secretName": "archive"}
    queue = {"size": "1Gi", "reclaimPolicy": "Delete", "lifetime": "20s", "retry": {"first": "5s", "max": "5s"}}
    audit = {"maxSize": "64Mi", "archive": {"s3": s3}}
    return lane("proven", here.namespace, replicas=2, queue=queue, audit=audit)


def test_a_deleted_lanes_archive_answers_for_every_message(
    installation: Installation, bucket: Bucket, tmp_path: Path
) -> None:
    here, space = installation, installation.namespace
    metadata = {"name": "archive", "namespace": space}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": ACCESS}
    here.apply(secret, pool("pool", space), _lane(here, bucket))
    here.wait_ready("proven")
    for slot in (0, 1):
        here.send(f"proven-{slot}-0", SENDER, f"user@{LIVE_DOMAIN}", EACH)
        here.send(f"proven-{slot}-0", SENDER, f"user@{DEAD_DOMAIN}", 1)
    eventually(lambda: len(here.received(SENDER)) == 2 * EACH, "the mail has arrived")
    key = tmp_path / "signing.pub"
    key.write_bytes(base64.b64decode(here.get("secret", "proven-audit")["data"]["signing.pub"]))

    here.cluster.kubectl("scale", "sendinglane", "proven", "-n", space, "--replicas=0")
    gone = ("proven-0", "proven-1")
    eventually(lambda: not any(here.is_there("statefulset", slot) for slot in gone), "no slot is left", within=120)
    here.cluster.kubectl("delete", "sendinglane", "proven", "-n", space, "--timeout=60s")
    eventually(lambda: not any(here.is_there("pvc", f"queue-{slot}") for slot in gone), "no volume is left")

    place = f"s3://{BUCKET}/{space}/proven"
    proven = bucket.ask("audit", "verify", place, "--key", str(key))
    assert proven.returncode == 0, proven.stdout + proven.stderr
    for one in here.received(SENDER):
        traced = bucket.ask("trace", one.message_id, "--in", place)
        assert traced.returncode == 0, traced.stdout + traced.stderr
        assert "Reception" in traced.stdout
        assert "Delivery" in traced.stdout
    expired = bucket.ask("trace", "--recipient", f"user@{DEAD_DOMAIN}", "--in", place)
    assert expired.stdout.count("Expiration") == 2, expired.stdout + expired.stderr
    assert bucket.ask("trace", "<never@sent>", "--in", place).returncode == 1
