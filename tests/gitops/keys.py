"""Stories of a domain's keys that are rotated: told, and nothing is waited for, since the present key signs."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace

from lane_api.lane_status import KeyPhase
from lane_api.selector import SelectorFinding
from lane_operator.inputs import DkimKey, KeyTurn
from lane_operator.seen import NextKeySeen
from tests.gitops.stories import Story, served
from tests.gitops.truth import Truth
from tests.lane_operator import made

DOMAIN = "notify.example.com"
DAY = 86_400.0
OLD = DkimKey("lw1", "otp-dkim", "private.key", "p=OLD")
NEW = DkimKey("lw2", "otp-dkim", "2.private.key", "p=NEW", place=2)


def those_that_turn_their_keys() -> Iterator[Story]:
    """A rotation from its first to its last word, and one whose next record nobody publishes."""
    story = served("its key is rotated")
    later = made.NOW + dt.timedelta(days=9)
    absent = {DOMAIN: NextKeySeen("lw2", published=False, finding=SelectorFinding.ABSENT, message="no TXT record")}
    there = {DOMAIN: NextKeySeen("lw2", published=True, finding=SelectorFinding.PUBLISHED)}
    for said, signs, turn, seen in (
        ("the key is young", OLD, KeyTurn(ends=later), {}),
        ("the next key is made", OLD, KeyTurn(KeyPhase.PUBLISHING, following=NEW), {}),
        ("nobody publishes it", OLD, KeyTurn(KeyPhase.PUBLISHING, following=NEW), absent),
        ("DNS answers it", OLD, KeyTurn(KeyPhase.PROPAGATING, later, following=NEW), there),
        ("it signs", NEW, KeyTurn(KeyPhase.RETIRING, later, before=OLD), {}),
        ("the key before is forgotten", NEW, KeyTurn(ends=later, retired="lw1"), {}),
    ):
        story.references = {"dkim": {DOMAIN: replace(signs, turn=turn)}}
        story.step(said, Truth.AS_ASKED, *story.slots(domains_next=seen), after=DAY)
        story.step(f"{said}, for days", Truth.AS_ASKED, *story.slots(domains_next=seen), after=9 * DAY)
    yield story

    story = served("the record of its rotated key goes")
    story.references = {"dkim": {DOMAIN: replace(NEW, turn=KeyTurn(KeyPhase.RETIRING, later, before=OLD))}}
    gone = story.slots(domains_published={DOMAIN: False}, domains_dns={DOMAIN: ("Absent", "no TXT record")})
    story.step("its mail waits", Truth.COMING, *gone, after=DAY)
    story.step("for an hour", Truth.STUCK, *gone, after=3600)
    story.step("it is back", Truth.AS_ASKED, *story.slots(), after=60)
    yield story
