"""What DNS is to say of a domain's mail beside its keys, held against what slots found."""

import pytest

from lane_api.dnsrecords import RecordPurpose
from lane_operator.deliverability.dns import Needs, Verdict, spf_text, verdicts
from lane_operator.seen import RecordSeen

DOMAIN, BACK, HOST = "notify.example.com", "b.notify.example.com", "in.example.com"
SOURCES = ("203.0.113.10", "203.0.113.11", "2001:db8::10")
NEEDS = Needs(DOMAIN, BACK, HOST, SOURCES)
SPF = "v=spf1 ip4:203.0.113.10 -all"


def record(purpose: str, finding: str = "Right", name: str = BACK, found: str = "", message: str = "so") -> RecordSeen:
    return RecordSeen(purpose, name, finding, message, found)


def judged(*slots: tuple[RecordSeen, ...], needs: Needs = NEEDS) -> dict[str, Verdict]:
    return {one.purpose.value: one for one in verdicts(needs, {f"otp-{n}": said for n, said in enumerate(slots)})}


def test_what_is_right_is_told_without_a_word_on_what_to_publish() -> None:
    found = judged(
        (record("SPF", found=SPF), record("MX", found=f"10 {HOST}"), record("DMARC", name=f"_dmarc.{DOMAIN}"))
    )
    assert [(one.purpose, one.ok, one.wanted) for one in found.values()] == [
        ("SPF", True, ""),
        ("MX", True, ""),
        ("DMARC", True, ""),
    ]
    assert (found["SPF"].found, found["MX"].purpose.record_type) == (SPF, "MX")


def test_a_slot_whose_address_spf_does_not_name_is_enough_and_the_record_names_all() -> None:
    fails = record("SPF", "Other", found=SPF, message="for 203.0.113.11 SPF comes to fail")
    spf = judged((record("SPF", found=SPF),), (fails,), (fails,))["SPF"]
    assert (spf.ok, spf.found, spf.message) == (False, SPF, "for 203.0.113.11 SPF comes to fail")
    assert spf.wanted == "v=spf1 ip4:203.0.113.10 ip4:203.0.113.11 ip6:2001:db8::10 -all" == spf_text(SOURCES)


@pytest.mark.parametrize(
    ("host", "found", "ok", "wanted"),
    [
        (HOST, f"5 mx.example.net, 10 {HOST}", True, ""),
        (HOST, "10 mx.example.net", False, f"10 {HOST}"),
        (HOST, ("10 mx.example.net, " * 20)[:256], True, ""),
        ("", "10 mx.example.net", True, ""),
    ],
)
def test_mx_is_to_lead_to_the_feedback_services_name_where_it_has_one(
    host: str, found: str, ok: bool, wanted: str
) -> None:
    mx = judged((record("MX", found=found),), needs=Needs(DOMAIN, BACK, host, SOURCES))["MX"]
    assert (mx.ok, mx.wanted) == (ok, wanted)


@pytest.mark.parametrize(
    ("purpose", "name", "wanted"),
    [
        ("MX", BACK, f"10 {HOST}"),
        ("DMARC", f"_dmarc.{DOMAIN}", "v=DMARC1; p=none"),
        ("MTA-STS", f"_mta-sts.{BACK}", "v=STSv1; id=20260101"),
        ("TLS-RPT", f"_smtp._tls.{BACK}", f"v=TLSRPTv1; rua=mailto:postmaster@{DOMAIN}"),
    ],
)
def test_what_is_absent_says_what_to_publish(purpose: str, name: str, wanted: str) -> None:
    found = judged((record(purpose, "Absent", name),))[purpose]
    assert (found.ok, found.wanted, found.name) == (False, wanted, name)


def test_what_nobody_can_say_is_not_wrong_and_what_one_slot_knows_to_be_wrong_is() -> None:
    silent, macros = record("SPF", "Unanswered"), record("SPF", "Unjudged")
    assert (judged((silent,), (record("SPF"),))["SPF"].ok, judged((silent,))["SPF"].is_unanswered) == (None, True)
    assert (judged((macros,), (record("SPF"),))["SPF"].ok, judged((macros,))["SPF"].is_unanswered) == (None, False)
    assert judged((silent,), (record("SPF", "Absent"),))["SPF"].ok is False


def test_what_slots_found_for_another_return_path_or_for_one_that_is_kept_does_not_count() -> None:
    said = (record("SPF", "Absent", "old.example.com"), record("MX", "Absent", "old.example.com"))
    assert judged(said) == {}
    assert judged((record("SPF", "Absent"), record("MX", "Absent")), needs=Needs(DOMAIN)) == {}
    assert judged((record("SPF", "Soon", BACK),)) == {}, "a word that a newer relay says"
    assert judged(()) == {}


def test_each_purpose_has_its_record_type() -> None:
    assert {one for one in RecordPurpose if one.record_type == "MX"} == {RecordPurpose.MX}
