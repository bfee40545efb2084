"""Stories of ISPs that are not sent to, or slowly, for what they said: told, and the lane is as asked all the same."""

from collections.abc import Iterator
from dataclasses import replace

from lane_operator.seen import ActSeen
from tests.gitops.stories import Story, served
from tests.gitops.truth import Truth

STOPPED = ActSeen("SuspendSite", "gmail", "", "gmail/blocked", "2026-11-23T07:50:00Z", "2026-11-23T08:50:00Z", "550 no")
SLOWED = replace(STOPPED, action="Backoff", until="")
MINUTE, DAY = 60.0, 86_400.0


def those_that_isps_answer() -> Iterator[Story]:
    """Rules that stop and slow down, by Act, through a change and a deletion, and what Observe makes of them."""
    story = served("an ISP is stopped for what it said")
    story.step("it is slowed down at first", Truth.AS_ASKED, *story.slots(acts=(SLOWED,)), after=MINUTE)
    story.step("a rule stops it", Truth.AS_ASKED, *story.slots(acts=(STOPPED, SLOWED)), after=MINUTE)
    story.step("again and again, for a day", Truth.AS_ASKED, *story.slots(acts=(STOPPED,)), after=DAY)
    story.step("a slot of it restarts", Truth.COMING, story.slot(0, acts=(STOPPED,), reachable=False, pod_ready=False),
               story.slot(1, acts=(STOPPED,)), after=1)  # fmt: skip
    story.step("it is back", Truth.AS_ASKED, *story.slots(acts=(STOPPED,)), after=MINUTE)
    story.changed(replicas=1)
    left = story.slot(0, acts=(STOPPED,))
    going = story.slot(1, acts=(STOPPED,), intake="Closed", queued=9)
    story.step("a slot drains that waits for the ISP", Truth.COMING, left, going, after=1)
    story.step("it has gone", Truth.AS_ASKED, left, after=MINUTE)
    story.step("the ISP is sent to again", Truth.AS_ASKED, story.slot(0), after=60 * MINUTE)
    story.deleted()
    story.step("it goes, with mail that is stopped", Truth.GOING, going, after=1)
    yield story

    story = served("rules are only watched")
    observed = {"observed": ("SuspendSite of gmail until u by rule gmail/r",)}
    story.step("one speaks", Truth.AS_ASKED, *story.slots(**observed), after=MINUTE)
    story.step("for days", Truth.AS_ASKED, *story.slots(**observed), after=9 * DAY)
    yield story
