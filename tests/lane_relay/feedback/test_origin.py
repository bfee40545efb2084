"""Who sent a message that a report is about, as the journal knows it."""

import json
import tracemalloc
from pathlib import Path
from typing import IO, Any

import pytest

from lane_relay.feedback.origin import find_origin, find_site
from lane_relay.mail.token import SEVERAL
from lane_relay.records import FOREIGN

MS = 1_790_000_000_000


def number(count: int) -> int:
    return (MS << 48) + count


def record(kind: str, count: int, **fields: object) -> bytes:
    head = {"type": kind, "id": f"{number(count):024x}", "timestamp": MS // 1000}
    return json.dumps(head | fields, separators=(",", ":")).encode() + b"\n"


def journal(folder: Path, *files: bytes) -> Path:
    for first, content in enumerate(files):
        (folder / f"records-{first:016d}.jsonl").write_bytes(content)
    return folder


def test_the_sender_is_found_wherever_in_a_file_the_reception_stands(tmp_path: Path) -> None:
    lines = [record("Reception", count, sender=f"{count}@a.test", recipient="b@c.test") for count in range(5000)]
    folder = journal(tmp_path, b"".join(lines))
    for count in (*range(0, 5000, 97), 4999):
        origin = find_origin(folder, number(count))
        assert origin is not None
        assert origin.sender == f"{count}@a.test"
    assert find_origin(folder, number(5000)) is None


def test_what_was_asked_for_is_known_of_each_recipient(tmp_path: Path) -> None:
    meta = {"envid": "Q+3D1", "notify": "NEVER - SUCCESS,FAILURE", "orcpt": "- rfc822;b+2B1@x.test -"}
    line = record("Reception", 1, recipient=["a@c.test", "b@c.test", "c@c.test"], meta=meta)
    folder = journal(tmp_path, line + record("Reception", 2, recipient="a@c.test"))
    origin, plain = find_origin(folder, number(1)), find_origin(folder, number(2))
    assert origin is not None
    assert plain is not None
    assert (origin.envid, plain.envid) == ("Q+3D1", "")
    assert [origin.wants_failures(index) for index in (0, 1, 2, SEVERAL)] == [False, True, True, True]
    assert [origin.original_at(index) for index in (0, 1, 2, SEVERAL)] == ["", "rfc822;b+2B1@x.test", "", ""]
    assert [(plain.wants_failures(index), plain.original_at(index)) for index in (0, 1)] == [(True, "")] * 2


def test_the_site_is_that_of_the_delivery_whatever_else_is_on_record(tmp_path: Path) -> None:
    first = record("Reception", 1, sender="a@a.test") + record("TransientFailure", 1, site="wrong")
    folder = journal(tmp_path, first, record("Delivery", 2, site="other") + record("Delivery", 1, site="google"))
    assert find_site(folder, number(1)) == "google"
    assert find_site(folder, number(3)) == ""


def test_a_line_that_is_being_written_is_no_record_yet(tmp_path: Path) -> None:
    assert find_origin(journal(tmp_path, record("Reception", 1, sender="a@a.test")[:-9]), number(1)) is None


def test_a_file_is_searched_in_small_pieces_between_which_other_threads_have_their_turns(tmp_path: Path) -> None:
    line = record("Reception", 1, sender="a@a.test", padding="x" * 300)
    folder = journal(tmp_path, line * (24 * 2**20 // len(line)))
    tracemalloc.start()
    try:
        assert find_origin(folder, number(2)) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20  # one step holds the lock for as long as its piece is


def test_mail_that_a_sibling_handed_over_long_after_it_was_accepted_is_found(tmp_path: Path) -> None:
    later = {"timestamp": MS // 1000 + 3600}
    taken = number(1) | FOREIGN
    reception = record("Reception", 2, sender="x@a.test", **later)
    theirs = reception.replace(f"{number(2):024x}".encode(), f"{taken:024x}".encode())
    delivery = theirs.replace(b'"Reception"', b'"Delivery"').replace(b"}", b',"site":"google"}')
    folder = journal(tmp_path, record("Reception", 3, sender="a@a.test"), reception, theirs + delivery)
    origin = find_origin(folder, taken)
    assert origin is not None
    assert origin.sender == "x@a.test"
    assert find_site(folder, taken) == "google"


def test_mail_that_another_slot_accepted_is_not_looked_for_in_all_later_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = {"timestamp": MS // 1000 + 3600}
    files = [record("Reception", 3, sender="a@a.test"), *[record("Delivery", 4, site="x", **later)] * 20]
    folder = journal(tmp_path, *files)
    looked: set[Path] = set()
    real = Path.open

    def look(path: Path, mode: str = "r") -> IO[Any]:
        looked.add(path)
        return real(path, mode)

    monkeypatch.setattr(Path, "open", look)
    assert find_site(folder, number(9)) == ""
    assert 1 <= len(looked) <= 2
