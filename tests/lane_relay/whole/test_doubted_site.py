"""An ISP that says of users that they do not exist, and a whole relay: nobody is locked out, a person decides."""

from pathlib import Path

import pytest

from tests.lane_relay.running import Relay, Sink, eventually, fixed_route, letter
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient

pytestmark = pytest.mark.timeout(300)
UNKNOWN = "550 5.1.1 The email account that you tried to reach does not exist"
BY = "owner=jane&reason=their%20directory%20failed"
USERS = 60


def _refused(relay: Relay, *numbers: int) -> list[int]:
    """Those of the users whom intake refuses as suppressed."""
    with relay.session() as client:
        client.ehlo_or_helo_if_needed()
        client.mail("otp@brand.test")
        return [number for number in numbers if client.rcpt(f"user{number}@isp.test")[0] != 250]


def test_users_of_an_isp_that_knows_nobody_are_not_locked_out_and_words_count_when_a_person_says_so(
    new_relay: NewRelay, sink: Sink, tmp_path: Path
) -> None:
    (tmp_path / "suppression").write_text("s" * 32)
    relay = new_relay(
        delivery={"routes": [fixed_route(sink)]},
        suppression={"path": str(tmp_path / "list"), "keyFile": str(tmp_path / "suppression")},
    )
    admin = AdminClient(relay)
    relay.start()
    sink.answer_with = lambda stage, address: UNKNOWN if stage == "RCPT" and address.startswith("user") else None
    with relay.session() as client:
        for number in range(USERS):
            client.send_message(letter(number, recipient=f"user{number}@isp.test"))

    eventually(lambda: relay.metric("suppressions_held_back_total{policy=other}") == USERS, "all are held back")
    assert relay.metric("suppressions_doubted{policy=other}") == 1
    assert _refused(relay, *range(USERS)) == []
    (site,) = admin.ask("GET", "/v1/slot")[1]["suppressions"]["doubted"]
    assert {site} == {one["site"] for one in relay.records() if one["type"] == "Bounce"}

    relay.kill()
    relay.start()
    assert admin.ask("GET", "/v1/slot")[1]["suppressions"]["doubted"] == [site]
    held = f"/v1/suppressions/held-back?site={site}&{BY}"
    assert admin.ask("POST", held) == (200, {"found": USERS, "believed": 0, "dryRun": True})
    assert admin.ask("POST", held + "&dryRun=false") == (200, {"found": USERS, "believed": USERS, "dryRun": False})
    assert _refused(relay, *range(USERS)) == list(range(USERS))

    lift = f"/v1/suppressions?suppressedFor=hard-bounce&site={site}&from=2026-01-01&{BY}"
    assert admin.ask("DELETE", lift) == (200, {"found": USERS, "lifted": 0, "dryRun": True})
    assert admin.ask("DELETE", lift + "&dryRun=false") == (200, {"found": USERS, "lifted": USERS, "dryRun": False})
    assert _refused(relay, *range(USERS)) == []
    said = [one["meta"]["action"] for one in relay.records() if one["type"] == "AdminAction"]
    assert f"{USERS} words count that were held-back at {site}" in said
    assert f"lift of {USERS} words suppressed for hard-bounce at {site} from 2026-01-01T00:00:00Z" in said
