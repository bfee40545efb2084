"""What lanes say while slots may run that nobody knows, since etcd was put back to an older snapshot."""

from collections.abc import Iterator

from tests.gitops.stories import ADDRESSES, LaneStory, Story
from tests.gitops.truth import Truth
from tests.lane_operator import made

MINUTE = 60.0


def those_after_a_restored_etcd() -> Iterator[Story]:
    """One that wants an address then, and one that has its own."""
    story = LaneStory("made right after etcd was restored", made.pool(addresses=ADDRESSES))
    story.unseen = ("nodes end slots that are unknown now, until 2026-11-23T08:02:00Z",)
    story.step("nodes have their time", Truth.COMING)
    story.unseen = ("node n2 does not answer",)
    story.step("a node does not answer", Truth.COMING, after=4 * MINUTE)
    story.step("for 5 minutes", Truth.STUCK, after=MINUTE)
    story.unseen = ()
    story.step("it does", Truth.COMING, after=60 * MINUTE)
    story.step("slots serve", Truth.AS_ASKED, *story.slots(), after=MINUTE)
    yield story

    story = LaneStory("serving while etcd is restored", made.pool(addresses=ADDRESSES))
    story.step("applied", Truth.COMING)
    story.step("slots serve", Truth.AS_ASKED, *story.slots(), after=MINUTE)
    story.unseen = ("node n2 does not answer",)
    story.step("it has what it asks for", Truth.AS_ASKED, *story.slots(), after=1)
    yield story
