"""What may happen to a lane, a pool, a policy, from the first apply to the last finalizer; each step with its truth.

The truth of a step is written from what happens in it, never from what the status says. What else may be applied in
the same sync is waited for half a minute; what is absent five; a slot that does not come ten, as long as a Deployment
has by default; a DNS record that nobody publishes an hour.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lane_api.conditions import Reason
from lane_api.ippool import Quarantine
from lane_api.lane_status import SlotRole
from lane_api.names import NEEDS_RESTART_TEXT, STANDBY_FROM
from lane_operator.inputs import Demand, ForcedDelivery, Handed, LaneDomains, Refusal, SlotObservation
from lane_operator.seen import RecordSeen
from tests.gitops.corpus_children import OF_CHILDREN
from tests.gitops.keys import those_that_turn_their_keys
from tests.gitops.moves import OF_MOVES
from tests.gitops.replies import those_that_isps_answer
from tests.gitops.restored import those_after_a_restored_etcd
from tests.gitops.sharing import those_that_are_listed, those_that_share
from tests.gitops.standstills import OF_STANDSTILLS
from tests.gitops.stories import ADDRESSES, LaneStory, PolicyStory, PoolStory, Story, moments, served, the_pool
from tests.gitops.truth import Moment, Truth
from tests.lane_operator import made

AS_ASKED, COMING, STUCK, LOOK, PAUSED, GOING = Truth
MINUTE = 60.0
DOMAIN = "notify.example.com"
ABSENT: dict[str, Any] = {
    "domains_published": {DOMAIN: False},
    "domains_dns": {DOMAIN: ("Absent", "no TXT record is published")},
}
NO_DMARC = RecordSeen("DMARC", f"_dmarc.{DOMAIN}", "Absent", f"{DOMAIN} has no DMARC record")
SILENT: dict[str, Any] = {
    "domains_published": {DOMAIN: False},
    "domains_dns": {DOMAIN: ("Unanswered", "DNS does not answer")},
}


def lanes_that_come() -> Iterator[Story]:
    """First applies, in any order and with everything that may be absent."""
    story = LaneStory("a first apply", the_pool())
    story.step("slots are made", COMING)
    story.step("pods start", COMING, *story.slots(pod_ready=False, reachable=False, config_generation=0))
    story.step("relays answer, nothing proved yet", COMING, *story.slots(proof_state=""), after=20)
    story.step("no reflector has answered yet", COMING, *story.slots(proof_state="Unproved"), after=2)
    story.step("proved, DNS not looked at yet", COMING, *story.slots(domains_published={}), after=2)
    story.step("the record is not published", COMING, *story.slots(**ABSENT), after=10)
    story.step("still not published, after 59 minutes", COMING, *story.slots(**ABSENT), after=59 * MINUTE)
    story.step("nobody has published it for an hour", STUCK, *story.slots(**ABSENT), after=2 * MINUTE)
    story.step("published", AS_ASKED, *story.slots(), after=MINUTE)
    yield story

    story = LaneStory("the pool comes later", None)
    story.step("no pool", COMING)
    story.step("no pool for 4 minutes", COMING, after=4 * MINUTE)
    story.pool = the_pool()
    story.step("the pool is there", COMING, after=1)
    story.step("pods start", COMING, *story.slots(pod_ready=False, reachable=False))
    story.step("they serve", AS_ASKED, *story.slots(), after=MINUTE)
    yield story

    story = LaneStory("the pool never comes", None)
    story.step("no pool", COMING)
    story.step("no pool for 5 minutes", STUCK, after=5 * MINUTE)
    story.step("no pool for an hour", STUCK, after=55 * MINUTE)
    story.pool = the_pool()
    story.step("the pool is there at last", COMING)
    story.step("slots serve", AS_ASKED, *story.slots(), after=MINUTE)
    yield story

    story = LaneStory("the Secret comes later", the_pool())
    story.references = {"secrets": dict.fromkeys(made.references(story.lane, story.pool).secrets)}
    story.step("its Secrets are absent", COMING)
    story.step("absent for 5 minutes", STUCK, after=5 * MINUTE)
    story.references = {}
    story.step("they are there, slots serve", AS_ASKED, *story.slots(), after=5)
    yield story

    story = LaneStory("Multus is not there", the_pool())
    story.references = {"kinds": frozenset()}
    story.step("no NetworkAttachmentDefinition", COMING)
    story.step("for 5 minutes", STUCK, after=5 * MINUTE)
    story.references = {}
    story.step("installed", COMING, after=1)
    yield story

    story = LaneStory("a policy comes later", the_pool(), isps=[{"name": "web-de", "connectionsPerIP": 1}])
    story.step("isps names no policy", COMING, *story.slots())
    story.step("for 5 minutes", STUCK, *story.slots(), after=5 * MINUTE)
    story.references = {"policies": (made.policy(), made.policy("web-de"))}
    story.step("the policy is there", AS_ASKED, *story.slots(), after=5)
    yield story


def lanes_that_do_not_fit() -> Iterator[Story]:
    """What another object says no to; that one may be about to change in the same sync."""
    for title, pool in (
        ("the pool is closed to it", the_pool(allowedNamespaces={})),
        ("the pool is for another class", the_pool(classes=["Cold"])),
        ("the pool has too few addresses", the_pool(1)),
        ("the pool's ports are used up", made.pool(
            "HostNetwork", addresses=[{**one, "node": "node-a"} for one in ADDRESSES[:2]],
            engineConfig={"portRange": "20000-20007"})),
    ):  # fmt: skip
        story = LaneStory(title, pool)
        story.step("at once", COMING)
        story.step("for 20 seconds", COMING, after=20)
        story.step("for 30 seconds", STUCK, after=10)
        story.step("for an hour", STUCK, after=60 * MINUTE)
        story.changed(replicas=1, drain={"deadline": "2h"})
        if title in {"the pool has too few addresses", "the pool's ports are used up"}:
            story.step("one slot fits", COMING, *story.slots(1, pod_ready=False), after=1)
        else:
            story.step("another try of its owner", COMING, after=1)
            story.step("that mends nothing", STUCK, after=30)
        story.pool = the_pool()
        story.step("the pool is another", COMING, after=1)
        story.step("slots serve", AS_ASKED, *story.slots(1), after=MINUTE)
        yield story


def lanes_that_others_stand_against() -> Iterator[Story]:
    """A pool that is too small for more, Secrets, other lanes, rights: what may be mended in the same sync."""
    story = served("scaled out beyond its pool")
    story.changed(replicas=5)
    story.step("four slots have addresses", COMING, *story.slots(2), after=1)
    story.step("the fifth will have none", STUCK, *story.slots(4), after=40)
    story.pool = replace(story.pool, spec=the_pool(4).spec) if story.pool else None
    story.changed(replicas=4)
    story.step("scaled back", AS_ASKED, *story.slots(4), after=1)
    yield story

    story = LaneStory("a Secret without the key", the_pool())
    facts = made.references(story.lane, story.pool).secrets
    story.references = {
        "secrets": {name: replace(one, keys=frozenset({"other"})) for name, one in facts.items() if one is not None}
    }
    story.step("at once", COMING)
    story.step("for 30 seconds", STUCK, after=30)
    story.references = {}
    story.step("the key is there", COMING, after=1)
    yield story

    story = LaneStory("a Cold lane shares a domain", the_pool(classes=["Cold"]), trafficClass="Cold")
    story.references = {"others": (LaneDomains(("mail", "sound"), "Bulk", ("example.com",)),)}
    story.step("at once", COMING, *story.slots())
    story.step("for 30 seconds", STUCK, *story.slots(), after=30)
    story.references = {}
    story.step("the other lane is gone", AS_ASKED, *story.slots(), after=1)
    yield story

    story = LaneStory("no rights in the namespace", the_pool())
    story.refusals = (Refusal(Reason.FORBIDDEN, "Secrets of namespace mail: 403", waiting=Reason.FORBIDDEN),)
    story.step("the RoleBinding may be on its way", COMING)
    story.step("it is not", STUCK, after=30)
    story.refusals = ()
    story.step("it is there", COMING, after=1)
    yield story


def lanes_whose_slots_fail() -> Iterator[Story]:
    """A pod, a relay, a proof, a configuration that does not come."""
    causes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("the image cannot be pulled", {"pod_ready": False, "pod_reason": "relay: ImagePullBackOff"}),
        ("a slot does not answer", {"reachable": False}),
        ("a configuration is refused", {"config_refused": "domains: twice"}),
        ("a configuration does not arrive", {"config_generation": 0}),
        ("no reflector answers", {"proof_state": "Unproved", "proof_message": "no answer"}),
        ("port 25 is closed", {"proof_state": "PortBlocked"}),
        ("it leaves from another address", {"proof_state": "Mismatch"}),
        ("the pod is there and does not speak", {"proof_state": ""}),
        ("the workload does not restart", {"rolling": True}),
    )
    for title, broken in causes:
        story = served(title)
        bad: tuple[SlotObservation, ...] = (story.slot(0), story.slot(1, **broken))
        story.step("it begins", COMING, *bad, after=300 * MINUTE)
        story.step("for 9 minutes", COMING, *bad, after=9 * MINUTE)
        story.step("for 10 minutes", STUCK, *bad, after=MINUTE)
        story.step("for an hour", STUCK, *bad, after=50 * MINUTE)
        story.step("mended", AS_ASKED, *story.slots(), after=MINUTE)
        story.step("again, much later", COMING, *bad, after=999 * MINUTE)
        story.step("mended at once", AS_ASKED, *story.slots(), after=30)
        yield story


def lanes_that_restart() -> Iterator[Story]:
    """Slots that come up one after the other, or do not."""
    story = LaneStory("an image that was never there", the_pool())
    bad = story.slots(pod_ready=False, pod_reason="relay: ErrImagePull", reachable=False, config_generation=0)
    story.step("the pods wait", COMING, *bad)
    story.step("for 10 minutes", STUCK, *bad, after=10 * MINUTE)
    story.changed(pod={"priorityClassName": "mail"})
    bad = story.slots(pod_ready=False, pod_reason="relay: ErrImagePull", reachable=False, config_generation=0)
    story.step("another try of its owner", COMING, *bad, after=1)
    story.step("that mends nothing", STUCK, *bad, after=10 * MINUTE)
    yield story

    story = served("slots that restart one after the other", 4)
    for restarting in range(4):
        those = [story.slot(index, rolling=index > restarting, rolls_later=index > restarting) for index in range(4)]
        those[restarting] = story.slot(restarting, pod_ready=False, rolling=True)
        story.step(f"slot {restarting}", COMING, *those, after=5 * MINUTE)
    story.step("all have", AS_ASKED, *story.slots(4), after=MINUTE)
    yield story

    story = served("one after the other, and the first does not come up", 3)
    slots = (
        story.slot(0, pod_ready=False, rolling=True),
        *(story.slot(at, rolling=True, rolls_later=True) for at in (1, 2)),
    )
    story.step("it restarts", COMING, *slots)
    story.step("the roll is halted", STUCK, *slots, after=10 * MINUTE)
    yield story


def lanes_that_cannot_be_written() -> Iterator[Story]:
    """A write that fails, a volume that is gone."""
    story = served("the API server refuses a write for now")
    story.refusals = (
        Refusal(Reason.PROGRESSING_WITH_RETRY, "Service otp: 503", waiting=Reason.PROGRESSING_WITH_RETRY),
    )
    story.step("at once", COMING, *story.slots())
    story.step("for an hour", COMING, *story.slots(), after=60 * MINUTE)
    story.refusals = ()
    story.step("no more", AS_ASKED, *story.slots(), after=1)
    yield story

    story = served("a volume was deleted by hand")
    story.refusals = (Refusal(Reason.VOLUME_DELETED, "queue-otp-1 is gone"),)
    story.step("at once", STUCK, *story.slots())
    yield story


def lanes_that_change() -> Iterator[Story]:
    """New generations, suspension, scaling, what a policy brings."""
    story = served("a new generation")
    before = story.slots()
    story.changed(limits={"connectionsPerIP": 5})
    story.step("on its way", COMING, *before, after=1)
    story.step("one slot has it", COMING, story.slot(0), before[1], after=1)
    story.step("in force", AS_ASKED, *story.slots(), after=1)
    yield story

    story = served("a new generation that no slot's configuration shows")
    story.changed(pod={"nodeSelector": {"disk": "fast"}})
    story.step("slots wait for their turn", COMING, *story.slots(rolling=True, rolls_later=True), after=1)
    story.step("all have restarted", AS_ASKED, *story.slots(), after=MINUTE)
    yield story

    story = served("another policy, in force within seconds")
    story.references = {"handed": {f"otp-{index}": Handed(serial=70, reported=70) for index in (0, 1)}}
    story.step("pushed", AS_ASKED, *story.slots(config_serial=69), after=1)
    yield story

    story = served("suspended from Git")
    before = story.slots()
    story.changed(suspend=True)
    story.step("on its way", COMING, *before, after=1)
    story.step("in force", PAUSED, *story.slots(queued=40), after=2)
    story.step(
        "for days, with the proof gone stale", PAUSED, *story.slots(proof_state="ProofStale"), after=9999 * MINUTE
    )
    story.step("a slot restarts meanwhile", COMING, story.slot(0), story.slot(1, pod_ready=False), after=MINUTE)
    story.step("it is back", PAUSED, *story.slots(), after=MINUTE)
    before = story.slots()
    story.changed(suspend=False)
    story.step("no more, on its way", COMING, *before, after=1)
    story.step("it sends", AS_ASKED, *story.slots(), after=2)
    yield story


def lanes_that_are_scaled() -> Iterator[Story]:
    """In, out, to nothing, and back in time."""
    story = served("scaled in", 3, trafficClass="Bulk")
    before = story.slots(3)
    story.changed(replicas=2)
    story.step("the third slot drains", COMING, *before, after=1)
    story.step("it drains still", COMING, *story.slots(3, queued=9), after=20 * MINUTE)
    story.step("past the deadline", STUCK, *story.slots(3, queued=9), after=50 * MINUTE)
    story.step("it is gone", AS_ASKED, *story.slots(2), after=MINUTE)
    yield story

    story = served("scaled in, and the mail is held", 2, trafficClass="Bulk", drain={"policy": "Hold"})
    before = story.slots()
    story.changed(replicas=1)
    story.step("it stops", COMING, *before, after=1)
    held = (story.slot(0), story.slot(1, stopped=True, reachable=False, pod_ready=False, queued=7))
    story.step("it keeps its mail", AS_ASKED, *held, after=MINUTE)
    story.step("for days", AS_ASKED, *held, after=9999 * MINUTE)
    yield story

    story = served("scaled out")
    story.changed(replicas=3)
    story.step("the third starts", COMING, *story.slots(2), story.slot(2, pod_ready=False), after=1)
    story.step("it serves", AS_ASKED, *story.slots(3), after=MINUTE)
    yield story

    story = served("scaled to nothing", 1, trafficClass="Bulk")
    story.changed(replicas=0)
    story.step("the last slot drains", COMING, *story.slots(1), after=1)
    story.step("nothing is left, as asked", AS_ASKED, after=MINUTE)
    yield story

    story = served("etcd restored from an older snapshot")
    story.generation -= 1
    story.told("the status is of a generation that is not any more", COMING, story.status.model_copy(
        update={"observed_generation": 9}))  # fmt: skip
    yield story


def lanes_that_are_odd_but_serve() -> Iterator[Story]:
    """Conditions that only tell, and those that ask for a look."""
    for title, truth, seen, references in (
        ("mail goes to one address by the installation's wish", AS_ASKED, {},
         {"forced_delivery": ForcedDelivery("Redirect", "all@test.example")}),
        ("no reflector answers, the proof holds", AS_ASKED, {"proof_state": "ProofStale"}, {}),
        ("all slots on one node", AS_ASKED, {"node": "node-a"}, {}),
        ("kinds that the cluster does not serve", AS_ASKED, {},
         {"kinds": frozenset({"NetworkAttachmentDefinition.k8s.cni.cncf.io"})}),
        ("records that are not in DNS", AS_ASKED, {"domains_records": {DOMAIN: (NO_DMARC,)}}, {}),
        ("a full queue", AS_ASKED, {"queued": 99_000, "oldest_since": "2026-11-23T01:00:00Z"}, {}),
        ("a queue that grows", AS_ASKED, {"is_behind": True}, {}),
        ("a volume without room", AS_ASKED, {"disk_used": 95}, {}),
        ("a volume came back from a snapshot", LOOK, {"restored": "an older copy"}, {}),
        ("nobody knows who has a message", LOOK, {"doubts": ("7 messages offered to otp-1",)}, {}),
        ("mail without a way out", LOOK, {"stranded": True}, {}),
        ("the archive fails", LOOK, {"archive_failure": "403 Forbidden", "unarchived": 3}, {}),
        ("records are not sealed", LOOK, {"sealing_failure": "no key"}, {}),
    ):  # fmt: skip
        story = LaneStory(title, the_pool())
        story.references = dict(references)
        story.step("it stands so", truth, *story.slots(**seen))
        story.step("for days", truth, *story.slots(**seen), after=9999 * MINUTE)
        yield story

    for title, seen in (("the record is taken from DNS", ABSENT), ("DNS answers nobody", SILENT)):
        story = served(title)
        story.step("it begins", COMING, *story.slots(**seen), after=999 * MINUTE)
        story.step("for an hour", STUCK, *story.slots(**seen), after=60 * MINUTE)
        story.step("it is back", AS_ASKED, *story.slots(), after=MINUTE)
        yield story


def lanes_that_restart_by_a_change() -> Iterator[Story]:
    """A field that needs another process: slots refuse it for the seconds until it is their turn."""
    refusal = f"intake.http.host: {NEEDS_RESTART_TEXT}: restart it with the new file"
    old: dict[str, Any] = {"config_refused": refusal, "config_generation": 2}
    story = served("HTTP is switched on")
    story.changed(submission={"senders": ["@notify.example.com"], "http": {}})
    story.step("slots say that they cannot", COMING, *story.slots(**old), after=1)
    story.step("one restarts, one waits", COMING, story.slot(0, **old, rolling=True, pod_ready=False),
               story.slot(1, **old, rolling=True, rolls_later=True), after=1)  # fmt: skip
    story.step("both serve", AS_ASKED, *story.slots(), after=MINUTE)
    yield story


def lanes_with_standby_slots() -> Iterator[Story]:
    """A slot that stands by, or stands in for an address that an ISP refuses."""
    spare = replace(made.claim(2), slot_index=STANDBY_FROM, slot_name="otp-s0", role=SlotRole.STANDBY)
    both = (made.claim(0), made.claim(1))
    story = served("a standby slot")
    story.changed(standbyReplicas=1)
    story.claims = (*both, spare)
    spare_says: dict[str, Any] = {"name": "otp-s0", "pod_ready": False}  # takes no mail, so its pod is never ready
    story.step("it starts", COMING, *story.slots(), story.slot(2, **spare_says, reachable=False), after=1)
    story.step("it stands by", AS_ASKED, *story.slots(), story.slot(2, **spare_says), after=MINUTE)
    story.step("for days", AS_ASKED, *story.slots(), story.slot(2, **spare_says, rolling=True), after=9999 * MINUTE)
    bad = story.slot(2, **spare_says, proof_state="PortBlocked")
    story.step("it is not proved", COMING, *story.slots(), bad, after=MINUTE)
    story.step("for 10 minutes", STUCK, *story.slots(), bad, after=10 * MINUTE)
    refused = Quarantine(by="gmail/listed", isps=("gmail",), since="s", until="u", stood_in_by="otp-s0")
    story.claims = (both[0], replace(both[1], quarantine=refused), replace(
        spare, role=SlotRole.PROMOTED, stands_in_for=("otp-1",)))  # fmt: skip
    story.step("it stands in", AS_ASKED, *story.slots(), story.slot(2, **spare_says), after=MINUTE)
    yield story

    story = LaneStory("no address is left for the standby slot", the_pool(2))
    story.changed(standbyReplicas=1)
    story.step("both active slots serve", COMING, *story.slots())
    story.step("for a minute", STUCK, *story.slots(), after=MINUTE)
    story.changed(standbyReplicas=0)
    story.step("nobody asks for it any more", AS_ASKED, *story.slots(), after=1)
    yield story

    story = served("an address is refused, and nobody stands in")
    alone = Quarantine(by="gmail/listed", isps=("gmail",), since="s", until="u")
    story.claims = (both[0], replace(both[1], quarantine=alone))
    story.step("until the ISP forgets", LOOK, *story.slots(), after=MINUTE)
    story.claims = both
    story.step("it has", AS_ASKED, *story.slots(), after=120 * MINUTE)
    yield story


def lanes_that_go() -> Iterator[Story]:
    """Deletion, in every state, and specs that cannot be read."""
    for title, seen in (
        ("deleted, with mail", {"queued": 12, "intake": "Closed"}),
        ("deleted, and silent", {"reachable": False}),
        ("deleted, and broken", {"proof_state": "Mismatch"}),
    ):
        story = served(title)
        story.deleted()
        story.step("it drains", GOING, *story.slots(**seen), after=1)
        story.step("past its deadline", GOING, *story.slots(**seen), after=90 * MINUTE)
        story.step("its slots are gone", GOING, after=MINUTE)
        yield story

    story = LaneStory("deleted before it was ready", None)
    story.step("no pool", COMING)
    story.deleted()
    story.step("nothing to drain", GOING)
    yield story

    story = served("a spec that our models refuse")
    story.changed()
    story.broken("it cannot be read", STUCK, "submission.senders: no @")
    story.changed(limits={"connectionsPerIP": 6})
    story.step("corrected, on its way", COMING, *story.slots(config_generation=1), after=MINUTE)
    story.step("in force", AS_ASKED, *story.slots(), after=2)
    yield story


def pools() -> Iterator[Story]:
    """Addresses that others have, that are taken away, that cannot be read."""
    story = PoolStory("a pool")
    story.step("accepted", AS_ASKED)
    story.changed(cooldown="48h")
    story.step("accepted again", AS_ASKED, after=1)
    story.broken("it cannot be read", STUCK, "classes: empty")
    story.changed()
    story.step("corrected", AS_ASKED, after=1)
    story.deleted()
    story.step("it waits for its lanes", GOING, after=1)
    yield story

    story = PoolStory("an address of another pool's")
    other = replace(made.pool(addresses=ADDRESSES[:1]), name="a-pool")
    story.beside = (other,)
    story.step("it may be about to leave that one", COMING)
    story.step("for 20 seconds", COMING, after=20)
    story.step("for 30 seconds", STUCK, after=10)
    story.beside = ()
    story.step("it has left", AS_ASKED, after=MINUTE)
    yield story

    story = PoolStory("an address leaves while it is held")
    lane = made.lane()
    story.demands = (Demand("mail", "otp", lane.spec.traffic_class, made.POOL, 2, retained=frozenset({0, 1})),)
    story.step("two are held", AS_ASKED)
    story.changed(addresses=ADDRESSES[1:])
    story.step("the lane still has it", COMING, after=1)
    story.step("for 5 minutes", STUCK, after=5 * MINUTE)
    story.changed(addresses=ADDRESSES)
    story.step("put back", AS_ASKED, after=1)
    yield story


def policies() -> Iterator[Story]:
    """Rules that say nothing, and two policies for one ISP."""
    rule = {"id": "a", "pattern": "^550", "category": "other", "action": "Retry", "examples": ["421 slow down"]}
    story = PolicyStory("a policy")
    story.step("accepted", AS_ASKED)
    story.changed(responses=[rule])
    story.step("a rule misses its example", STUCK, after=1)
    story.changed(responses=[{**rule, "pattern": "^421"}])
    story.step("corrected", AS_ASKED, after=1)
    yield story

    story = PolicyStory("a tie that it loses")
    story.neighbours = (made.policy("another"),)
    story.step("the other may be about to go", COMING)
    story.step("it stays", STUCK, after=30)
    story.neighbours = (made.policy("another", priority=-1),)
    story.step("settled by priority", AS_ASKED, after=1)
    yield story

    story = PolicyStory("a tie that it wins")
    story.neighbours = (made.policy("google"),)
    story.step("all that it asks for is so", LOOK)
    yield story


def corpus() -> list[Moment]:
    """Every moment of every story."""
    tellers = (
        lanes_that_come, lanes_that_do_not_fit, lanes_that_others_stand_against, lanes_whose_slots_fail,
        lanes_that_restart, lanes_that_cannot_be_written, lanes_that_change, lanes_that_are_scaled,
        lanes_that_are_odd_but_serve, lanes_that_restart_by_a_change, lanes_with_standby_slots, lanes_that_go, pools,
        policies, *OF_CHILDREN, *OF_MOVES, *OF_STANDSTILLS, those_that_share, those_that_are_listed,
        those_that_turn_their_keys, those_that_isps_answer, those_after_a_restored_etcd,
    )  # fmt: skip
    return list(moments(story for teller in tellers for story in teller()))
