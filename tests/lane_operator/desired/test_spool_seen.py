"""What the operator remembers of a slot's spool, so that its relay can tell an older copy of its volume."""

import base64
from typing import Any

import pytest

from lane_api.names import CLAIM_BEFORE_ANNOTATION, NOT_IN_BACKUPS, SPOOL_SEEN_ANNOTATION
from lane_api.packing import unpacked
from lane_api.relayconfig import SpoolClaim, SpoolMark
from lane_operator.desired import desired_state
from lane_operator.desired.spool_seen import spool_seen
from lane_operator.inputs import Handed, Manifest
from lane_relay.config import parse
from tests.lane_operator import made

A, B = "a" * 32, "b" * 32
NOBODY = Handed()


def secret(note: str) -> Manifest:
    return {"metadata": {"name": "otp-0-config", "annotations": {SPOOL_SEEN_ANNOTATION: note}}}


def said(spool: str, mark: int) -> Handed:
    return Handed(spool_id=spool, spool_mark=mark)


@pytest.mark.parametrize(
    ("live", "handed", "expected"),
    [
        (None, NOBODY, None),
        (None, said(A, 7), (A, 7)),
        (secret(f"{A} 5"), said(A, 7), (A, 7)),
        (secret(f"{A} 5"), NOBODY, (A, 5)),
        (secret(f"{A} 9"), said(A, 7), (A, 9)),
        (secret(f"{A} 9"), said(B, 1), (B, 1)),
        (secret("x"), NOBODY, None),
    ],
    ids=[
        "never seen",
        "first",
        "further",
        "unreachable",
        "put back",
        "another volume",
        "a hand's word",
    ],
)
def test_the_mark_of_a_spool_never_falls(
    live: Manifest | None, handed: Handed, expected: tuple[str, int] | None
) -> None:
    assert spool_seen(live, handed) == (SpoolMark(id=expected[0], mark=expected[1]) if expected else None)


def test_what_was_seen_is_rendered_and_kept_on_the_secret() -> None:
    of = made.lane()
    claims = made.assignment(made.claim(0), made.claim(1))
    references = made.references(of, made.pool(), handed={"otp-0": said(A, 7)})
    found = desired_state(of, references, claims, made.SETTINGS)
    secrets: dict[str, Any] = {one["metadata"]["name"]: one for one in found.manifests if one["kind"] == "Secret"}

    kept = secrets["otp-0-config"]
    assert kept["metadata"]["annotations"][SPOOL_SEEN_ANNOTATION] == f"{A} 7"
    config = parse(unpacked(base64.b64decode(kept["data"]["relay.yaml.gz"])))
    assert config.spool.seen == SpoolMark(id=A, mark=7)
    assert SPOOL_SEEN_ANNOTATION not in secrets["otp-1-config"]["metadata"]["annotations"]


def volume(**annotations: str) -> Manifest:
    return {"metadata": {"name": "queue-otp-0", "uid": "u-2", "annotations": annotations}}


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (None, None),
        (volume(), SpoolClaim(uid="u-2")),
        (volume(**{CLAIM_BEFORE_ANNOTATION: "u-1"}), SpoolClaim(uid="u-2", before="u-1")),
    ],
    ids=["not made yet", "made", "of a kept volume"],
)
def test_the_relay_is_told_which_claim_its_volume_lies_under(
    claim: Manifest | None, expected: SpoolClaim | None
) -> None:
    of = made.lane()
    references = made.references(of, made.pool(), volumes={"otp-0": claim} if claim else {})
    found = desired_state(of, references, made.assignment(made.claim(0)), made.SETTINGS)
    kept = next(one for one in found.manifests if one["metadata"]["name"] == "otp-0-config")
    config = parse(unpacked(base64.b64decode(kept["data"]["relay.yaml.gz"])))
    assert config.spool.claim == expected


def test_a_configuration_is_in_no_backup_so_that_a_restored_pod_waits_for_one_of_the_claim_that_it_has() -> None:
    of = made.lane()
    found = desired_state(of, made.references(of, made.pool()), made.assignment(made.claim(0)), made.SETTINGS)
    left_out = {
        one["metadata"]["name"]
        for one in found.manifests
        if NOT_IN_BACKUPS.items() <= one["metadata"]["labels"].items()
    }
    assert left_out == {"otp-0-config"}
