"""What several tests of the whole relay ask of it in the same words: mail of campaigns, and orders about mail.

Before: `running`. After: the tests of turns and of orders.
"""

import json
from email.policy import SMTP as WIRE
from typing import Any

from tests.lane_relay.running import Relay, letter
from tests.lane_relay.whole.test_end_to_end import AdminClient

__all__ = ["hand_in", "ordered"]


def hand_in(relay: Relay, campaign: str, messages: int, recipients: int = 1) -> None:
    """Each recipient is at a domain of its own, so that each is an entry."""
    with relay.session() as client:
        for number in range(messages):
            message = letter(number)
            message["X-Lane-Campaign"] = campaign
            people = [f"{campaign}{number}@d{one}.test" for one in range(recipients)]
            client.sendmail("otp@brand.test", people, message.as_bytes(policy=WIRE))


def ordered(admin: AdminClient, **said: Any) -> dict[str, Any]:
    """An order through `/v1/actions`, as it stands there."""
    body = json.dumps({"owner": "jane", "reason": "the price is wrong"} | said).encode()
    status, answer = admin.ask("POST", "/v1/actions", body)
    assert status == 201, answer
    made: dict[str, Any] = answer["actions"][0]
    return made
