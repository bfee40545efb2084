"""Times that anybody may have written: each can be compared and added to, or is none."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.conditions import Condition
from lane_api.ippool import AddressStatus, Quarantine
from lane_api.lane_status import LaneStatus, UpgradePhase
from lane_api.moment import moment

NOW = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
NONE = ["", "soon", "2026-11-23T08:00:00", "2026-11-23", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "²" * 9]
_LIKE_TIMES = st.from_regex(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{5,8}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})?", fullmatch=True
)


@given(
    st.text(max_size=60) | _LIKE_TIMES | st.datetimes(timezones=st.timezones() | st.none()).map(dt.datetime.isoformat)
)
def test_what_is_a_time_can_be_compared_and_a_century_added_to(said: str) -> None:
    found = moment(said)

    if found is not None:
        assert (found + dt.timedelta(days=36_525) > NOW) in {True, False}
        assert found.astimezone(dt.UTC) == found


@pytest.mark.parametrize("said", [*NONE, None, 7, "2026-11-23T08:00:00." + "0" * 99 + "Z"])
def test_what_is_none_is_none(said: object) -> None:
    assert moment(said) is None


@pytest.mark.parametrize("said", ["2026-11-23T08:00:00Z", "2026-11-23T08:00:00.123456Z", "2026-11-23T09:00:00+01:00"])
def test_a_time_stays_as_it_is_spelled(said: str) -> None:
    assert Condition(type="Ready", status="True", reason="x", last_transition_time=said).last_transition_time == said
    assert abs((moment(said) or dt.datetime.max.replace(tzinfo=dt.UTC)) - NOW) < dt.timedelta(seconds=1)


@pytest.mark.parametrize("said", NONE)
def test_a_status_in_which_a_hand_has_written_something_else_has_nothing_there(said: str) -> None:
    row = AddressStatus.model_validate(
        {
            "ip": "203.0.113.10",
            "lane": "mail/otp",
            "slot": "otp-0",
            "releasedAt": said,
            "verifiedAt": said,
            "quarantine": {"by": "gmail/listed", "since": said, "until": said},
        }
    )
    upgrade = {"phase": UpgradePhase.ROLLING, "slot": "otp-0", "since": said}
    status = LaneStatus.model_validate({"slots": [{"name": "otp-0", "waitingSince": said}], "upgrade": upgrade})

    assert (row.lane, row.released_at, row.verified_at) == ("mail/otp", None, None), "who holds it stays"
    assert row.quarantine == Quarantine(by="gmail/listed", since="")
    assert (status.slots[0].waiting_since, status.upgrade) == (None, None)
