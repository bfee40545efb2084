"""Who may still write where room runs out."""

from lane_relay.spool.files import Volume
from lane_relay.spool.room import for_intake, has_room_again, reserve_size, segment_limit, spare

MIB = 2**20


def test_clients_stop_first_and_reports_leave_room_for_a_segments_copy() -> None:
    volume = Volume(64 * MIB, 4 * MIB)
    assert spare(volume, 2**40, client=True) == 0
    assert spare(volume, 2**40, client=False) == 2 * MIB >= segment_limit(32 * MIB, 2**40, volume)
    assert spare(volume, 16 * MIB, client=True) == 3 * MIB, "of a volume that is larger, the budget is what counts"
    assert for_intake(16 * MIB) == 15 * MIB


def test_intake_that_has_ended_goes_on_with_room_to_spare() -> None:
    assert not has_room_again(Volume(64 * MIB, 5 * MIB), 2**40)
    assert has_room_again(Volume(64 * MIB, 6 * MIB + 1), 2**40)


def test_a_small_volume_has_a_small_reserve_and_small_segments() -> None:
    assert reserve_size(2**40, Volume(2**40, 0)) == 4 * MIB
    assert reserve_size(2**40, Volume(16 * MIB, 0)) == MIB
    assert segment_limit(32 * MIB, 2**40, Volume(MIB, 0)) == 2**16
    assert segment_limit(32 * MIB, 2**40, Volume(2**40, 0)) == 32 * MIB
