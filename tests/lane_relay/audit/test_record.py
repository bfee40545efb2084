"""What was put among the records by somebody else is no record, and keeps none of ours from being found."""

import json
from pathlib import Path
from typing import Any

import pytest

from lane_relay.audit.evidence import DirectoryStore
from lane_relay.audit.record import read_record
from lane_relay.audit.trace import Wanted, as_table, trace
from lane_relay.audit.unsettled import unsettled
from tests.lane_relay.audit.test_trace import life, spool_id


def _foreign(**fields: Any) -> bytes:
    """A record of ours in which something has another type."""
    return json.dumps({"seq": 1} | json.loads(life(1)[0]) | fields, separators=(",", ":")).encode()


FOREIGN = [
    _foreign(seq="first"),
    _foreign(seq=None),
    _foreign(timestamp="noon"),
    _foreign(timestamp=1e300),
    _foreign(created=-1e300),
    _foreign(id="somebody"),
    _foreign(id=["somebody"]),
    _foreign(recipient=5),
    _foreign(recipient=[["ann@isp.test"]]),
    _foreign(response=["250"]),
    _foreign(response={"code": {}}),
    _foreign(peer_address="mx"),
    _foreign(message_id=5),
    _foreign(meta=["origin"]),
    _foreign(reception_protocol="HandOver", meta={"origin": ["none"]}),
    _foreign()[:-1] + b',"meta":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    _foreign()[:-2],
    b'{"seq":1}\xff',
]


@pytest.mark.parametrize("line", FOREIGN, ids=range(len(FOREIGN)))
def test_what_has_other_types_is_no_record_and_hides_none(tmp_path: Path, line: bytes) -> None:
    assert read_record(line) is None
    ours = b'{"seq":2,' + life(1)[0][1:]
    (tmp_path / "records-0000000000000001.jsonl").write_bytes(line + b"\n" + ours + b"\n")
    store = DirectoryStore(tmp_path)
    found = trace(store, Wanted("order-1"))
    assert [one["seq"] for one in found] == [2]
    assert "Reception" in as_table(found)
    assert [one.id for one in unsettled(store).messages] == [spool_id(1)]
