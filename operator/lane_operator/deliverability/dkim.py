"""When the key of a domain gives way to another: where a rotation stands, and the one step that is due now; pure.

    Stable --old enough--> Publishing --DNS answers--> Propagating --`propagation`--> Retiring --`retire`--> Stable

A Secret has two places for keys. In one is the key that signs; in the other, while a rotation is under way, the one
that signs next, and after the turn the one before. So the turn is one entry of the Secret that says another number: no
key is copied or moved, and the slots have had the file, and asked DNS for its record, long before.
Invariants: where a rotation stands is in the Secret alone, so that a restart at any point changes nothing; a key signs
after every slot that runs has found its record, and none has seen it gone; a key before is given up only after its
successor signs in every such slot, and DNS answers that. Before it: a Secret and what slots say. After it: `dkim_keys`,
which does the step, in one write.
"""

import datetime as dt
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from lane_api.domains import DkimSpec
from lane_api.lane_status import KeyPhase
from lane_api.moment import moment
from lane_api.selector import SelectorFinding
from lane_operator.inputs import Observation

__all__ = ["Answers", "Rotation", "Step", "after", "answers", "due", "ends", "phase", "read", "write"]

_ANOTHER = frozenset({SelectorFinding.ABSENT, SelectorFinding.OTHER})
"""DNS answers, and not with the key; an outage of DNS proves nothing."""


class Step(StrEnum):
    """What is to be done now."""

    MAKE = "Make"
    """The next key, in the other place."""
    HEAR = "Hear"
    """DNS answers the next key: its propagation begins."""
    MISS = "Miss"
    """DNS does not answer it any more: its propagation begins anew when it does."""
    TURN = "Turn"
    """The next key signs."""
    RETIRE = "Retire"
    """The key before goes, and its record with it."""
    DROP = "Drop"
    """No rotation is asked for any more: the next key goes before it has signed anything."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """Where a Secret's rotation stands."""

    signs: Literal[1, 2] = 1
    """The place of the key that signs."""
    since: dt.datetime | None = None
    """Since when it does; None: since it was made."""
    other: Literal["", "Next", "Before"] = ""
    """What is in the other place: nothing, the key that signs next, or the one that signed before."""
    answered: dt.datetime | None = None
    """Since when DNS has answered the next key."""
    retired: str = ""
    """Selector of the last key that was given up: its record may be taken out of DNS."""

    @property
    def spare(self) -> Literal[1, 2]:
        """The other place."""
        return 2 if self.signs == 1 else 1


@dataclass(frozen=True, slots=True)
class Answers:
    """What the slots say that DNS answers; None: some cannot say, or there is nobody to say it."""

    signing: bool | None = None
    """Each signs with the key that is to sign, and DNS answers it."""
    following: bool | None = None
    """DNS answers the next key. False: at least one slot has seen it answer something else."""


def read(text: bytes) -> Rotation:
    """The rotation that a Secret's entry tells; what is no such entry tells of none."""
    try:
        said = json.loads(text)
        return Rotation(
            signs=2 if said["signs"] == 2 else 1,  # a place, of two
            since=_time(said.get("since")),
            other=said["other"] if said.get("other") in ("Next", "Before") else "",
            answered=_time(said.get("answered")),
            retired=str(said.get("retired") or ""),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Rotation()


def write(rotation: Rotation) -> bytes:
    """The entry that tells it."""
    said = {
        "signs": rotation.signs,
        "since": _text(rotation.since),
        "other": rotation.other,
        "answered": _text(rotation.answered),
        "retired": rotation.retired,
    }
    return json.dumps({name: value for name, value in said.items() if value}).encode()


def answers(observation: Observation, domain: str, signing: str, following: str) -> Answers:
    """What the slots say of two selectors of a domain; nothing where one that runs has not said a word of it yet, as
    after a restart of the operator. One that does not run asks DNS itself before it signs."""
    known = [slot for slot in observation.slots if not slot.stopped]
    said = [slot for slot in known if domain in slot.domains_published]
    unheard = any(slot.is_alive for slot in known if domain not in slot.domains_published)
    if unheard or not any(slot.reachable for slot in said):
        return Answers()
    signs = all(slot.domains_published[domain] and slot.domains_selectors.get(domain) == signing for slot in said)
    found = [slot.domains_next.get(domain) for slot in said]
    asked = [one for one in found if one is not None and one.selector == following]
    if following and any(one.finding in _ANOTHER for one in asked):
        return Answers(signing=signs, following=False)
    heard = bool(following) and len(asked) == len(said) and all(one.published for one in asked)
    return Answers(signing=signs, following=heard or None)


def phase(rotation: Rotation) -> KeyPhase:
    """The word for where it stands."""
    if rotation.other == "Before":
        return KeyPhase.RETIRING
    if rotation.other == "Next":
        return KeyPhase.PUBLISHING if rotation.answered is None else KeyPhase.PROPAGATING
    return KeyPhase.STABLE


def ends(rotation: Rotation, spec: DkimSpec, made: dt.datetime | None) -> dt.datetime | None:
    """When the time of this phase is over; what DNS has to answer may take longer. None: time alone ends it not."""
    since = rotation.since or made
    match phase(rotation):
        case KeyPhase.STABLE:
            return _later(since, spec.rotate_every)
        case KeyPhase.PUBLISHING:
            return None
        case KeyPhase.PROPAGATING:
            return _later(rotation.answered, spec.propagation)
        case KeyPhase.RETIRING:
            return _later(since, spec.retire)


def due(
    rotation: Rotation,
    spec: DkimSpec,
    made: dt.datetime | None,
    told: Answers,
    now: dt.datetime,
    *,
    may_begin: bool = True,
) -> Step | None:
    """The step that is due; None: none is. `made` is when the Secret was; a rotation that has begun is not stopped by
    `may_begin`."""
    end = ends(rotation, spec, made)
    is_over = end is not None and now >= end
    match phase(rotation):
        case KeyPhase.STABLE:  # where DNS lacks the key that is to sign, mail waits: another one would wait with it
            return Step.MAKE if is_over and may_begin and told.signing else None
        case KeyPhase.PUBLISHING | KeyPhase.PROPAGATING if spec.rotate_every is None:
            return Step.DROP
        case KeyPhase.PUBLISHING:
            return Step.HEAR if told.following else None
        case KeyPhase.PROPAGATING:
            if told.following is False:
                return Step.MISS
            return Step.TURN if is_over and told.following else None
        case KeyPhase.RETIRING:
            return Step.RETIRE if is_over and told.signing else None


def after(rotation: Rotation, step: Step, now: dt.datetime, before: str = "") -> Rotation:
    """Where it stands once the step is done. `before`: selector of the key in the other place."""
    match step:
        case Step.MAKE:
            return replace(rotation, other="Next", answered=None)
        case Step.HEAR:
            return replace(rotation, answered=now)
        case Step.MISS:
            return replace(rotation, answered=None)
        case Step.TURN:
            return Rotation(signs=rotation.spare, since=now, other="Before")
        case Step.RETIRE | Step.DROP:
            return replace(rotation, other="", answered=None, retired=before)


def _later(since: dt.datetime | None, span: float | None) -> dt.datetime | None:
    return None if since is None or span is None else since + dt.timedelta(seconds=span)


def _time(text: object) -> dt.datetime | None:
    found = moment(text)
    if text and found is None:
        raise ValueError(f"{text} is no time")
    return found


def _text(time: dt.datetime | None) -> str:
    return "" if time is None else time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
