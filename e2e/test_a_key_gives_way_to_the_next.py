"""A lane's DKIM key gives way to the next one while mail flows from every slot, and each message verifies as it comes.

Who publishes is the test, by what status and DKIMRotation say; who verifies is a receiver of its own (`signatures`).
The next key signs nothing before its record is there, and the key before nothing once its record may go. The seeded
fault: with that record gone, the receiver no longer accepts what it had signed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, pool
from e2e.internet.internet import Load
from e2e.internet.lane_records import unpublished
from e2e.outbound import Outbound, record_e2e, sending_lane
from e2e.signatures import Receiver, Verdict

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

LANE, DOMAIN, ISP = "turning", "turning.example.com", "plain.example"
SLOTS = (0, 1)
RATE = 2.0  # messages a second and slot
ENOUGH = 600  # messages of a slot: more than leave until the test ends
SOME = 3
NEVER, NOW = "8760h", "1s"


def _lane(here: Installation, rotate_every: str) -> Manifest:
    dkim = {"rotateEvery": rotate_every, "propagation": "4s", "retire": "8s"}
    domains = [{"name": DOMAIN, "dkim": dkim}]
    return sending_lane(LANE, here.namespace, "turning", replicas=len(SLOTS), domains=domains)


@dataclass(frozen=True)
class Stream:
    """Mail of every slot, and what its receiver says."""

    outbound: Outbound
    receiver: Receiver
    loads: tuple[Load, ...]

    def until(self, reason: str, status: str) -> str:
        """The message of DKIMRotation once it has this reason; mail is judged meanwhile."""

        def look() -> str:
            self.receiver.look()
            found = self.outbound.here.condition(LANE, "DKIMRotation")
            assert (found.get("reason"), found.get("status")) == (reason, status), found
            return str(found["message"])

        return eventually(look, f"DKIMRotation is {reason}", within=90)

    def goes_on(self, selector: str | None = None) -> None:
        """Returns when some more mail of each slot has come; with `selector`, signed by that key."""
        self.receiver.look()
        since = len(self.receiver.verdicts)

        def look() -> bool:
            self.receiver.look()
            new = [one for one in self.receiver.verdicts[since:] if selector in (None, *one.selectors)]
            return all(sum(one.message_id.startswith(f"<{load.config.stream}.") for one in new) >= SOME
                       for load in self.loads)  # fmt: skip

        eventually(look, f"mail of each slot with selector {selector}")


def _dkim(here: Installation) -> Manifest:
    """What status says of the domain's keys."""
    (domain,) = here.get("sendinglane", LANE)["status"]["domains"]
    return dict(domain["dkim"])


def _by(selector: str, verdicts: Iterable[Verdict]) -> list[Verdict]:
    return [one for one in verdicts if selector in one.selectors]


async def _stream(outbound: Outbound) -> Stream:
    receiver = Receiver(outbound.here.cluster.place("net"), outbound.internet.plain.config.folder)
    loads = [
        await outbound.load(f"{LANE}-{index}", LANE, (slot.host, slot.port), (ISP,), ENOUGH, RATE, sessions=1)
        for index, slot in enumerate(outbound.slots(LANE))
    ]
    return Stream(outbound, receiver, tuple(loads))


@pytest.mark.long("tests/lane_operator/test_key_turn_pass.py", "tests/lane_relay/whole/test_key_turn.py")
async def test_each_message_verifies_while_a_key_gives_way_to_the_next(outbound: Outbound) -> None:
    here, names = outbound.here, outbound.internet.dns
    here.apply(pool("turning", here.namespace), _lane(here, NEVER))
    here.wait_ready(LANE)
    slots, old = outbound.slots(LANE), _dkim(here)
    stream = await _stream(outbound)
    receiver = stream.receiver
    stream.goes_on(old["selector"])

    here.apply(_lane(here, NOW))
    said = stream.until("NextKeyUnpublished", "True")
    eventually(lambda: "no TXT record is published" in stream.until("NextKeyUnpublished", "True"), "slots have looked")
    here.apply(_lane(here, NEVER))  # one turn is enough
    new = _dkim(here)["next"]
    assert f'publish TXT {new["recordName"]} = "{new["record"]}"' in said
    stream.goes_on(old["selector"])
    receiver.look()
    assert _by(new["selector"], receiver.verdicts) == [], "its record is not there"
    for name, text in unpublished(here.get("sendinglane", LANE)["status"]):
        names.publish_txt(name, text)
    stream.until("NextKeyPropagates", "True")
    said = stream.until("OldKeyRetires", "True")
    assert f"leave TXT {old['recordName']} in DNS" in said
    stream.goes_on(new["selector"])
    assert _dkim(here)["selector"] == new["selector"]

    said = stream.until("OldKeyRetired", "False")
    assert f"the key of TXT {old['recordName']} is forgotten: take that out of DNS" in said
    assert _dkim(here)["retired"] == old["recordName"]
    receiver.look()
    signed_before = _by(old["selector"], receiver.verdicts)
    assert [one for one in signed_before if receiver.judge(one.content).rejected] == [], "who verifies late can"
    for name in (old["recordName"], old["ed25519"]["recordName"]):
        names.withdraw_txt(name)
    withdrawn = len(receiver.verdicts)
    stream.goes_on(new["selector"])
    both = {new["selector"], new["ed25519"]["recordName"].partition(".")[0]}
    assert [one for one in receiver.verdicts[withdrawn:] if set(one.selectors) != both] == [], "by both of its keys"
    assert receiver.judge(signed_before[-1].content).rejected, "the receiver asks DNS"

    outbound.end_loads()
    entries = [one for load in stream.loads for one in load.entries() if one.outcome == "accepted"]
    await outbound.arrivals(entries)
    receiver.look()
    rejected = [(one.message_id, one.rejected) for one in receiver.verdicts if one.rejected or not one.selectors]
    record_e2e("key_turn_unverified", len(rejected), "messages")
    record_e2e("key_turn_messages", len(receiver.verdicts), "messages", None)
    assert rejected == []
    assert outbound.slots(LANE) == slots, "no slot restarts for a new key"
