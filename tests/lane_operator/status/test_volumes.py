"""What a slot says of its volume stands where people look: held mail of an older copy, records that are not safe."""

from typing import Any

import pytest

from lane_api.lane_status import LaneStatus
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, settled, status, verdict

ARCHIVE = {"archive": {"pvc": {"claimName": "archive"}}}


def of(audit: dict[str, Any] | None = None, serial: int = 70, **changes: Any) -> LaneStatus:
    """A settled lane whose second slot says something of its own; both are to have serial 70."""
    first = made.seen(0, config_serial=70, unarchived=0)
    second = made.seen(1, **{"config_serial": serial, "unarchived": 0, **changes})
    lane = made.lane(status=settled().status, audit=audit or {})
    return status(lane, made.observation(first, second), config_serials=dict.fromkeys(("otp-0", "otp-1"), 70))


def test_a_volume_put_back_from_a_snapshot_is_named_with_what_to_do_and_the_lane_stays_ready() -> None:
    said = of(restored="the volume is older than the one last seen (mark 4, seen 9): restored?")

    assert verdict(said, "MailHeld") == ("True", "VolumeRestored")
    assert "otp-1: the volume is older" in message(said, "MailHeld")
    assert "release" in message(said, "MailHeld")
    assert verdict(said, "Ready") == ("True", "AllSlotsVerified")


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"doubts": ("3 messages with otp-0 since 2026-11-28T10:00:00Z",)}, "InDoubt", "otp-1: 3 messages with otp-0"),
        ({"doubts": ("3 messages with otp-0 since then",)}, "InDoubt", "action take-back"),
        (
            {"orders": ("suspend site gmail of jane (they ask)",)},
            "ByOrder",
            "otp-1: suspend site gmail of jane (they ask)",
        ),
        ({"orders": ("suspend site gmail of jane (they ask)",)}, "ByOrder", "docs/admin.md"),
        ({"stranded": True, "orders": ("hold all of jane (x)",)}, "NoWayOut", "otp-1: hold all of jane (x)"),
        ({"stranded": True}, "NoWayOut", "otp-1 has mail that its address must not send"),
        ({"stranded": True, "restored": "older"}, "VolumeRestored", "otp-1 has mail that its address must not send"),
    ],
)
def test_mail_that_nobody_sends_is_said_with_the_slot_and_the_way_out(
    changes: dict[str, Any], reason: str, words: str
) -> None:
    said = of(**changes)

    assert verdict(said, "MailHeld") == ("True", reason)
    assert words in message(said, "MailHeld")
    assert verdict(said, "Ready") == ("True", "AllSlotsVerified")


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"archive_failure": "the bucket cannot be written: 403"}, "ArchiveFailing", "otp-1: the bucket cannot"),
        ({"sealing_failure": "No space left on device"}, "SealingFailing", "otp-1: No space left"),
        ({"sealing_failure": "No space left", "archive_failure": "403"}, "SealingFailing", "otp-1: No space left"),
        ({"unarchived": None}, "ArchiveMissing", "otp-1: archives nothing although spec.audit.archive asks"),
    ],
)
def test_records_that_are_not_safe_are_said_with_the_slot_and_the_fix(
    changes: dict[str, Any], reason: str, words: str
) -> None:
    said = of(ARCHIVE, **changes)

    assert verdict(said, "RecordsAtRisk") == ("True", reason)
    assert words in message(said, "RecordsAtRisk")
    assert verdict(said, "Ready") == ("True", "AllSlotsVerified")


def test_a_slot_is_not_blamed_for_an_archive_that_nobody_asked_for_or_that_it_has_not_heard_of() -> None:
    assert verdict(of(unarchived=None), "RecordsAtRisk") is None
    assert verdict(of(ARCHIVE, serial=69, unarchived=None), "RecordsAtRisk") is None
    assert verdict(of(ARCHIVE, unarchived=None, reachable=False), "RecordsAtRisk") is None


def test_a_lane_whose_volumes_are_well_says_nothing_of_them() -> None:
    said = of(ARCHIVE)

    assert (verdict(said, "MailHeld"), verdict(said, "RecordsAtRisk")) == (None, None)
