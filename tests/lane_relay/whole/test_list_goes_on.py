"""The suppression list of a slot that is to go: a sibling says that it has it, and so does the archive."""

from pathlib import Path
from typing import Any

from tests.lane_relay.running import Sink, eventually
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_handover import Lane, ask

WORDS = b"address,reason\nann@isp.test,complaint\nbob@isp.test,unsubscribe\n"


def test_a_closed_slot_says_who_has_its_list(tmp_path: Path, new_relay: NewRelay, sink: Sink) -> None:
    lane = Lane(tmp_path)
    (tmp_path / "suppression").write_bytes(b"s" * 32)
    relays = {}
    for name in lane.ports:
        config = lane.slot(name, sink, "Running")
        config["suppression"] = {"path": str(tmp_path / f"list-{name}"), "keyFile": str(tmp_path / "suppression")}
        relays[name] = new_relay(**config, records={"archive": {"path": str(tmp_path / f"archive-{name}")}})
    goes, stays = relays["otp-0"].start(), relays["otp-1"]

    def said() -> dict[str, Any]:
        known: dict[str, Any] = ask(lane, "otp-0", "GET", "/v1/slot", None)["suppressions"]
        return known

    assert said() == {"words": 0, "readBy": [], "archived": False, "failure": "", "doubted": []}
    assert ask(lane, "otp-0", "POST", "/v1/suppressions?owner=jane&reason=known", WORDS)["added"] == 2
    assert (said()["words"], said()["readBy"]) == (2, [])
    stays.start()
    eventually(lambda: said()["readBy"] == ["otp-1"], "the sibling that has read to the end")
    assert stays.metric("suppressions") == 2
    assert not said()["archived"]
    goes.change(intake={"state": "Closed"})
    eventually(lambda: said()["archived"], "the list of a drained slot in the archive")
    assert len(list((tmp_path / "archive-otp-0").rglob("suppressions/*.csv.zst"))) == 1
