"""What the log's loop side says to its committer, and when."""

from pathlib import Path

from lane_relay.spool.files import POSIX_FILES
from tests.lane_relay.spool.making import message_for, open_spool, reception_of

MESSAGES = 3000


async def test_what_is_put_in_one_turn_of_the_loop_is_one_commit(tmp_path: Path) -> None:
    spool = open_spool(POSIX_FILES, spool=tmp_path / "spool", records=tmp_path / "records")
    stored: list[int] = []
    for _ in range(MESSAGES):  # long enough that a thread which was woken at the first would have begun
        message = message_for(spool)
        spool.put(message, reception_of(message), lambda location, _error: stored.append(location))
    await spool.flush()
    assert (len(stored), spool.state.commits) == (MESSAGES, 1)
    await spool.close()
