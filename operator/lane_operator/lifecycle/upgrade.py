"""Which images each slot of a lane is to have while new ones come: one slot after the other, watched, and back; pure.

    Waiting      as many other lanes as may are upgraded now
    Rolling      one slot restarts with the new images
    Watched      it serves; the next follows unless it does worse (`verdict`)
    Done         every slot has them
    RolledBack   a slot did not come up, or did worse: all have the previous images until others are named

Invariants: all that must last stands in the lane's status, or on the workload that got new images before the status
could say so (`image_record`), so that neither a restart nor a death of the operator changes anything; a slot that
serves is only restarted while every other one does; a slot that is broken anyway has nothing to lose, and gets the
new images at once; a slot that no reflector would prove again is not restarted; a slot that is to go, or whose lane is,
keeps the images that it answers with, and one that got others last is judged to the end.
Before it: `observe`. After it: `desired_state`, which renders each slot with its images; `roll`, which applies them.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lane_api.lane_status import SlotImages, UpgradePhase, UpgradeStatus
from lane_api.names import UPGRADE_ANNOTATION, UPGRADE_UNJUDGED
from lane_operator.inputs import Claim, Lane, Manifest, Observation, SlotObservation
from lane_operator.lifecycle.image_record import UNDER_WAY, recalled, record_of, recorded
from lane_operator.lifecycle.roll import is_settled
from lane_operator.lifecycle.verdict import figures_of, worse
from lane_operator.status.book import stamp

__all__ = ["UNDER_WAY", "UpgradePlan", "planned"]

_COMES_UP: Final = dt.timedelta(minutes=8)
"""A spool of a million messages is read back meanwhile; before ten minutes, when the lane would be Stalled."""
_HOPELESS: Final = dt.timedelta(minutes=2)
"""An image that cannot be pulled and a process that ends at once are tried again and again, and seldom heal."""
_HOPELESS_WORDS: Final = ("ImagePull", "InvalidImageName", "CrashLoopBackOff", "CreateContainer", "RunContainerError")
_CRASHES: Final = 2
_UNAPPLIED: Final = dt.timedelta(minutes=1)
_REFUSED_FOR: Final = dt.timedelta(minutes=5)
"""Until a slot that could not be given its images is tried again; each try is two words in the lane's status."""


@dataclass(frozen=True, slots=True)
class UpgradePlan:
    """What the slots are to run."""

    status: UpgradeStatus | None
    images: Mapping[str, SlotImages] = field(default_factory=dict)
    """By slot; who is missing here gets the installation's."""
    records: Mapping[str, str] = field(default_factory=dict)
    """By slot, what its workload is to say of its images; who is missing here says nothing."""
    waits: bool = False
    """For its place among the lanes that are upgraded; else it needs none now, or has one."""


def planned(
    lane: Lane,
    claims: Iterable[Claim],
    observation: Observation,
    workloads: Mapping[str, Manifest],
    wanted: SlotImages,
    now: dt.datetime,
    *,
    watch_s: float,
    may_begin: Callable[[], bool],
    is_heard: bool,
) -> UpgradePlan:
    """What is to be done now; `watch_s` 0: nothing is judged. `may_begin` is asked when the lane would begin.

    `is_heard` False: this process has not asked every slot yet; nothing is begun, and nobody judged.
    """
    claims, deleting = tuple(claims), lane.deleting_since is not None
    concerned = tuple(claim for claim in claims if deleting or not claim.role.is_going)
    kept = {name: record for name, workload in workloads.items() if (record := record_of(workload))}
    here = _Here(lane, concerned, observation, workloads, wanted, now, watch_s)
    of_concerned = {name: record for name, record in kept.items() if name in here.live}
    said = recalled(lane.status.upgrade, of_concerned, here.live, wanted, now)
    if not is_heard:
        plan = UpgradePlan(said, here.unchanged(said))
    else:
        plan = _parting(here, said) if deleting else _decided(here, said, may_begin)
    given = {
        name: recorded(plan.status)
        for name, has in here.live.items()
        if plan.status is not None and plan.images.get(name, wanted) != has
    }
    others = tuple(claim for claim in claims if claim not in concerned)
    leaving = _Here(lane, others, observation, workloads, wanted, now, watch_s)
    images = leaving.unchanged(said) if not is_heard else leaving.last(plan.status)
    return replace(plan, images={**plan.images, **images}, records=kept | given)


def _decided(here: "_Here", said: UpgradeStatus | None, may_begin: Callable[[], bool]) -> UpgradePlan:
    wanted, now = here.wanted, here.now
    current = said if said is not None and said.images == wanted else None
    if current is not None and here.is_refused(current):
        return _back(here, current)
    if current is not None and current.phase in UNDER_WAY:
        return _go_on(here, current)
    if not here.old:
        if current is not None and current.phase in (UpgradePhase.DONE, UpgradePhase.WAITING):
            return UpgradePlan(_ended(current))
        return UpgradePlan(None)
    if current is None or current.phase is not UpgradePhase.WAITING:
        current = UpgradeStatus(
            phase=UpgradePhase.WAITING,
            images=wanted,
            previous=here.goes_back_to(said),
            since=stamp(now),
            before=figures_of(here.observed(here.old)),
        )
    if not here.next() or _rests(here, current):  # it takes no place, which it might keep for days
        return UpgradePlan(current, here.images(current))
    return _begin_next(here, current) if may_begin() else UpgradePlan(current, here.images(current), waits=True)


class _Here:
    """The lane's slots as they are in this pass."""

    def __init__(
        self,
        lane: Lane,
        staying: tuple[Claim, ...],
        observation: Observation,
        workloads: Mapping[str, Manifest],
        wanted: SlotImages,
        now: dt.datetime,
        watch_s: float,
    ) -> None:
        self.wanted, self.now, self.watch_s = wanted, now, watch_s
        self.names = tuple(claim.slot_name for claim in staying)
        self.is_judged = watch_s > 0 and lane.annotations.get(UPGRADE_ANNOTATION) != UPGRADE_UNJUDGED
        self._takes = {claim.slot_name: claim.takes_mail for claim in staying}
        self._closed = {claim.slot_name for claim in staying if claim.hands_over}
        self._observation, self._workloads, self._restart = observation, workloads, lane.status.restart
        self.live = {name: _images(workloads[name], wanted) for name in self.names if name in workloads}
        self.old = tuple(name for name, images in self.live.items() if images != wanted)

    def seen(self, name: str) -> SlotObservation:
        return self._observation.slot(name) or SlotObservation(name)

    def observed(self, names: Iterable[str]) -> list[SlotObservation]:
        return [self.seen(name) for name in names]

    def is_up(self, name: str) -> bool:
        """Its pod is of its newest template and does what its role asks; one in standby is never ready."""
        seen = self.seen(name)
        return (is_settled(self._workloads.get(name)) and seen.pod_ready) if self._takes[name] else seen.reachable

    def works(self, name: str) -> bool:
        """It is up, or would be if it were not closed before it restarts: what it has is not changed beside that."""
        return self.is_up(name) or (self.hands_over(name) and self.seen(name).reachable)

    def hands_over(self, name: str) -> bool:
        """It is closed, and hands its mail over before it restarts."""
        return name in self._closed

    def has_handed_over(self, name: str) -> bool:
        """It did until now, so that its images are applied in this very pass."""
        restart = self._restart
        return restart is not None and restart.slot == name and bool(restart.since) and not restart.handed_over

    def serves(self, name: str) -> bool:
        seen = self.seen(name)
        return self.is_up(name) and seen.reachable and seen.may_send

    def next(self) -> str:
        """The slot that may be restarted now; empty: none."""
        for name in self.old:
            others = (other for other in self.names if other != name and self._takes[other])
            stale = self.seen(name).proof_state == "ProofStale"  # shut after a restart, until a reflector answers
            if self.is_up(name) and not stale and all(self.is_up(other) for other in others):
                return name
        return ""

    def goes_back_to(self, said: UpgradeStatus | None) -> SlotImages:
        """The images that were last seen to serve: with those of an upgrade that did not end nobody knows."""
        if said is not None and said.phase is not UpgradePhase.DONE and said.previous != self.wanted:
            return said.previous
        serving = (name for name in self.old if self.serves(name))
        return self.live[next(serving, self.old[0])]

    def unchanged(self, said: UpgradeStatus | None) -> dict[str, SlotImages]:
        """Everybody keeps what he has; a slot that is made now begins with what the others have."""
        others = self.live[self.old[0]] if self.old else self.wanted
        if said is not None and said.images == self.wanted and said.phase is not UpgradePhase.DONE:
            others = said.previous
        return dict.fromkeys(self.names, others) | self.live

    def last(self, said: UpgradeStatus | None) -> dict[str, SlotImages]:
        """Who goes keeps what he has, as long as he answers, or has been stopped: none of it would be judged."""
        back = said is not None and self.is_refused(said)
        instead = said.previous if said is not None and back else self.wanted
        kept = {name: self.live[name] for name in self.live if self.is_up(name) or self._is_stopped(name)}
        if said is not None and back and self.live.get(said.slot) == self.wanted:
            kept.pop(said.slot, None)
        return dict.fromkeys(self.names, instead) | kept

    def is_refused(self, said: UpgradeStatus) -> bool:
        """The wanted images were turned back, and nobody wants them nevertheless."""
        return said.phase is UpgradePhase.ROLLED_BACK and said.images == self.wanted and self.is_judged

    def _is_stopped(self, name: str) -> bool:
        return bool(self._workloads[name]["spec"].get("replicas", 1) == 0)

    def images(self, said: UpgradeStatus) -> dict[str, SlotImages]:
        """Who waits for his turn keeps what he has; a slot that is made now begins with what the others have."""
        under_way = said.slot if said.phase in UNDER_WAY else ""
        kept = {name: self.live[name] for name in self.old if name != under_way and self.works(name)}
        return kept | {name: said.previous for name in self.names if name not in self.live}


def _go_on(here: _Here, said: UpgradeStatus) -> UpgradePlan:
    """One slot is under way."""
    began = dt.datetime.fromisoformat(said.since)
    if said.slot not in here.live:  # scaled away meanwhile
        return _begin_next(here, said)
    if here.live[said.slot] != here.wanted:  # not applied yet: its clock does not run
        if here.hands_over(said.slot) or here.now - began < _UNAPPLIED:
            return UpgradePlan(said, here.images(said))
        if not here.has_handed_over(said.slot):
            return _pauses(here, said, said.slot if here.next() else "")
        return UpgradePlan(said.model_copy(update={"since": stamp(here.now)}), here.images(said))
    if (refused := _refused(here, said)) is not None:
        return _back(here, refused)
    if not here.serves(said.slot):
        if not here.is_judged and said.phase is UpgradePhase.ROLLING and here.now - began >= _COMES_UP:
            return _pauses(here, said)
        phase = UpgradePhase.ROLLING
    elif said.phase is UpgradePhase.WATCHED and (here.now - began).total_seconds() >= here.watch_s:
        return _begin_next(here, said)
    else:
        phase = UpgradePhase.WATCHED
    if phase is not said.phase:
        said = said.model_copy(update={"phase": phase, "since": stamp(here.now)})
    return UpgradePlan(said, here.images(said))


def _begin_next(here: _Here, said: UpgradeStatus) -> UpgradePlan:
    """The next slot that may; who is broken anyway needs no turn."""
    if not here.old:
        return UpgradePlan(_ended(said))
    if not (name := here.next()):
        return _pauses(here, said)
    said = said.model_copy(update={"phase": UpgradePhase.ROLLING, "slot": name, "since": stamp(here.now)})
    return UpgradePlan(said, here.images(said))


def _pauses(here: _Here, said: UpgradeStatus, refused: str = "") -> UpgradePlan:
    """No slot of the lane may restart now, for as long as another one is away: other lanes may go on meanwhile.

    `refused` is one that may, and was not given its images: by a quota or a webhook, or its pool is gone.
    """
    said = said.model_copy(update={"phase": UpgradePhase.WAITING, "slot": refused, "since": stamp(here.now)})
    return UpgradePlan(said, here.images(said))


def _rests(here: _Here, said: UpgradeStatus) -> bool:
    """Whether its slot was refused its images a moment ago."""
    return bool(said.slot) and here.now - dt.datetime.fromisoformat(said.since) < _REFUSED_FOR


def _parting(here: _Here, said: UpgradeStatus | None) -> UpgradePlan:
    """A lane that goes begins nothing; the slot that was given images is judged by them, or its mail would stay."""
    if said is not None and said.images == here.wanted and said.phase in UNDER_WAY:
        said = (_refused(here, said) if here.live.get(said.slot) == here.wanted else None) or said
    return UpgradePlan(said, here.last(said))


def _refused(here: _Here, said: UpgradeStatus) -> UpgradeStatus | None:
    """The upgrade as it is turned back by the slot under way, which has its new images; None: it goes on."""
    wrong = _wrong(here, said, here.now - dt.datetime.fromisoformat(said.since))
    if not wrong:
        return None
    return said.model_copy(
        update={"phase": UpgradePhase.ROLLED_BACK, "since": stamp(here.now), "message": f"{said.slot} {wrong}"}
    )


def _back(here: _Here, said: UpgradeStatus) -> UpgradePlan:
    return UpgradePlan(said, dict.fromkeys(here.names, said.previous))


def _ended(said: UpgradeStatus) -> UpgradeStatus:
    return said.model_copy(update={"phase": UpgradePhase.DONE, "slot": ""})


def _wrong(here: _Here, said: UpgradeStatus, lasts: dt.timedelta) -> str:
    """Why the slot is not to keep its images, in words that follow its name; empty: it may."""
    if not here.is_judged:
        return ""
    seen = here.seen(said.slot)
    if not here.serves(said.slot):
        why = seen.pod_reason or seen.proof_message or "it does not answer"
        patience = _HOPELESS if any(word in why for word in _HOPELESS_WORDS) else _COMES_UP
        if said.phase is UpgradePhase.ROLLING and lasts >= patience:
            return f"did not come to serve within {int(lasts.total_seconds() // 60)} minutes: {why}"
        return ""
    if _restarts(seen) >= _CRASHES:  # of the process that answers now, so of the new pod
        return f"ended {_restarts(seen)} times: see its log"
    siblings = figures_of(here.observed(name for name in here.old if name != said.slot))
    return worse(figures_of([seen]), (siblings, said.before))


def _restarts(seen: SlotObservation) -> int:
    """How often its container was started again since its pod was made."""
    count = seen.process.rpartition("/")[2]
    return int(count) if count.isdecimal() else 0


def _images(workload: Manifest, wanted: SlotImages) -> SlotImages:
    """What its template names; a slot without a resolver is as one with the newest."""
    pod = workload["spec"]["template"]["spec"]
    relay = next((one["image"] for one in pod["containers"] if one["name"] == "relay"), "")
    resolver = next((one["image"] for one in pod.get("initContainers") or () if one["name"] == "resolver"), "")
    return SlotImages(relay=relay, resolver=resolver or wanted.resolver)
