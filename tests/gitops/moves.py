"""Stories of slots that change their place, their image or their way out, each step with its truth."""

from collections.abc import Iterator
from dataclasses import replace

from lane_api.lane_status import RestartStatus, SlotImages, UpgradePhase, UpgradeStatus
from lane_operator.inputs import NodeFacts
from tests.gitops.stories import LaneStory, Story, served, the_pool
from tests.gitops.truth import Truth
from tests.lane_operator import made

__all__ = ["OF_MOVES"]

AS_ASKED, COMING, STUCK, LOOK, PAUSED, GOING = Truth
MINUTE = 60.0


def lanes_on_nodes() -> Iterator[Story]:
    """Nodes that are emptied, or lost."""
    story = served("a node is drained")
    story.claims = (replace(made.claim(0), moves=True), made.claim(1))
    story.step("its slot hands its mail over", AS_ASKED, *story.slots(queued=40), after=1)
    story.step("for an hour, since nobody evicts it", AS_ASKED, *story.slots(), after=60 * MINUTE)
    story.claims = ()
    story.step("it restarts elsewhere", COMING, story.slot(0, pod_ready=False, node=""), story.slot(1), after=1)
    story.step("it serves there", AS_ASKED, *story.slots(node="node-c"), after=MINUTE)
    yield story

    story = served("a node is lost")
    lost = story.slot(0, pod_ready=False, reachable=False)
    story.references = {"nodes": {"node-a": NodeFacts("192.0.2.10", ready=False), "node-b": NodeFacts("192.0.2.11")}}
    story.step("its slot does not answer", COMING, lost, story.slot(1), after=60)
    story.step("for 10 minutes", STUCK, lost, story.slot(1), after=10 * MINUTE)
    story.references = {}
    story.step("it is back", AS_ASKED, *story.slots(), after=MINUTE)
    yield story

    story = served("a volume is lost and given up")
    lost = story.slot(1, pod_ready=False, reachable=False, pvc_uid="claim-1")
    story.step("its slot does not come", COMING, story.slot(0), lost)
    story.step("for 10 minutes", STUCK, story.slot(0), lost, after=10 * MINUTE)
    story.annotations = {"lanewright.dev/release": "forget-slot/claim-1"}
    story.step("a person gives it up", STUCK, story.slot(0), lost, after=MINUTE)
    story.step("it was said for long enough", STUCK, story.slot(0), lost, after=5 * MINUTE)
    story.step("the slot begins anew", AS_ASKED, *story.slots(), after=MINUTE)
    yield story


def lanes_that_are_upgraded() -> Iterator[Story]:
    """New images come, and go back; the spec names none, so that it is in force whatever the slots run."""
    for title, last, truth in (("new images", "Done", AS_ASKED), ("images that do worse", "RolledBack", LOOK)):
        story = served(title)
        to, before = SlotImages(relay="relay:2"), SlotImages(relay="relay:1")
        story.upgrade = UpgradeStatus(images=to, previous=before, since="2026-11-23T08:00:00Z")
        story.step("other lanes come first", AS_ASKED, *story.slots())
        story.step("for hours", AS_ASKED, *story.slots(), after=300 * MINUTE)
        story.upgrade = story.upgrade.model_copy(update={"phase": UpgradePhase.ROLLING, "slot": "otp-0"})
        story.step("a slot restarts", COMING, story.slot(0, pod_ready=False, rolling=True), story.slot(1), after=1)
        story.upgrade = story.upgrade.model_copy(update={"phase": UpgradePhase.WATCHED})
        story.step("it serves", AS_ASKED, *story.slots(), after=20)
        story.upgrade = story.upgrade.model_copy(update={"phase": UpgradePhase(last), "message": "otp-0 fails"})
        story.step("it is decided", truth, *story.slots(), after=MINUTE)
        story.step("for days", truth, *story.slots(), after=9999 * MINUTE)
        yield story


def lanes_that_hand_over_before_they_restart() -> Iterator[Story]:
    """A slot's pod is to be another, by its lane's spec or for new images; its mail goes to the others before."""
    for title, upgraded in (("another pod", False), ("new images, and mail that waits", True)):
        story = served(title)
        if upgraded:
            images = SlotImages(relay="relay:2"), SlotImages(relay="relay:1")
            story.upgrade = UpgradeStatus(
                phase=UpgradePhase.ROLLING,
                slot="otp-0",
                images=images[0],
                previous=images[1],
                since="2026-11-23T08:00:00Z",
            )
        story.restart = RestartStatus(slot="otp-0", since="2026-11-23T08:00:00Z")
        story.claims = (replace(made.claim(0), hands_over=True), made.claim(1))
        later = {"rolling": True, "rolls_later": True}
        closed = story.slot(0, pod_ready=False, intake="Closed", queued=900, **later)
        story.step("its slot hands over", COMING, closed, story.slot(1), after=1)
        story.step("for as long as an installation lets it", COMING, closed, story.slot(1), after=20 * MINUTE)
        story.restart = RestartStatus(slot="otp-0", handed_over=True)
        story.claims = ()
        restarting = story.slot(0, pod_ready=False, reachable=False, rolling=True)
        story.step("it restarts", COMING, restarting, story.slot(1), after=1)
        story.restart = None
        story.upgrade = None
        story.step("it serves", AS_ASKED, *story.slots(), after=MINUTE)
        yield story

    story = served("another pod, while another slot is lost")
    lost = story.slot(1, pod_ready=False, reachable=False)
    story.restart = RestartStatus(slot="otp-0")
    waiting = story.slot(0, rolling=True, rolls_later=True)
    story.step("it is open, and waits", COMING, waiting, lost)
    story.step("for 10 minutes", STUCK, waiting, lost, after=10 * MINUTE)
    story.restart = None
    story.step("both serve", AS_ASKED, *story.slots(), after=MINUTE)
    yield story


def lanes_whose_addresses_have_no_name() -> Iterator[Story]:
    """A PTR record that is not there is told, and stops a slot only where the pool says so."""
    nameless = {"ptr_finding": "NoPTR", "ptr_message": "203.0.113.10 has no PTR record"}
    story = LaneStory("nobody sets the PTR record, and the pool says Warn", the_pool())
    story.step("it serves", AS_ASKED, *story.slots(**nameless))
    story.step("the resolver is down", AS_ASKED, *story.slots(ptr_finding="Unanswered"), after=MINUTE)
    story.step("it is set", AS_ASKED, *story.slots(ptr_finding="ForwardConfirmed"), after=MINUTE)
    yield story

    required = {"reflectors": ["tcp://198.51.100.5:25"], "secretName": "reflector", "ptr": "Require"}
    story = LaneStory("nobody sets the PTR record, and the pool says Require", the_pool(verification=required))
    story.step("nothing leaves", COMING, *story.slots(proof_state="Unproved", **nameless))
    story.step("for ten minutes", STUCK, *story.slots(proof_state="Unproved", **nameless), after=10 * MINUTE)
    story.step("it is set", AS_ASKED, *story.slots(ptr_finding="ForwardConfirmed"), after=MINUTE)
    yield story


OF_MOVES = (
    lanes_on_nodes,
    lanes_that_are_upgraded,
    lanes_that_hand_over_before_they_restart,
    lanes_whose_addresses_have_no_name,
)
