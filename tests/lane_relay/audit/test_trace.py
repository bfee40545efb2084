"""A message's whole life is found by any of its names, in folders and archives, whatever is sealed or dropped."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lane_relay.account.journal import Journal
from lane_relay.audit.archive import Archiver
from lane_relay.audit.chain import head_name
from lane_relay.audit.evidence import DirectoryStore
from lane_relay.audit.head import HeadKey, HeadKind, parse
from lane_relay.audit.recipients import digest
from lane_relay.audit.segment import Index, index_name, load_index, segment_name, summarise
from lane_relay.audit.trace import MOST_MESSAGES, Wanted, as_table, trace
from tests.lane_relay.audit.making import NOON, Time, command, open_journal, records_config, seal_all

NOON_MS = int(NOON * 1000)


def spool_id(number: int) -> str:
    """As accepted at noon, each a millisecond after the other."""
    return f"{(NOON_MS + number) << 48 | number:024x}"


def life(number: int, recipient: str = "", **fields: object) -> list[bytes]:
    """Reception, one refusal, delivery."""
    recipient = recipient or f"user{number}@isp.test"
    told: dict[str, Any] = {
        "id": spool_id(number),
        "sender": "otp@brand.test",
        "recipient": recipient,
        "message_id": f"<{number}@brand.test>",
        "correlation_id": f"order-{number}",
        "lane": "mail/otp",
        "slot": "otp-0",
    }
    response = {"code": 250, "content": "queued as 4XyZ"}
    peer = {"name": "mx1.isp.test", "addr": "198.51.100.7"}
    source = {"address": "203.0.113.10"}
    deferred = {"code": 451, "enhanced_code": {"class": 4, "subject": 7, "detail": 28}, "content": "try later"}
    events = [
        {"type": "Reception", "timestamp": NOON + number},
        {"type": "TransientFailure", "timestamp": NOON + number + 1, "response": deferred, "peer_address": peer},
        {
            "type": "Delivery",
            "timestamp": NOON + number + 2,
            "response": response,
            "peer_address": peer,
            "source_address": source,
        },
    ]
    return [json.dumps(told | event | fields, separators=(",", ":")).encode() for event in events]


def write(journal: Journal, records: list[bytes]) -> None:
    for record in records:
        assert journal.append(journal.last_seq + 1, [record])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 messages in many small segments; the last ones are not sealed."""
    journal, _ = open_journal(tmp_path / "records", Time())
    for number in range(30):
        write(journal, life(number))
        if number == 25:
            seal_all(journal)
    journal.sync()
    return tmp_path / "records"


def types(found: list[dict[str, Any]]) -> list[str]:
    return [record["type"] for record in found]


WHOLE = ["Reception", "TransientFailure", "Delivery"]


@pytest.mark.parametrize("number", [0, 13, 25, 29])
@pytest.mark.parametrize("name", ["<{0}@brand.test>", "order-{0}", "{1}"])
def test_every_name_of_a_message_finds_its_whole_life(folder: Path, number: int, name: str) -> None:
    found = trace(DirectoryStore(folder), Wanted(name.format(number, spool_id(number))))
    assert types(found) == WHOLE
    assert {record["id"] for record in found} == {spool_id(number)}


def test_a_message_id_is_found_without_its_brackets_as_mail_programs_show_it(folder: Path) -> None:
    with_brackets = trace(DirectoryStore(folder), Wanted("<3@brand.test>"))
    assert with_brackets
    assert trace(DirectoryStore(folder), Wanted("3@brand.test")) == with_brackets
    assert trace(DirectoryStore(folder), Wanted("4711@brand.test")) == []


def test_a_recipient_finds_it_as_well_and_nobody_elses(folder: Path) -> None:
    assert types(trace(DirectoryStore(folder), Wanted(recipients=("user7@isp.test",)))) == WHOLE
    assert trace(DirectoryStore(folder), Wanted(recipients=("ser7@isp.test",))) == []
    assert trace(DirectoryStore(folder), Wanted("order-7", ("user8@isp.test",))) == []
    assert types(trace(DirectoryStore(folder), Wanted("order-7", ("user7@isp.test",)))) == WHOLE


def test_of_a_message_for_many_one_recipient_may_be_asked_for(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, Time())
    both = ["ann@isp.test", "bob@isp.test"]
    reception = life(1)[0].replace(b'"recipient":"user1@isp.test"', b'"recipient":%b' % json.dumps(both).encode())
    write(journal, [reception, life(1, "ann@isp.test")[2], life(1, "bob@isp.test")[1]])
    seal_all(journal)
    store = DirectoryStore(tmp_path)
    assert types(trace(store, Wanted("order-1"))) == ["Reception", "TransientFailure", "Delivery"]
    assert types(trace(store, Wanted("order-1", ("ann@isp.test",)))) == ["Reception", "Delivery"]
    assert types(trace(store, Wanted(recipients=("bob@isp.test",)))) == ["Reception", "TransientFailure", "Delivery"]


def test_names_that_json_writes_otherwise_are_found(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, Time())
    odd = 'order "7"\\ü'
    journal.append(1, [msgspec.json.encode({"type": "Delivery", "id": spool_id(1), "correlation_id": odd})])
    seal_all(journal)
    assert types(trace(DirectoryStore(tmp_path), Wanted(odd))) == ["Delivery"]


def test_what_belongs_to_no_message_is_found_by_its_recipient(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, Time())
    journal.append(1, [b'{"type":"Rejection","timestamp":1.0,"recipient":"ann@isp.test"}'])
    assert types(trace(DirectoryStore(tmp_path), Wanted(recipients=("ann@isp.test",)))) == ["Rejection"]


def test_a_recipient_of_thousands_gets_the_newest(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, Time(), config=records_config(tmp_path, max_size=2**24))
    for number in range(MOST_MESSAGES + 20):
        write(journal, life(number, "ann@isp.test"))
    found = trace(DirectoryStore(tmp_path), Wanted(recipients=("ann@isp.test",)))
    ids = {record["id"] for record in found}
    assert spool_id(MOST_MESSAGES + 19) in ids
    assert spool_id(0) not in ids
    assert len(ids) == MOST_MESSAGES


@pytest.mark.parametrize("content", [b"\x80", Index(b"", ()).encode(), Index(b"abc", ()).encode()])
def test_an_index_that_is_another_or_missing_costs_no_answer(folder: Path, content: bytes) -> None:
    indexes = sorted(folder.glob("*.idx"))
    assert len(indexes) > 5
    for at, path in enumerate(indexes):
        if at % 2:
            path.write_bytes(content)
        else:
            path.unlink()
    for name in ("order-13", "<13@brand.test>", spool_id(13)):
        assert types(trace(DirectoryStore(folder), Wanted(name))) == WHOLE


def test_an_index_that_a_head_names_and_that_is_none_costs_no_answer(folder: Path) -> None:
    """Whoever writes the index may write the head too: `verify` speaks of that, and trace goes on."""
    for path in sorted(folder.glob("head-*.json")):
        head = parse(path.read_bytes()).head
        if head.kind is HeadKind.SEGMENT:
            content = Index(b"abc", ()).encode()
            (folder / index_name(head.first_seq)).write_bytes(content)
            digest_of = hashlib.sha256(content).hexdigest()
            path.write_bytes(HeadKey(None).sign(msgspec.structs.replace(head, index_sha256=digest_of)).line())
    assert types(trace(DirectoryStore(folder), Wanted("order-13"))) == WHOLE


def test_a_file_in_numbers_that_are_sealed_is_left_out_also_where_a_journal_begins_after_them(tmp_path: Path) -> None:
    journal, chain = open_journal(tmp_path, Time())
    write(journal, life(1))
    seal_all(journal)
    assert chain.last is not None
    later = msgspec.structs.replace(
        chain.last.head, kind=HeadKind.BEGIN, number=chain.last_number + 1, first_seq=journal.last_seq + 1, last_seq=0
    )
    (tmp_path / head_name(later.number)).write_bytes(HeadKey(None).sign(later).line())
    (tmp_path / segment_name(2)).write_bytes(b'{"seq":2,%b\n' % life(2)[2][1:])
    (tmp_path / segment_name(later.first_seq)).write_bytes(b'{"seq":4,%b\n' % life(3)[0][1:])
    store = DirectoryStore(tmp_path)
    assert [types(trace(store, Wanted(f"order-{number}"))) for number in (1, 2, 3)] == [WHOLE, [], ["Reception"]]


def test_an_index_never_hides_what_its_segment_holds(folder: Path) -> None:
    seen = 0
    for path in folder.glob("head-*.json"):
        head = parse(path.read_bytes()).head
        if head.kind is not HeadKind.SEGMENT:
            continue
        index = load_index((folder / index_name(head.first_seq)).read_bytes(), head.index_sha256)
        assert index is not None
        for line in (folder / segment_name(head.first_seq)).read_bytes().splitlines():
            told = json.loads(line)
            assert all(index.may_hold(told[key]) for key in ("id", "message_id", "correlation_id", "recipient"))
            seen += 1
    assert seen > 50


def test_an_index_rules_nearly_everything_else_out() -> None:
    content = b"".join(b'{"seq":%d,"id":"%b"}\n' % (number, spool_id(number).encode()) for number in range(1, 5000))
    index: Index = summarise(lambda at, most: content[at : at + most], 1).index
    assert sum(index.may_hold(spool_id(number)) for number in range(10_000, 20_000)) <= 2


async def test_an_archive_answers_for_what_the_slot_has_not_any_more(tmp_path: Path) -> None:
    time = Time()
    config = records_config(tmp_path / "records", archive={"path": str(tmp_path / "archive")})
    journal, chain = open_journal(tmp_path / "records", time, config=config)
    archiver = Archiver(chain, tmp_path / "records", journal, time.clock, lambda: 0.5)
    archiver.apply(config.archive)
    for number in range(200):
        write(journal, life(number))
        if number % 10 == 9:
            seal_all(journal)
            assert await archiver.ship()
    assert chain.dropped_seq > 30
    assert trace(DirectoryStore(tmp_path / "records"), Wanted("order-3")) == []
    for name in ("order-3", "<3@brand.test>", spool_id(3), "order-199", spool_id(199)):
        assert types(trace(DirectoryStore(tmp_path / "archive"), Wanted(name))) == WHOLE, name


def test_people_read_a_table(folder: Path) -> None:
    assert as_table(trace(DirectoryStore(folder), Wanted("order-13"))) == (
        f"{spool_id(13)}  <13@brand.test>  order-13  mail/otp otp-0\n"
        "  2027-01-15 12:00:13.000  Reception         user13@isp.test\n"
        "  2027-01-15 12:00:14.000  TransientFailure  user13@isp.test  451 4.7.28 try later; from mx1.isp.test\n"
        "  2027-01-15 12:00:15.000  Delivery          user13@isp.test  250 queued as 4XyZ; 203.0.113.10 -> mx1.isp.test"
    )


def test_the_command_prints_it_for_people_and_for_programs(folder: Path, tmp_path: Path) -> None:
    shown = command("trace", "order-13", "--in", folder)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert len(shown.stdout.splitlines()) == 4
    lines = command("trace", "order-13", "--in", folder, "--json").stdout.splitlines()
    assert types([json.loads(line) for line in lines]) == WHOLE

    absent = command("trace", "order-99", "--in", folder)
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "no record of order-99" in absent.stderr


def test_hashed_recipients_are_found_with_the_key_alone(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path / "records", Time())
    key = b"0123456789abcdef"
    write(journal, life(1, digest(key, "Ann@isp.test")))
    (tmp_path / "key").write_bytes(key)
    assert command("trace", "--recipient", "ann@isp.test", "--in", tmp_path / "records").returncode == 1
    done = command(
        "trace",
        "--recipient",
        "ann@isp.test",
        "--recipients-key",
        tmp_path / "key",
        "--in",
        tmp_path / "records",
        "--json",
    )
    assert types([json.loads(line) for line in done.stdout.splitlines()]) == WHOLE
