"""Orders and reports in the whole relay: over kill -9, and to the last recipient."""

import shutil
from email.message import EmailMessage
from typing import Any

import pytest

from tests.lane_relay.running import Relay, Sink, eventually, fixed_route, letter
from tests.lane_relay.whole.asked import ordered
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient


def _letter(number: int, campaign: str, *, recipient: str = "ann@isp.test", expires_in: str = "") -> EmailMessage:
    message = letter(number, recipient=recipient)
    message["X-Lane-Campaign"] = campaign
    if expires_in:
        message["X-Lane-Expires-In"] = expires_in
    return message


def _submit(relay: Relay, *letters: EmailMessage) -> None:
    with relay.session() as client:
        for one in letters:
            client.send_message(one)


def _standing(admin: AdminClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = admin.ask("GET", "/v1/actions")[1]["actions"]
    return found


def _started(relay: Relay) -> AdminClient:
    admin = AdminClient(relay)
    relay.start()
    return admin


def _again(relay: Relay, admin: AdminClient) -> None:
    relay.kill()
    relay.start()
    eventually(lambda: admin.ask("GET", "/v1/slot")[0] == 200, "the admin API answers")


def test_suspended_mail_stays_over_a_kill_until_it_is_resumed(relay: Relay, sink: Sink) -> None:
    admin = _started(relay)
    ordered(admin, action="suspend", queue="isp.test")
    _submit(relay, _letter(1, "spring"), _letter(2, "spring", recipient="bob@other.test"))
    sink.wait(1)
    eventually(lambda: any(one["type"] == "Delivery" for one in relay.records()), "the delivery is on record")
    _again(relay, admin)
    eventually(lambda: _standing(admin)[0]["entries"] == 1, "the letter is held again")
    assert [one.recipients for one in sink.arrived] == [("bob@other.test",)]

    ordered(admin, action="resume", queue="isp.test")
    assert sink.wait(2)[1].recipients == ("ann@isp.test",)
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    assert _standing(admin) == []
    assert [record["user"] for record in relay.records() if record["type"] == "AdminAction"] == ["jane", "jane"]


def test_a_suspended_site_is_seen_wherever_somebody_looks_for_its_mail(relay: Relay, sink: Sink) -> None:
    admin = _started(relay)
    _submit(relay, _letter(1, "spring"))
    sink.wait(1)
    eventually(lambda: relay.metric("queue_messages") == 0, "nothing of it is left")
    site = admin.ask("GET", "/v1/explain?domain=isp.test")[1]["route"]["site"]
    order = ordered(admin, action="suspend", site=site, expiresIn="2h")
    _submit(relay, _letter(2, "spring"))

    def row() -> dict[str, Any]:
        rows = [one for one in admin.ask("GET", "/v1/sites")[1]["sites"] if one["site"] == site]
        return rows[0] if rows and rows[0]["waiting"] else {}

    seen = eventually(row, "the site has a row with its mail")
    assert (seen["waiting"], seen["heldBy"]) == (1, "order")
    assert seen["oldestSince"] == admin.ask("GET", "/v1/slot")[1]["queue"]["oldestSince"]
    assert f"suspended by order {order['id']} of jane: the price is wrong" in seen["detail"]
    (told,) = admin.ask("GET", "/v1/explain?domain=isp.test")[1]["entries"]
    assert (told["heldBy"]["since"], told["heldBy"]["until"]) == (order["created"], order["expires"])
    (words,) = admin.ask("GET", "/v1/slot")[1]["delivery"]["orders"]
    assert words == f"suspend site {site} of jane (the price is wrong)"

    ordered(admin, action="resume", site=site)
    sink.wait(2)
    assert admin.ask("GET", "/v1/slot")[1]["delivery"]["orders"] == []


def test_a_bounced_campaign_is_reported_and_the_other_one_goes_on(relay: Relay, sink: Sink) -> None:
    sink.answer_with = lambda stage, address: "451 4.3.0 later" if address.startswith("ann") else None
    admin = _started(relay)
    _submit(relay, *[_letter(number, "spring" if number % 2 else "summer") for number in range(6)])
    eventually(lambda: relay.metric("attempts_total{policy=other,result=deferred}") >= 6, "all were tried")
    order = ordered(admin, action="bounce", campaign="spring")

    reports = [one for one in sink.wait(3) if not one.sender]
    assert len(reports) == 3
    assert all(f"by order {order['id']}: the price is wrong".encode() in one.content for one in reports)
    eventually(lambda: _standing(admin)[0]["entries"] == 3, "three are bounced")
    eventually(lambda: relay.metric("recipients_finished_total{outcome=bounced}") == 3, "and counted")
    sink.answer_with = lambda _stage, _address: None
    assert sorted(one.content.count(b"Subject: letter") for one in sink.wait(6)) == [1] * 6


def test_a_hold_over_everything_outlives_a_kill_and_a_drop_empties_it(relay: Relay, sink: Sink) -> None:
    admin = _started(relay)
    ordered(admin, action="hold", all=True)
    _submit(relay, *[_letter(number, "spring") for number in range(4)])
    _again(relay, admin)
    eventually(lambda: _standing(admin)[0]["entries"] == 4, "all are held again")
    ordered(admin, action="drop", campaign="spring")
    eventually(lambda: relay.metric("recipients_finished_total{outcome=dropped}") == 4, "all are dropped")
    assert (sink.arrived, relay.metric("recipients_queued")) == ([], 0)


def test_a_message_whose_time_is_over_is_never_attempted(relay: Relay, sink: Sink) -> None:
    admin = _started(relay)
    hold = ordered(admin, action="hold", all=True)
    _submit(relay, _letter(1, "otp", expires_in="1"), _letter(2, "otp", expires_in="1h"))
    eventually(
        lambda: relay.metric("oldest_undelivered_age_seconds") > 2.5, "its second is over"
    )  # shown by the second
    assert relay.metric("oldest_untried_age_seconds") > 2.0
    assert admin.ask("DELETE", f"/v1/actions/{hold['id']}?owner=joe&reason=done")[0] == 200

    eventually(lambda: relay.metric("recipients_finished_total{outcome=expired}") == 1, "one has expired")
    arrived = sink.wait(2)  # the report, and the other one
    assert not any(b"Subject: letter 1\r\n" in one.content and one.sender for one in arrived)
    assert any(b"Status: 5.4.7" in one.content for one in arrived)


@pytest.mark.parametrize("mode", ["Discard", "Redirect"])
def test_mail_that_was_accepted_before_the_mode_changed_does_not_leave(
    new_relay: NewRelay, sink: Sink, mode: str
) -> None:
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "state": "Held"}).start()
    _submit(relay, _letter(1, "spring"))
    to = {"redirectTo": "qa@brand.test"} if mode == "Redirect" else {}
    relay.change(delivery={"state": "Running", "mode": mode, **to})
    if mode == "Discard":
        eventually(lambda: relay.metric("recipients_finished_total{outcome=dropped}") == 1, "it is dropped")
    else:
        _submit(relay, _letter(2, "spring", recipient="qa@brand.test"))
        assert sink.wait(1)[0].recipients == ("qa@brand.test",)
        relay.change(delivery={"mode": "Live", "redirectTo": ""})
        assert sink.wait(2)[1].recipients == ("ann@isp.test",)
    assert not any(one.recipients == ("ann@isp.test",) for one in sink.arrived[:1])


def test_a_volume_restored_from_a_snapshot_sends_nothing_until_a_person_releases_it(relay: Relay, sink: Sink) -> None:
    held = {"delivery": {**relay.overrides["delivery"], "state": "Held"}}
    relay.write(relay.overrides | held)
    admin = _started(relay)
    _submit(relay, *[_letter(number, "spring") for number in range(3)])
    relay.kill()
    snapshot = relay.folder.parent / "snapshot"
    for part in ("spool", "records"):
        shutil.copytree(relay.folder / part, snapshot / part)

    relay.write({**relay.overrides, "delivery": {**held["delivery"], "state": "Running"}})
    relay.start()
    sink.wait(3)
    assert relay.terminate() == 0
    relay.start()  # a mark is said anew after a start, at the latest after an hour
    seen = admin.ask("GET", "/v1/slot")[1]["spool"]
    relay.kill()
    for part in ("spool", "records"):
        shutil.rmtree(relay.folder / part)
        shutil.copytree(snapshot / part, relay.folder / part)
    spool = {"path": str(relay.folder / "spool"), "seen": seen}
    relay.write({**relay.overrides, "spool": spool})

    relay.start()
    eventually(lambda: [one["entries"] for one in _standing(admin)] == [3], "the three letters are held")
    assert "older" in admin.ask("GET", "/v1/slot")[1]["delivery"]["restored"]
    _submit(relay, _letter(7, "spring"))
    assert b"letter 7" in sink.wait(4)[3].content
    _again(relay, admin)
    eventually(lambda: [one["entries"] for one in _standing(admin)] == [3], "they are held after a kill, too")

    ordered(admin, action="release", all=True)
    sink.wait(7)
    _again(relay, admin)
    assert _standing(admin) == []
    assert admin.ask("GET", "/v1/slot")[1]["spool"]["mark"] >= seen["mark"]
