"""`/v1/suppressions` over HTTP, against a list on a volume."""

import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import Suppression
from lane_relay.api import suppressions
from lane_relay.api.openapi import document
from lane_relay.api.operation import routes_of
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.errors import SpoolError
from lane_relay.feedback.exchange import written
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppression_store import SuppressionStore
from lane_relay.feedback.suppressions import Reason, Source
from tests.lane_relay.api.described import Described

KEY = b"s" * 32
PATH = "/v1/suppressions"
BY = "owner=jane&reason=they%20asked"
Client = TestClient[web.Request, web.Application]


class Records:
    """What was put on record, and whether it can be."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str, str]] = []
        self.broken = False

    async def keep(self, action: str, owner: str, reason: str) -> None:
        if self.broken:
            raise SpoolError("no space")
        self.kept.append((action, owner, reason))


DESCRIBED = Described(document(suppressions.operations(None, Records().keep)))


def opened(path: Path, *, max_entries: int = 1000, traffic_class: TrafficClass = TrafficClass.BULK) -> SuppressionList:
    config = Suppression(path=str(path), key_file="unused", max_entries=max_entries)
    return SuppressionList(config, traffic_class, KEY, SuppressionStore.open(path, max_entries), SYSTEM_CLOCK)


async def client_of(known: SuppressionList | None, records: Records | None = None) -> Client:
    application = web.Application()
    application.router.add_routes(routes_of(suppressions.operations(known, (records or Records()).keep)))
    client: Client = TestClient(TestServer(application))
    await client.start_server()
    return client


@pytest.fixture
async def known(tmp_path: Path) -> AsyncIterator[SuppressionList]:
    found = opened(tmp_path / "list")
    yield found
    await found.close()


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
async def client(known: SuppressionList, records: Records) -> AsyncIterator[Client]:
    made = await client_of(known, records)
    yield made
    await made.close()


async def read(client: Client, query: str) -> Any:
    async with client.get(PATH + query) as answer:
        said = json.loads(await answer.text())
        DESCRIBED.check("GET", PATH, answer.status, said)
        return answer.status, said


async def bring(client: Client, text: str | bytes) -> tuple[int, Any]:
    data = text.encode() if isinstance(text, str) else text
    async with client.post(f"{PATH}?{BY}", data=data) as answer:
        said = json.loads(await answer.text())
        DESCRIBED.check("POST", PATH, answer.status, said)
        return answer.status, said


async def test_addresses_are_brought_and_suppress_at_once(client: Client, known: SuppressionList) -> None:
    text = "address,reason,class\nAnn@Example.com,complaint,Bulk\r\nbob@example.com,hard-bounce,\n\n"
    assert await bring(client, text) == (200, {"read": 2, "added": 2, "known": 0, "refused": 0, "wrong": []})
    assert known.is_suppressed("ann@example.com", TrafficClass.BULK) == "complaint"
    assert known.is_suppressed("ann@example.com", TrafficClass.TRANSACTIONAL) == ""
    assert known.is_suppressed("bob@example.com", TrafficClass.TRANSACTIONAL) == "hard-bounce"
    assert known.is_suppressed("eve@example.com", TrafficClass.BULK) == ""


async def test_a_bad_line_is_told_with_its_number_and_costs_no_other(client: Client) -> None:
    text = (
        "address,reason,created\nann@example.com,manual,2026-11-28\nnobody,manual,\nbob@example.com,spite,\n"
        'eve@example.com,manual,yesterday\n"dan@example.com,manual,\njo@example.com,manual,,\nlast@example.com,manual,1700000000'
    )
    status, told = await bring(client, text)
    assert (status, told["read"], told["added"], told["refused"]) == (200, 7, 2, 5)
    assert [one["line"] for one in told["wrong"]] == [3, 4, 5, 6, 7]
    assert "spite" in told["wrong"][1]["why"]
    assert "hard-bounce" in told["wrong"][1]["why"]


@pytest.mark.parametrize("created", ["4294967295", "4294967294", "2099-01-01", "20990101"])
async def test_a_word_is_not_said_in_the_future(client: Client, known: SuppressionList, created: str) -> None:
    told = (await bring(client, f"address,created\nann@example.com,{created}\nbob@example.com,\n"))[1]
    assert (told["added"], told["refused"], [one["line"] for one in told["wrong"]]) == (1, 1, [2])
    assert told["wrong"][0]["why"].startswith(
        f"created: '{created}' is in the future: write when it was said, or leave"
    )
    assert not known.is_suppressed("ann@example.com", TrafficClass.BULK)


async def test_clocks_may_differ_by_a_day(client: Client, known: SuppressionList) -> None:
    told = (await bring(client, f"address,created\nann@example.com,{int(SYSTEM_CLOCK.now()) + 20 * 3600}\n"))[1]
    assert told["added"] == 1
    async with client.delete(f"{PATH}?address=ann@example.com&{BY}") as answer:
        assert (await answer.json())["lifted"] == 1
    assert not known.is_suppressed("ann@example.com", TrafficClass.BULK)


async def test_eight_digits_are_a_date(client: Client, known: SuppressionList) -> None:
    text = "address,created\nann@example.com,20201128\nbob@example.com,20201328\neve@example.com,99999999\n"
    told = (await bring(client, text))[1]
    assert [one["line"] for one in told["wrong"]] == [3, 4]
    assert "'20201328' is no time: write 2026-11-28" in told["wrong"][0]["why"]
    assert [written(word.created) for word in known.words_about("ann@example.com")] == ["2020-11-28T00:00:00Z"]


async def test_a_byte_order_mark_is_no_part_of_a_columns_name(client: Client, known: SuppressionList) -> None:
    for address, first in (("ann@example.com", "\ufeffaddress,reason"), ("bob@example.com", '\ufeff"address",reason')):
        assert (await bring(client, f"{first}\r\n{address},manual\r\n"))[1]["added"] == 1
        assert known.is_suppressed(address, TrafficClass.BULK)


async def test_a_line_that_is_no_utf_8_is_told_and_suppresses_nobody_else(
    client: Client, known: SuppressionList
) -> None:
    text = "address\nann@example.com\nmüller@example.com\nbob@example.com\n"
    told = (await bring(client, text.encode("latin-1")))[1]
    assert (told["read"], told["added"], told["refused"]) == (3, 2, 1)
    assert told["wrong"] == [{"line": 3, "why": "octet 2 (0xFC) is no UTF-8: save the file as UTF-8"}]
    assert known.rows == 2
    assert (await bring(client, text))[1]["added"] == 1
    assert known.is_suppressed("müller@example.com", TrafficClass.BULK)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
async def test_a_first_line_in_another_encoding_is_refused_with_the_fix(client: Client, encoding: str) -> None:
    status, told = await bring(client, "address,größe\nann@example.com,1\n".encode(encoding))
    assert (status, told["error"].startswith("line 1: ")) == (422, True)
    assert "save the file as UTF-8" in told["error"]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", "\r\r\n"])
async def test_lines_end_as_other_tools_end_them(client: Client, known: SuppressionList, end: str) -> None:
    addresses = [f"a{number}@example.com" for number in range(900)]
    told = (await bring(client, end.join(["address,reason", *(f"{one},manual" for one in addresses)])))[1]
    assert (told["read"], told["added"], told["refused"]) == (900, 900, 0)
    assert all(known.is_suppressed(one, TrafficClass.BULK) for one in addresses)


async def test_a_line_end_between_two_parts_of_the_body_is_one(client: Client) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"address\r"
        yield b"\nann@example.com\r"
        yield b"\nnobody\r"
        yield b"bob@example.com"

    async with client.post(f"{PATH}?{BY}", data=parts()) as answer:
        told = await answer.json()
    assert (told["read"], told["added"], [one["line"] for one in told["wrong"]]) == (3, 2, [3])


@pytest.mark.parametrize("end", ["\r", "\n"])
async def test_a_line_without_bounds_costs_no_other(client: Client, known: SuppressionList, end: str) -> None:
    long = "ü" * 200_001
    told = (await bring(client, f"address{end}{long}{end}ann@example.com{end}"))[1]
    assert (told["added"], told["wrong"]) == (1, [{"line": 2, "why": "the line is longer than 2000 characters"}])
    assert known.is_suppressed("ann@example.com", TrafficClass.BULK)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("address\0", "is no column"),
        ("", "neither address nor digest"),
        ("ann@example.com\n", "is no column"),
        ("reason\nmanual\n", "neither address nor digest"),
    ],
)
async def test_a_file_without_names_of_columns_is_refused_with_the_fix(client: Client, text: str, said: str) -> None:
    status, told = await bring(client, text)
    assert status == 422
    assert said in told["error"]
    assert "address" in told["error"]


async def test_an_export_has_no_address_and_another_list_with_the_key_takes_it_in_whole(
    client: Client, known: SuppressionList, tmp_path: Path
) -> None:
    await bring(client, "address,reason,expires\nann@example.com,complaint,\nbob@example.com,hard-bounce,2099-01-01\n")
    async with client.delete(f"{PATH}?address=ann@example.com&{BY}") as answer:
        assert await answer.json() == {"lifted": 1, "note": ""}
    async with client.get(f"{PATH}?format=csv") as answer:
        assert answer.content_type == "text/csv"
        text = await answer.text()
    assert "example.com" not in text
    assert len(list(csv.DictReader(text.splitlines()))) == 2
    other = opened(tmp_path / "other")
    second = await client_of(other)
    assert (await bring(second, text))[1]["added"] == 2
    again = (await bring(second, text))[1]
    assert (again["read"], again["added"], again["known"], again["refused"]) == (2, 0, 2, 0)
    async with second.get(f"{PATH}?format=csv") as answer:
        assert await answer.text() == text
    assert other.is_suppressed("bob@example.com", TrafficClass.BULK)
    assert not other.is_suppressed("ann@example.com", TrafficClass.BULK)
    await second.close()
    await other.close()


async def test_a_lift_of_what_never_was_says_that_there_is_none(client: Client) -> None:
    async with client.delete(f"{PATH}?address=nobody@example.com&{BY}") as answer:
        told = await answer.json()
    assert told["lifted"] == 0
    assert "no word of this list is about it" in told["note"]


async def test_what_is_lifted_counts_no_more_and_is_still_told(client: Client, known: SuppressionList) -> None:
    await bring(client, "address\nann@example.com\n")
    status, told = await read(client, "?address=ANN@example.com")
    assert (status, [entry["lifted"] for entry in told["entries"]]) == (200, [""])
    async with client.delete(f"{PATH}?digest={told['entries'][0]['digest']}&{BY}") as answer:
        assert await answer.json() == {"lifted": 1, "note": ""}
    assert known.is_suppressed("ann@example.com", TrafficClass.BULK) == ""
    assert [entry["lifted"] for entry in (await read(client, "?address=ann@example.com"))[1]["entries"]] == ["true"]


async def test_a_cursor_gives_what_came_later(client: Client) -> None:
    await bring(client, "address\nann@example.com\n")
    _, first = await read(client, "")
    assert len(first["entries"]) == 1
    await bring(client, "address\nbob@example.com\n")
    _, second = await read(client, f"?after={first['next']}")
    assert len(second["entries"]) == 1
    assert second["entries"] != first["entries"]
    assert (await read(client, f"?after={second['next']}"))[1]["entries"] == []


async def test_a_full_list_says_how_much_of_the_file_is_kept(tmp_path: Path) -> None:
    known = opened(tmp_path / "small", max_entries=2)
    client = await client_of(known)
    status, told = await bring(client, "address\n" + "".join(f"a{number}@example.com\n" for number in range(5)))
    assert status == 507
    assert "maxEntries" in told["error"]
    await client.close()
    await known.close()


@pytest.mark.parametrize("query", ["", "?address=nobody", "?digest=ff", "?digest=zz", "?adress=ann@example.com"])
async def test_lifting_asks_for_whom(client: Client, query: str) -> None:
    async with client.delete(f"{PATH}{query or '?'}&{BY}") as answer:
        assert answer.status == 422


@pytest.mark.parametrize("by", ["", "owner=jane", "reason=why", "owner=&reason=why"])
async def test_nobody_changes_the_list_without_a_name_and_a_reason(
    client: Client, known: SuppressionList, records: Records, by: str
) -> None:
    await bring(client, "address,reason\nann@example.com,complaint\n")
    records.kept.clear()
    async with client.delete(f"{PATH}?address=ann@example.com&{by}") as answer:
        assert (answer.status, "owner=jane" in (await answer.json())["error"]) == (422, True)
    async with client.post(f"{PATH}?{by}", data=b"address\nbob@example.com\n") as answer:
        assert (answer.status, "owner=jane" in (await answer.json())["error"]) == (422, True)
    assert known.is_suppressed("ann@example.com", TrafficClass.BULK)
    assert not known.is_suppressed("bob@example.com", TrafficClass.BULK)
    assert records.kept == []


async def test_who_takes_a_complaint_back_is_on_record_by_digest(
    client: Client, known: SuppressionList, records: Records
) -> None:
    await bring(client, "address,reason\nann@example.com,complaint\nbob@example.com,spite\n")
    async with client.delete(f"{PATH}?address=ann@example.com&{BY}") as answer:
        assert answer.status == 200
    digest = known.digests("ann@example.com", "")[0].hex()
    assert [said for said, _, _ in records.kept] == [
        "import of suppressions",
        "imported suppressions: 2 read, 1 added, 1 refused",
        f"lift of what is suppressed: {digest}",
    ]
    assert {(owner, reason) for _, owner, reason in records.kept} == {("jane", "they asked")}


async def test_what_cannot_be_put_on_record_is_not_done(
    client: Client, known: SuppressionList, records: Records
) -> None:
    await bring(client, "address\nann@example.com\n")
    records.broken = True
    async with client.delete(f"{PATH}?address=ann@example.com&{BY}") as answer:
        assert answer.status == 507
    assert (await bring(client, "address\nbob@example.com\n"))[0] == 507
    assert known.is_suppressed("ann@example.com", TrafficClass.BULK)
    assert not known.is_suppressed("bob@example.com", TrafficClass.BULK)


async def test_a_lane_without_a_list_says_so() -> None:
    client = await client_of(None)
    for method in ("GET", "POST", "DELETE"):
        query = {"GET": "", "POST": f"?{BY}", "DELETE": f"?address=ann@example.com&{BY}"}[method]
        async with client.request(method, PATH + query) as answer:
            assert answer.status == 404
            assert "suppression.path" in (await answer.json())["error"]
    await client.close()


async def ask(client: Client, method: str, path: str) -> tuple[int, Any]:
    async with client.request(method, path) as answer:
        said = json.loads(await answer.text())
        DESCRIBED.check(method, path.partition("?")[0], answer.status, said)
        return answer.status, said


async def bounced(known: SuppressionList, site: str, *addresses: str) -> None:
    words = [known.word(known.digest(one), Reason.HARD_BOUNCE, Source.DELIVERY, site=site) for one in addresses]
    await known.suppress([word for word in words if word is not None])


async def test_what_a_site_said_in_an_hour_is_taken_back_once_it_was_said_how_much_that_is(
    client: Client, known: SuppressionList, records: Records
) -> None:
    await bounced(known, "google", *[f"a{number}@gmail.test" for number in range(30)])
    await bounced(known, "outlook", "o@outlook.test")
    query = f"{PATH}?suppressedFor=hard-bounce&site=google&from=2020-12-15T20:00:00Z&to=2100-01-01&{BY}"
    assert await ask(client, "DELETE", query) == (200, {"found": 30, "lifted": 0, "dryRun": True})
    assert known.is_suppressed("a7@gmail.test", TrafficClass.BULK)
    assert records.kept == []
    assert await ask(client, "DELETE", query + "&dryRun=false") == (200, {"found": 30, "lifted": 30, "dryRun": False})
    assert not known.is_suppressed("a7@gmail.test", TrafficClass.BULK)
    assert known.is_suppressed("o@outlook.test", TrafficClass.BULK)
    meant = "hard-bounce at google from 2020-12-15T20:00:00Z to 2100-01-01T00:00:00Z"
    assert records.kept == [(f"lift of 30 words suppressed for {meant}", "jane", "they asked")]
    assert await ask(client, "DELETE", query + "&dryRun=false") == (200, {"found": 0, "lifted": 0, "dryRun": False})
    early = f"{PATH}?suppressedFor=hard-bounce&to=2020-12-15&{BY}"
    assert (await ask(client, "DELETE", early))[1]["found"] == 0


async def test_what_was_held_back_counts_once_somebody_says_so(
    client: Client, known: SuppressionList, records: Records
) -> None:
    await known.hold_back([known.digest("ann@gmail.test")], "google", Source.DELIVERY)
    await known.hold_back([known.digest("o@outlook.test")], "outlook", Source.DELIVERY)
    query = f"{suppressions.HELD_BACK}?site=google&{BY}"
    assert await ask(client, "POST", query) == (200, {"found": 1, "believed": 0, "dryRun": True})
    assert await ask(client, "POST", query + "&dryRun=false") == (200, {"found": 1, "believed": 1, "dryRun": False})
    assert known.is_suppressed("ann@gmail.test", TrafficClass.TRANSACTIONAL) == "hard-bounce"
    assert not known.is_suppressed("o@outlook.test", TrafficClass.BULK)
    assert records.kept == [("1 words count that were held-back at google", "jane", "they asked")]


@pytest.mark.parametrize(
    ("query", "fix"),
    [
        ("suppressedFor=spite", "hard-bounce"),
        ("suppressedFor=complaint&site=google", "held-back"),
        ("suppressedFor=hard-bounce&address=ann@example.com", "one of address"),
        ("suppressedFor=hard-bounce&from=yesterday", "2026-11-28"),
        ("suppressedFor=hard-bounce&dryRun=no", "dryRun"),
        ("address=ann@example.com&dryRun=true", "suppressedFor"),
        ("site=google", "suppressedFor"),
    ],
)
async def test_a_choice_that_is_none_is_refused_with_the_fix(client: Client, query: str, fix: str) -> None:
    status, said = await ask(client, "DELETE", f"{PATH}?{query}&{BY}")
    assert status == 422
    assert fix in said["error"]
