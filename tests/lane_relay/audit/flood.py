"""Fills a small real volume with records alone, then with mail: run in a mount namespace by test_small_volume.py.

The archive is configured and never takes anything, so that nothing goes by retention, only by the budget.
"""

import asyncio
import sys
from pathlib import Path

from lane_api.relayconfig import Records
from lane_api.relayconfig import Spool as SpoolConfig
from lane_relay.account.journal import Journal
from lane_relay.audit.auditor import Auditor
from lane_relay.audit.chain import Chain
from lane_relay.audit.evidence import DirectoryStore, journals
from lane_relay.audit.head import HeadKey
from lane_relay.audit.verify import verify
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.errors import SpoolFullError
from lane_relay.spool.files import POSIX_FILES
from lane_relay.spool.log import SegmentSpool
from lane_relay.supervisor import Supervisor
from tests.lane_relay.audit.making import KEY, PUBLIC
from tests.lane_relay.spool.making import message_for, put, until

SPOOL_BUDGET, RECORDS_BUDGET = 20 * 2**20, 12 * 2**20
BODY = b"x" * 50_000
REJECTION = b'{"type":"Rejection","pad":"' + b"x" * 600 + b'"}'


async def main(volume: Path) -> None:
    config = Records.model_validate(
        {"path": str(volume / "records"), "max_size": RECORDS_BUDGET, "archive": {"path": "/proc/nowhere"}}
    )
    chain = Chain.open(POSIX_FILES, volume / "records", "mail/otp", "otp-0", HeadKey(KEY), SYSTEM_CLOCK)
    journal = Journal.open(config, SYSTEM_CLOCK, POSIX_FILES, chain)
    auditor = Auditor(journal, chain, SYSTEM_CLOCK, lambda: 0.5, lambda: False, Supervisor(lambda: 0.5))
    auditor.apply(config)
    spool = SegmentSpool.open(
        SpoolConfig(path=str(volume / "spool"), max_size=SPOOL_BUDGET),
        journal,
        SYSTEM_CLOCK,
        asyncio.get_running_loop(),
        segment_size=2**20,
        active_bytes=2**20,
        tidy_every=0.01,
    )
    house = asyncio.ensure_future(auditor.run())
    for _ in range(60):  # 60 times 1,000 rejections of 630 bytes: more than three budgets, nothing else
        spool.record([REJECTION] * 1000)
        await spool.flush()
        # a batch is 0.6 MB in milliseconds, faster than any client is refused: a tidier may lag behind
        await until(lambda: spool.state.disk_bytes < SPOOL_BUDGET // 2)
        await put(spool, message_for(spool, body=b"a message among them"))
        assert journal.disk_bytes <= RECORDS_BUDGET + 2**20
    await until(lambda: spool.state.disk_bytes < 4 * 2**20)  # what the log held of records is given back
    kept = 0
    try:
        while True:
            await put(spool, message_for(spool, body=BODY))
            kept += len(BODY)
    except SpoolFullError:
        assert not spool.state.failed
    assert kept > SPOOL_BUDGET * 0.8, kept
    house.cancel()
    await spool.close()
    await auditor.close()
    (files,) = journals(DirectoryStore(volume / "records").names())
    report = verify(DirectoryStore(volume / "records"), files, [PUBLIC])
    assert report.findings == [], report.findings
    assert chain.dropped["Budget"] == chain.unarchived > 20_000
    print(f"mail took {kept} bytes beside {journal.disk_bytes} of records")  # what the test reads


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
