"""What a slot's answer says of what only its volume has yet, and what its pod says where there is none."""

from typing import Any

import pytest

from lane_operator.inputs import SlotObservation
from lane_operator.observe import pod_observation
from lane_operator.seen import Hour, NextKeySeen, WarmUpSeen
from lane_operator.slot_answers import slot_answer
from tests.lane_operator.test_observe import Slot


@pytest.mark.parametrize(
    ("records", "unarchived"),
    [
        ({}, None),
        ({"lastSeq": 9, "archive": {}}, None),
        ({"lastSeq": 9, "archive": {"archivedSeq": 4, "failure": "503"}}, 5),
        ({"lastSeq": 9, "archive": {"archivedSeq": 9, "failure": ""}}, 0),
    ],
)
async def test_what_the_archive_does_not_have_yet_is_seen(records: dict[str, Any], unarchived: int | None) -> None:
    seen = slot_answer("otp-0", {**await Slot().report(), "records": records})

    assert seen.unarchived == unarchived
    assert seen.archive_failure == (records.get("archive") or {}).get("failure", "")


@pytest.mark.parametrize(
    ("records", "feedback", "untold", "failure"),
    [
        ({}, None, 0, ""),
        ({"webhook": {}}, {"unsent": 0, "failure": ""}, 0, ""),
        ({"webhook": {"unsent": 4, "failure": "503"}}, {"unsent": 2, "failure": "away"}, 6, "503, away"),
        ({"webhook": {"unsent": 0, "failure": "an old one"}}, {"unsent": 2, "failure": ""}, 2, ""),
    ],
)
async def test_what_webhooks_do_not_have_yet_is_seen(
    records: dict[str, Any], feedback: dict[str, Any] | None, untold: int, failure: str
) -> None:
    said = {**await Slot().report(), "records": records}
    seen = slot_answer("otp-0", said if feedback is None else {**said, "feedback": feedback})

    assert (seen.untold, seen.webhook_failure) == (untold, failure)


async def test_who_else_has_the_suppression_list_is_seen() -> None:
    said = {"words": 7, "readBy": ["otp-1"], "archived": True, "failure": "403"}
    seen = slot_answer("otp-0", {**await Slot().report(), "suppressions": said})
    older = slot_answer("otp-0", await Slot().report())

    assert (seen.suppressed, seen.list_read_by, seen.list_archived, seen.list_failure) == (7, ("otp-1",), True, "403")
    assert (older.suppressed, older.list_read_by, older.list_archived) == (None, (), False)


async def test_which_slots_may_still_ask_what_became_of_their_mail_is_seen() -> None:
    owed = [
        {"slot": "otp-1", "transfers": 2, "since": "2026-11-28T10:00:00Z", "reason": "refused"},
        {"slot": "otp-2", "transfers": 1, "since": None, "reason": ""},
    ]
    seen = slot_answer("otp-0", {**await Slot().report(), "handover": {"owed": owed}})
    older = slot_answer("otp-0", {**await Slot().report(), "handover": {"waiting": 0}})

    assert seen.owed == {
        "otp-1": "otp-1 about 2 transfers, the oldest since 2026-11-28T10:00:00Z",
        "otp-2": "otp-2 about 1 transfers",
    }
    assert older.owed == {}


async def test_mail_that_is_in_doubt_for_long_or_has_no_way_out_is_seen() -> None:
    report = await Slot().report()
    doubt = {"slot": "otp-1", "transfers": 1, "entries": 3, "since": "2026-11-28T10:00:00Z", "reason": "refused"}
    young, old = {**doubt, "overdue": False}, {**doubt, "overdue": True}
    plain = slot_answer("otp-0", {**report, "handover": {"waiting": 1, "inDoubt": 1, "doubts": [young], "stranded": 0}})
    seen = slot_answer("otp-0", {**report, "handover": {"waiting": 9, "inDoubt": 1, "doubts": [old], "stranded": 4}})

    assert (plain.doubts, plain.stranded) == ((), False)
    assert (seen.doubts, seen.stranded) == (("3 messages with otp-1 since 2026-11-28T10:00:00Z",), True)
    assert (slot_answer("otp-0", report).doubts, slot_answer("otp-0", report).stranded) == ((), False)


async def test_held_mail_of_an_older_copy_and_records_that_are_not_sealed_are_seen() -> None:
    report = await Slot().report()
    plain = slot_answer("otp-0", report)
    report["delivery"]["restored"] = "the volume is older"
    seen = slot_answer("otp-0", {**report, "records": {"failure": "No space left", "head": "{}"}})

    assert (plain.restored, plain.sealing_failure, plain.head) == ("", "", "")
    assert (seen.restored, seen.sealing_failure, seen.head) == ("the volume is older", "No space left", "{}")


async def test_what_isps_refuse_the_address_for_is_seen_and_other_acts_are_not() -> None:
    act = {
        "action": "QuarantineIP", "site": "gmail", "since": "2026-11-23T07:50:00Z", "until": "2026-11-23T08:20:00Z",
        "rule": "gmail/listed", "reply": "550 listed",
    }  # fmt: skip
    acts = [act, {**act, "site": "*"}, {**act, "action": "SuspendSite"}, {**act, "domain": "brand.test"}]
    said = await Slot().report()
    seen = slot_answer("otp-0", {**said, "delivery": {**said["delivery"], "acts": acts}})

    assert [one.isps for one in seen.quarantines] == [(), ("gmail",)]
    assert (seen.quarantines[0].by, seen.quarantines[0].reply) == ("gmail/listed", "550 listed")
    assert (seen.quarantines[0].since, seen.quarantines[0].until) == (act["since"], act["until"])
    assert slot_answer("otp-0", said).quarantines == ()


async def test_what_would_be_done_is_seen_the_newest_first_and_not_all_of_it() -> None:
    def act(minute: int, **more: str) -> dict[str, str]:
        at = f"2026-11-23T07:{minute}:00Z"
        said = {"action": "SuspendSite", "site": "gmail", "rule": "gmail/r", "reply": "550 no"}
        return {**said, "since": at, "until": at, **more}

    said = await Slot().report()
    acts = [act(10), act(11, site="*", reply=""), act(12, action="SuspendDomain", domain="brand.test")]
    seen = slot_answer("otp-0", {**said, "delivery": {**said["delivery"], "observed": acts}})

    assert seen.observed == (
        "SuspendDomain of mail from brand.test to gmail until 2026-11-23T07:12:00Z by rule gmail/r (550 no)",
        "SuspendSite of every ISP until 2026-11-23T07:11:00Z by rule gmail/r",
        "SuspendSite of gmail until 2026-11-23T07:10:00Z by rule gmail/r (550 no)",
    )
    many = {**said["delivery"], "observed": [act(number) for number in range(10, 60)]}
    assert len(slot_answer("otp-0", {**said, "delivery": many}).observed) == 5
    assert slot_answer("otp-0", said).observed == ()


async def test_a_slot_that_still_recovers_its_spool_has_no_answer_yet() -> None:
    report = await Slot().report()
    del report["queue"], report["spoolId"]

    with pytest.raises(KeyError):
        slot_answer("otp-0", report)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}]}, "0/2 nodes"),
        (
            {"containerStatuses": [{"name": "relay", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            "relay: ImagePullBackOff",
        ),
        ({"phase": "Pending"}, "Pending"),
    ],
)
def test_a_pod_that_is_not_ready_says_why(status: dict[str, Any], reason: str) -> None:
    pod = {"metadata": {}, "spec": {"nodeName": "n1"}, "status": status}

    seen = pod_observation("otp-0", pod, None, "v1")

    assert (seen.pod_ready, seen.pod_reason, seen.node) == (False, reason, "n1")


def test_without_a_pod_the_last_words_are_old() -> None:
    said = SlotObservation("otp-0", reachable=True, queued=4)

    seen = pod_observation("otp-0", None, said, "v1")

    assert (seen.reachable, seen.queued, seen.pod_ready) == (False, 4, False)


@pytest.mark.parametrize(("uid", "restarts", "reachable"), [("p1", 0, True), ("p1", 1, False), ("p2", 0, False)])
def test_what_an_earlier_process_said_is_old(uid: str, restarts: int, reachable: bool) -> None:
    said = SlotObservation("otp-0", reachable=True, intake="Closed", process="p1/0")
    statuses = [{"name": "unbound", "restartCount": 7}, {"name": "relay", "restartCount": restarts}]
    pod = {"metadata": {"uid": uid}, "spec": {}, "status": {"containerStatuses": statuses}}

    assert pod_observation("otp-0", pod, said, "v1").reachable is reachable


async def test_of_a_warm_up_the_isp_counts_at_which_the_address_is_least_far() -> None:
    def row(isp: str, step: int, amount: int | None) -> dict[str, Any]:
        return {"isp": isp, "step": step, "amount": amount, "since": "2026-11-23T00:00:00Z"}

    plain = await Slot().report()
    answer = {**plain, "warmup": [row("gmail", 9, 5000), row("other", 4, 800), row("yahoo", 0, None)]}
    assert slot_answer("otp-0", answer).warmup == WarmUpSeen(4, "other", "2026-11-23T00:00:00Z")
    assert slot_answer("otp-0", {**plain, "warmup": [row("gmail", 40, None)]}).warmup is None
    assert slot_answer("otp-0", {**plain, "warmup": []}).warmup is None
    assert slot_answer("otp-0", plain).warmup is None


async def test_the_key_that_is_to_sign_next_is_seen() -> None:
    second = {"selector": "s2-ed25519", "published": True, "dns": "Published", "message": "published"}
    following = {"selector": "s2", "published": False, "dns": "Absent", "message": "no TXT record", "ed25519": second}
    known = {"name": "a.test", "selector": "s1", "published": True, "dns": "Published", "message": "", "ed25519": None}
    seen = slot_answer("otp-0", {**await Slot().report(), "domains": [{**known, "next": following}]})
    older = slot_answer("otp-0", {**await Slot().report(), "domains": [known]})

    assert seen.domains_selectors == older.domains_selectors == {"a.test": "s1"}
    assert seen.domains_next == {"a.test": NextKeySeen("s2", False, "Absent", "no TXT record", ed25519=True)}
    assert older.domains_next == {}


async def test_what_became_of_the_last_hours_mail_is_seen() -> None:
    plain = await Slot().report()
    said = {"delivered": 1234, "deferred": 5, "bounced": 6}
    assert slot_answer("otp-0", {**plain, "lastHour": said}).last_hour == Hour(1234, 5, 6)
    assert slot_answer("otp-0", plain).last_hour is None, "an older image"


async def test_a_slot_of_two_addresses_may_send_from_one_of_them() -> None:
    said = await Slot().report()
    said["delivery"]["proof"] = {"state": "Unproved", "message": "2001:db8::10: no answer", "open": True}
    one, older = slot_answer("otp-0", said), slot_answer("otp-0", await Slot().report())

    assert (one.may_send, one.is_verified) == (True, False)
    assert (older.gate_open, older.may_send) == (None, True)
    said["delivery"]["proof"]["open"] = False
    assert not slot_answer("otp-0", said).may_send
