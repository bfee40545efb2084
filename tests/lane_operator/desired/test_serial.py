"""Which serial a slot's configuration has: kept with its content, higher with another, whatever was lost."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.names import CONFIG_DIGEST_ANNOTATION, CONFIG_SERIAL_ANNOTATION
from lane_api.packing import unpacked
from lane_operator.desired import desired_state
from lane_operator.desired.serial import marks, serial
from lane_operator.inputs import Desired, Handed, Manifest
from lane_relay.config import parse
from tests.lane_operator import made

NOW = 1_795_420_800
NOBODY = Handed()


def secret(digest: str, number: int | str) -> Manifest:
    annotations = {CONFIG_DIGEST_ANNOTATION: digest, CONFIG_SERIAL_ANNOTATION: str(number)}
    return {"metadata": {"name": "otp-0-config", "annotations": annotations}}


@pytest.mark.parametrize(
    ("live", "handed", "now", "expected"),
    [
        (None, NOBODY, NOW, NOW),
        (secret("a", 7), NOBODY, NOW, 7),
        (secret("b", 7), NOBODY, NOW, NOW),
        (secret("b", NOW + 5), NOBODY, NOW, NOW + 6),
        (secret("b", NOW), NOBODY, NOW, NOW + 1),
        (secret("a", 7), Handed("a", 7, reported=6), NOW, 7),
        (secret("b", 7), Handed("a", 6, reported=6), NOW, NOW),
        (None, Handed("a", 7, reported=7), NOW, 7),
        (secret("b", 6), Handed("a", 7, reported=6), NOW, 7),
        (secret("a", 7), Handed("a", 7, reported=NOW + 9), NOW, NOW + 10),
        ({"metadata": {"name": "otp-0-config"}}, NOBODY, NOW, NOW),
        (secret("a", "soon"), NOBODY, NOW, NOW),
        (secret("b", "9" * 19), Handed("b", 5, reported=2**63 - 1), NOW, NOW),
    ],
    ids=[
        "the first",
        "kept",
        "another content",
        "a clock that went back",
        "another content within the second",
        "a relay that is behind",
        "a content that comes again",
        "the Secret is lost, its relay visited",
        "the Secret could not be written",
        "a relay that is ahead, as after a Secret was put back from a backup",
        "a Secret of an older operator",
        "a hand's word",
        "a number without a next one",
    ],
)
def test_a_serial_is_kept_with_its_content_and_higher_than_any_known_with_another(
    live: Manifest | None, handed: Handed, now: int, expected: int
) -> None:
    assert serial("a", live, handed, now) == expected


states = st.tuples(st.sampled_from("abc"), st.integers(1, 9))


@given(live=st.none() | states, told=states, reported=st.integers(0, 9), now=st.integers(0, 12))
def test_what_was_written_or_handed_out_is_the_same_in_the_next_pass(
    live: tuple[str, int] | None, told: tuple[str, int], reported: int, now: int
) -> None:
    known = None if live is None else secret(*live)
    number = serial("a", known, Handed(*told, reported), now)

    assert serial("a", {"metadata": {"annotations": marks("a", number)}}, Handed(*told, reported), now + 60) == number
    assert serial("a", known, Handed("a", number, reported), now + 60) == number
    others = {one for one in (live, told) if one is not None and one[0] != "a"}
    assert number > max((one[1] for one in others), default=0)
    assert number >= reported


def desired(before: Desired | None = None, now: int = NOW, **changes: Any) -> Desired:
    """The lane rendered on top of what was rendered before."""
    of = made.lane(replicas=1)
    configs = {} if before is None else {"otp-0": config(before)}
    given = {"configs": configs, "read_at": now} | changes
    return desired_state(of, made.references(of, made.pool(), **given), made.assignment(made.claim(0)), made.SETTINGS)


def config(found: Desired) -> Manifest:
    return next(one for one in found.manifests if one["metadata"]["name"] == "otp-0-config")


def in_file(found: Desired) -> int:
    return parse(unpacked(base64.b64decode(config(found)["data"]["relay.yaml.gz"]))).serial


def test_an_unchanged_lane_is_rendered_alike_pass_after_pass() -> None:
    first = desired()

    assert first.config_serials == {"otp-0": NOW}
    assert in_file(first) == NOW
    assert desired(first, NOW + 3600) == first


def test_a_changed_policy_raises_the_serial_under_the_same_generation() -> None:
    first = desired()
    limited = desired(first, NOW + 60, policies=(made.policy(connectionsPerIP=1),))
    lost = desired(None, NOW + 120, policies=(made.policy(connectionsPerIP=1),))

    assert limited.config_digests != first.config_digests
    assert in_file(limited) == limited.config_serials["otp-0"] == NOW + 60
    assert lost.config_digests == limited.config_digests
    assert in_file(lost) == NOW + 120


def test_a_slot_whose_pool_went_keeps_its_serial_until_its_configuration_changes() -> None:
    of, first = made.lane(replicas=1), desired()
    claims = made.assignment(made.claim(0))

    def poolless(**changes: Any) -> Desired:
        references = made.references(of, None, configs={"otp-0": config(first)}, read_at=NOW + 60, **changes)
        return desired_state(of, references, claims, made.SETTINGS)

    assert config(poolless()) == config(first)
    assert in_file(poolless(policies=())) == NOW + 60
