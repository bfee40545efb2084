"""Stories of lanes that send nothing, or go nowhere, until a person does something; each step with its truth."""

from collections.abc import Iterator
from dataclasses import replace

from lane_api.ippool import QUARANTINED_BY_OWNER, Quarantine
from tests.gitops.stories import LaneStory, Story, served, the_pool
from tests.gitops.truth import Truth
from tests.lane_operator import made

__all__ = ["OF_STANDSTILLS"]

AS_ASKED, COMING, STUCK, LOOK, PAUSED, GOING = Truth
MINUTE = 60.0


def lanes_that_drain_suspended() -> Iterator[Story]:
    """Scaled to nothing while spec.suspend keeps the mail: nobody takes it, and it goes nowhere."""
    story = served("suspended, and scaled to nothing with mail", 1, trafficClass="Bulk", suspend=True)
    story.changed(replicas=0)
    keeps = story.slot(0, queued=3, intake="Closed")
    story.step("its slot keeps the mail", COMING, keeps, after=1)
    story.step("past the deadline", STUCK, keeps, after=90 * MINUTE)
    story.changed(suspend=False)
    story.step("a person lets it send", STUCK, story.slot(0, queued=3, intake="Closed"), after=1)
    story.step("it is gone", AS_ASKED, after=MINUTE)
    yield story

    story = served("suspended, and scaled to nothing without mail", 1, trafficClass="Bulk", suspend=True)
    story.changed(replicas=0)
    story.step("its slot goes", COMING, story.slot(0, intake="Closed"), after=1)
    story.step("it is gone, as asked", PAUSED, after=MINUTE)
    yield story


def lanes_that_name_no_policy() -> Iterator[Story]:
    """An entry of isps that is misspelt takes nothing from a lane that serves; it is not as asked all the same."""
    story = served("an entry of isps is misspelt")
    before = story.slots()
    story.changed(isps=[{"name": "gmial", "connectionsPerIP": 1}])
    story.step("on its way", COMING, *before, after=1)
    story.step("the rest is in force", COMING, *story.slots(), after=1)
    story.step("for 5 minutes", STUCK, *story.slots(), after=5 * MINUTE)
    story.changed(isps=[{"name": "gmail", "connectionsPerIP": 1}], suspend=True)
    story.step("spelt well, and suspended", PAUSED, *story.slots(), after=1)
    story.changed(isps=[{"name": "gmial", "connectionsPerIP": 1}])
    story.step("misspelt again", COMING, *story.slots(), after=1)
    yield story


def lanes_without_an_address_that_may_send() -> Iterator[Story]:
    """All of a lane's addresses are refused or quarantined."""
    for title, by in (("its owner quarantines it", QUARANTINED_BY_OWNER), ("every ISP refuses it", "default/listed")):
        story = LaneStory(f"the only address, and {title}", the_pool(), replicas=1)
        story.step("it serves", AS_ASKED, *story.slots(1))
        until = None if by == QUARANTINED_BY_OWNER else "2026-11-23T09:00:00Z"
        story.claims = (
            replace(made.claim(0), quarantine=Quarantine(by=by, since="2026-11-23T08:00:00Z", until=until)),
        )
        story.step("nothing leaves", LOOK, *story.slots(1), after=MINUTE)
        story.step("for an hour", LOOK, *story.slots(1, queued=99), after=60 * MINUTE)
        story.claims = ()
        story.step("it may send again", AS_ASKED, *story.slots(1), after=MINUTE)
        yield story


OF_STANDSTILLS = (lanes_that_drain_suspended, lanes_that_name_no_policy, lanes_without_an_address_that_may_send)
