"""A slot whose volume is lost waits for it, until a person names that very claim; other slots and their mail go on.

The volume's folder is taken away from under the node, so that the slot's next pod cannot mount it. Lost is what was in
it, and nothing else: compared message by message with what the ISPs took. Engine: Multus.
"""

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, pool
from e2e.internet import addresses
from e2e.internet.policy import RecipientRule, Reply
from e2e.load.ledger import compare
from e2e.outbound import Outbound, by_source, record_e2e, sending_lane

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(660)]

LANE = "bereaved"
ADDRESSES = ("203.0.113.205", "203.0.113.206")
BUSY, FREE = "gmail-like.example", "yahoo-like.example"
IN_KEPT, IN_LOST, LATER = 4, 7, 5
NOT_NOW = RecipientRule(match="*", reply=Reply(code=450, text="4.3.0 Not just now"))


def _claims(here: Installation) -> list[str]:
    """The uids of both slots' claims."""
    return [str(here.get("pvc", f"queue-{LANE}-{slot}")["metadata"]["uid"]) for slot in (0, 1)]


def _forget(here: Installation, uid: str) -> None:
    """A person's word."""
    word = f"lanewright.dev/release=forget-slot/{uid}"
    here.cluster.kubectl("annotate", "sendinglane", LANE, "-n", here.namespace, "--overwrite", word)


def _lose(here: Installation, slot: int) -> None:
    """The volume is gone, and the pod that had it."""
    folder = here.cluster.volume_path(here.namespace, f"queue-{LANE}-{slot}")
    folder.rename(folder.with_name(f"{folder.name}.lost"))
    pod = f"{LANE}-{slot}-0"
    before = here.get("pod", pod)["metadata"]["uid"]
    here.cluster.kubectl("delete", "pod", pod, "-n", here.namespace, "--grace-period=1")
    eventually(lambda: here.get("pod", pod)["metadata"]["uid"] != before, "the slot has another pod")


@pytest.mark.long("tests/lane_operator/test_forget.py", "tests/lane_relay/whole/test_lost_mail.py")
async def test_a_lost_volume_is_given_up_with_its_mail_and_nothing_else_is(outbound: Outbound) -> None:
    here = outbound.here
    here.apply(
        pool(LANE, here.namespace, *ADDRESSES),
        sending_lane(LANE, here.namespace, LANE, replicas=2, drain={"policy": "Wait"}),
    )
    here.wait_ready(LANE)
    await outbound.policy(addresses.GMAIL, recipients=(NOT_NOW,))
    sibling, bereft = outbound.slots(LANE)
    held = [outbound.address(LANE, slot) for slot in (0, 1)]
    kept, lost = _claims(here)
    in_kept = await outbound.submit("kept", LANE, BUSY, IN_KEPT, (sibling.host, sibling.port))
    in_lost = await outbound.submit("lost", LANE, BUSY, IN_LOST, (bereft.host, bereft.port))

    _forget(here, lost)  # it serves: nothing is lost
    outbound.says(LANE, "VolumeForgotten", "True", "SlotServes")
    _forget(here, "no-claim-of-the-lane")
    outbound.says(LANE, "VolumeForgotten", "True", "NoSuchVolume")
    eventually(lambda: here.get("sendinglane", LANE)["status"]["queued"] == IN_KEPT + IN_LOST, "all mail is seen")
    assert _claims(here) == [kept, lost]
    assert outbound.slots(LANE) == [sibling, bereft]

    _lose(here, 1)
    eventually(lambda: outbound.endpoints(LANE) == {sibling.pod}, "clients are sent to the other slot")
    meanwhile = await outbound.submit("meanwhile", LANE, FREE, LATER)
    assert by_source(await outbound.arrivals(meanwhile)) == {held[0]: LATER}
    assert _claims(here) == [kept, lost], "nobody has said so"

    _forget(here, lost)
    outbound.says(LANE, "VolumeForgotten", "True", "SlotAwaited")
    assert _claims(here) == [kept, lost], "it may only be late"
    eventually(lambda: _claims(here)[1] != lost, "the slot has another volume", within=360)
    here.wait_ready(LANE)
    said = outbound.says(LANE, "VolumeForgotten", "True", "GivenUp")
    assert f"the volume of {LANE}-1 (claim {lost}) is given up as asked" in said
    assert f"about {IN_LOST} messages" in said

    await outbound.policy(addresses.GMAIL)
    _, anew = outbound.slots(LANE)
    again = await outbound.submit("again", LANE, BUSY, LATER, (anew.host, anew.port))
    await outbound.arrivals([*in_kept, *again])
    eventually(lambda: here.get("sendinglane", LANE)["status"]["queued"] == 0, "nothing waits any more")
    own = {"kept": {held[0]}, "lost": {held[1]}, "meanwhile": {held[0]}, "again": {held[1]}}
    entries = [*in_kept, *in_lost, *meanwhile, *again]
    found = compare(entries, await outbound.internet.records(), {key: frozenset(one) for key, one in own.items()})
    record_e2e("forgotten_slot_lost_of_others", len(set(found.lost) - {one.message_id for one in in_lost}), "messages")
    record_e2e("forgotten_slot_lost", len(found.lost), "messages", None)
    assert sorted(found.lost) == sorted(one.message_id for one in in_lost), "what was in the volume, and no more"
    assert (found.duplicated, found.wrong_ip, found.altered, found.misdirected) == ({}, [], [], [])
    assert outbound.slots(LANE)[0] == sibling, "the other slot has not even restarted"
    assert _claims(here)[0] == kept
