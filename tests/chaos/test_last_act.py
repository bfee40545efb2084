"""What a killed relay did last is read from its log and from what the ISPs heard."""

from pathlib import Path

import pytest

from lane_relay.spool.format import Kind
from tests.chaos.last_act import LastWrite, last_act, last_write, spread
from tests.chaos.test_judge import SOURCE, message
from tests.lane_relay.handover.slots import Slot, stored
from tests.lane_relay.spool.making import message_for, record_of


@pytest.mark.parametrize(
    ("written_at", "journalled_at", "kind", "said_at", "act"),
    [
        (9.9, 9.7, Kind.MESSAGE, 9.95, "commit"),
        (9.9, 9.9, Kind.SETTLED, 9.8, "commit"),
        (9.9, 9.91, Kind.MESSAGE, 9.95, "send"),
        (9.9, 9.91, Kind.MESSAGE, 9.8, "accept"),
        (9.9, 9.91, Kind.SETTLED, 9.8, "settle"),
        (9.9, 9.91, Kind.DEFERRED, 0.0, "settle"),
    ],
)
def test_the_last_of_writing_syncing_and_hearing_from_an_isp_is_what_it_did(
    written_at: float, journalled_at: float, kind: int, said_at: float, act: str
) -> None:
    assert last_act(LastWrite(SOURCE, 10.0, written_at, journalled_at, kind), said_at) == act


def test_only_what_this_slot_heard_before_its_kill_counts() -> None:
    writes = [
        LastWrite(SOURCE, 10.0, 9.9, 9.91, Kind.MESSAGE),
        LastWrite("198.51.100.2", 10.0, 9.9, 9.91, Kind.SETTLED),
    ]
    assert spread(writes, [message(10.2)]) == {"accept": 1, "commit": 0, "send": 0, "settle": 1}
    assert spread(writes, [message(9.95)]) == {"accept": 0, "commit": 0, "send": 1, "settle": 1}


async def test_the_end_of_a_log_is_mail_that_came_in_until_it_is_settled(tmp_path: Path) -> None:
    slot = Slot("a")
    (tmp_path / "spool").mkdir()
    assert last_write(tmp_path, SOURCE, 10.0).kind == 0
    (entry,) = await stored(slot, message_for(slot.spool))
    assert _end_of(slot, tmp_path).kind == Kind.MESSAGE
    slot.spool.settle(entry, entry.recipients, (record_of("Delivery", entry.id),))
    await slot.spool.flush()
    found = _end_of(slot, tmp_path)
    assert (found.kind, found.written_at > 0) == (Kind.SETTLED, True)
    await slot.spool.close()


def _end_of(slot: Slot, folder: Path) -> LastWrite:
    """Of its simulated disk, laid on a real one."""
    for name, content in slot.disk.image().items():
        if name.endswith(".seg"):
            (folder / "spool" / Path(name).name).write_bytes(content)
    return last_write(folder, SOURCE, 10.0)
