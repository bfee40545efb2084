"""DNSMatches and status.domains[].records: what is told of the records that mail is judged by."""

from typing import Any

import pytest

from lane_api.lane_status import LaneStatus
from lane_operator.seen import RecordSeen
from lane_operator.slot_answers import slot_answer
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import found, message, status, verdict

KIND, DOMAIN, BACK = "DNSMatches", "notify.example.com", "b.notify.example.com"
PATH: dict[str, Any] = {
    "domains": [{"name": DOMAIN, "returnPath": {"domain": BACK}}],
    "feedback": {"service": {"hostname": "in.example.com"}},
}
DMARC = RecordSeen("DMARC", f"_dmarc.{DOMAIN}", "Right", "has a policy", "v=DMARC1; p=none")
NO_DMARC = RecordSeen("DMARC", f"_dmarc.{DOMAIN}", "Absent", f"{DOMAIN} has no DMARC record")
MX = RecordSeen("MX", BACK, "Right", "so", "10 in.example.com")
SPF = RecordSeen("SPF", BACK, "Right", "so", "v=spf1 ip4:203.0.113.0/24 -all")
FAILS = RecordSeen("SPF", BACK, "Other", "for 203.0.113.11 SPF comes to fail", "v=spf1 ip4:203.0.113.10 -all")
SILENT = RecordSeen("MX", BACK, "Unanswered", f"DNS does not answer for MX {BACK} (timeout)")


def told(*slots: tuple[RecordSeen, ...]) -> LaneStatus:
    seen = (made.seen(n, domains_records={DOMAIN: records} if records else {}) for n, records in enumerate(slots))
    return status(made.lane(**PATH), made.observation(*seen))


def test_records_that_are_right_are_told_as_they_are_found() -> None:
    said = told((DMARC, MX, SPF), (DMARC, MX, SPF))
    assert verdict(said, KIND) == ("True", "AllMatch")
    rows = [(one.purpose.value, one.type, one.name, one.found, one.ok) for one in said.domains[0].records]
    assert rows == [
        ("SPF", "TXT", BACK, SPF.found, True),
        ("MX", "MX", BACK, MX.found, True),
        ("DMARC", "TXT", f"_dmarc.{DOMAIN}", DMARC.found, True),
    ]


@pytest.mark.parametrize(
    ("slots", "expected", "text"),
    [
        (((DMARC, MX, SPF), (NO_DMARC, MX, FAILS)), ("False", "SPFWrong"), "for 203.0.113.11 SPF comes to fail, as"),
        (((NO_DMARC, MX, SPF),), ("False", "DMARCWrong"), f"publish TXT _dmarc.{DOMAIN} = v=DMARC1; p=none. Gmail"),
        (((NO_DMARC, SILENT),), ("False", "DMARCWrong"), "has no DMARC record"),
        (((DMARC, SILENT, SPF),), ("Unknown", "DNSUnreachable"), "(timeout). Let the slots reach"),
    ],
)
def test_the_worst_is_the_reason_and_its_fix_is_named(
    slots: tuple[tuple[RecordSeen, ...], ...], expected: tuple[str, str], text: str
) -> None:
    said = told(*slots)
    assert verdict(said, KIND) == expected
    assert text in message(said, KIND)


def test_no_mail_waits_for_them_and_nothing_is_said_before_a_slot_has_looked() -> None:
    assert verdict(told((NO_DMARC, MX, FAILS), ()), "Ready") == verdict(told((), ()), "Ready")
    assert (found(told((), ()), KIND), told((), ()).domains[0].records) == (None, ())


def test_what_a_slot_said_that_does_not_answer_any_more_is_no_alarm_where_others_look() -> None:
    lost = made.seen(1, reachable=False, domains_records={DOMAIN: (DMARC, MX, FAILS)})
    looks = made.seen(0, domains_records={DOMAIN: (DMARC, MX, SPF)})
    assert verdict(status(made.lane(**PATH), made.observation(looks, lost)), KIND) == ("True", "AllMatch")
    assert verdict(status(made.lane(**PATH), made.observation(made.seen(0), lost)), KIND) == ("False", "SPFWrong")


def test_they_are_read_from_the_slots_report_and_an_older_image_tells_none() -> None:
    domain = {"name": DOMAIN, "published": True}
    answer: dict[str, Any] = {
        "generation": 3, "spoolId": "s", "delivery": {"state": "Running"},
        "queue": {"live": 0, "inFlight": 0}, "intake": {"state": "Open", "sessions": 0},
    }  # fmt: skip
    row = {"purpose": "MX", "name": BACK, "finding": "Right", "message": "so", "found": "10 in.example.com", "at": None}
    said = slot_answer("otp-0", {**answer, "domains": [{**domain, "records": [row]}]})
    assert said.domains_records == {DOMAIN: (MX,)}
    assert slot_answer("otp-0", {**answer, "domains": [domain]}).domains_records == {DOMAIN: ()}
    long = {**row, "found": "x" * 9999, "message": "y" * 9999}
    many = slot_answer("otp-0", {**answer, "domains": [{**domain, "records": [long] * 99}]}).domains_records[DOMAIN]
    assert (len(many), len(many[0].found), len(many[0].message)) == (8, 256, 1024)
