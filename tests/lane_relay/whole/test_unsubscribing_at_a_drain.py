"""Who unsubscribes while a slot is drained: what was answered with 200 is in the list that was handed on, always."""

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lane_relay.mail.token import Token, TokenKind, address_digest, write_token
from tests.lane_relay.running import Relay, eventually
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient
from tests.ports import free_port

VERP, SUPPRESSION = b"v" * 32, b"s" * 32
PACE_S = 0.3  # of people; between two of them the list comes into the archive whole

pytestmark = pytest.mark.timeout(300)


class Drained:
    """A slot with an archive, of a lane without another one."""

    def __init__(self, new_relay: NewRelay, folder: Path) -> None:
        (folder / "verp").write_bytes(VERP)
        (folder / "suppression").write_bytes(SUPPRESSION)
        self.port = free_port()
        self.relay: Relay = new_relay(
            lane={"trafficClass": "Bulk"},
            domains=[{"name": "brand.test", "mode": "Off", "returnPath": {"domain": "b.brand.test"}}],
            feedback={
                "keyFile": str(folder / "verp"),
                "http": {"host": "127.0.0.1", "port": self.port},
                "unsubscribe": {"url": "https://u.brand.test"},
            },
            suppression={"path": str(folder / "list"), "keyFile": str(folder / "suppression")},
            records={"archive": {"path": str(folder / "archive")}},
        )
        self.admin = AdminClient(self.relay)
        self.relay.start()
        self.taken = self.refused = 0

    def post(self, number: int) -> tuple[int, str | None]:
        """Somebody's click: status and Retry-After."""
        digest = address_digest(SUPPRESSION, f"u{number}@isp.test", "")
        link = write_token(VERP, Token(TokenKind.PERSON, number, 0, digest))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", f"/u/{link}", "List-Unsubscribe=One-Click")
            answer = connection.getresponse()
            answer.read()
            self.taken += answer.status == 200
            self.refused += answer.status == 503
            return answer.status, answer.getheader("Retry-After")
        finally:
            connection.close()

    def order(self, state: str) -> None:
        order = {"state": state, "owner": "jane", "reason": "a drain"}
        status, said = self.admin.ask("PUT", "/v1/intake", json.dumps(order).encode())
        assert status == 200, said

    def statement(self) -> dict[str, Any] | None:
        """The report, if it lets the slot go."""
        said: dict[str, Any] = self.admin.ask("GET", "/v1/slot")[1]
        is_whole = said["suppressions"]["archived"] or not said["suppressions"]["words"]
        return said if is_whole and not said["queue"]["inFlight"] else None


def test_what_was_taken_is_in_the_list_that_is_handed_on_and_nothing_is_taken_after_that(
    new_relay: NewRelay, tmp_path: Path
) -> None:
    (tmp_path / "archive").write_text("")  # no folder: it takes nothing yet
    slot = Drained(new_relay, tmp_path)
    slot.order("Closed")
    assert slot.post(1) == (200, None)
    assert slot.statement() is None, "a word that nobody else has"
    assert slot.post(2) == (200, None), "and so it is still open"
    (tmp_path / "archive").unlink()
    over = threading.Event()

    def people() -> None:
        number = 2
        while not over.is_set():
            number += 1
            slot.post(number)
            time.sleep(PACE_S)

    clicking = threading.Thread(target=people)
    clicking.start()
    try:
        told = eventually(slot.statement, "a list that is in the archive whole")
        eventually(lambda: slot.refused, "somebody who is told to come again")
    finally:
        over.set()
        clicking.join()
    assert told is not None
    assert slot.taken == told["suppressions"]["words"]
    assert slot.post(1000) == (503, "60")
    slot.order("Open")
    assert slot.post(1000) == (200, None)


def test_a_list_without_words_has_been_handed_on_once_that_was_said(new_relay: NewRelay, tmp_path: Path) -> None:
    slot = Drained(new_relay, tmp_path)
    assert slot.statement() is not None
    assert slot.post(1) == (200, None), "it is open: nobody lets it go"
    slot.order("Closed")
    eventually(slot.statement, "the statement")
    assert slot.post(2) == (503, "60")
