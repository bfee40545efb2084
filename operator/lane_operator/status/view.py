"""One lane as its verdicts see it: what was decided beside what was seen; plain questions, no verdicts."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lane_api.names import STANDBY_FROM
from lane_api.queue import DrainPolicy
from lane_api.selector import SelectorFinding
from lane_operator.inputs import Assignment, Claim, Desired, Lane, Observation, References, SlotObservation
from lane_operator.seen import NextKeySeen
from lane_operator.status.slots import is_proved, slot_trouble

__all__ = ["View"]


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a verdict may read."""

    lane: Lane
    references: References
    assignment: Assignment
    desired: Desired
    observation: Observation
    now: dt.datetime

    @property
    def active(self) -> tuple[Claim, ...]:
        """Slots that are to take mail, those that stand in for one that must not as well."""
        return tuple(claim for claim in self.assignment.claims if claim.takes_mail)

    @property
    def kept(self) -> tuple[Claim, ...]:
        """Slots of spec.replicas, whether their addresses are quarantined or not."""
        return tuple(one for one in self._staying() if one.slot_index < STANDBY_FROM)

    @property
    def standby(self) -> tuple[Claim, ...]:
        """Slots of spec.standbyReplicas."""
        return tuple(one for one in self._staying() if one.slot_index >= STANDBY_FROM)

    @property
    def quarantined(self) -> tuple[Claim, ...]:
        """Slots whose addresses are refused by an ISP, or quarantined by the pool's owner."""
        return tuple(one for one in self._staying() if one.quarantine is not None)

    def _staying(self) -> Iterator[Claim]:
        return (claim for claim in self.assignment.claims if not claim.role.is_going)

    @property
    def going(self) -> tuple[Claim, ...]:
        """Slots that are to go."""
        return tuple(claim for claim in self.assignment.claims if claim.role.is_going)

    @property
    def moving(self) -> tuple[Claim, ...]:
        """Slots that give their mail away, since their node is to be emptied."""
        return tuple(claim for claim in self.assignment.claims if claim.moves and not claim.role.is_going)

    @property
    def handing_over(self) -> str:
        """The slot that gives its mail away before it restarts; empty: none."""
        restart = self.desired.restart
        return restart.slot if restart is not None and restart.since is not None else ""

    @property
    def draining(self) -> tuple[Claim, ...]:
        """Slots that still have to get rid of their mail, to go, to move or to restart."""
        return tuple(
            claim
            for claim in self.running
            if claim.role.is_going or claim.moves or claim.slot_name == self.handing_over
        )

    @property
    def running(self) -> tuple[Claim, ...]:
        """Slots that are to be heard of: not those that were stopped on purpose."""
        return tuple(claim for claim in self.assignment.claims if not self._is_stopped(claim))

    @property
    def leaving(self) -> tuple[Claim, ...]:
        """Slots that are on their way out."""
        return tuple(claim for claim in self.going if not self.held(claim))

    @property
    def drains_suspended(self) -> bool:
        """What is to go keeps its mail, since the lane is suspended and no other slot takes it."""
        spec, deleting = self.lane.spec, self.lane.deleting_since is not None
        if not spec.suspend or spec.drain.policy is DrainPolicy.HOLD or not (deleting or self.leaving):
            return False
        return deleting or not self.active or spec.drain.policy is not DrainPolicy.TRANSFER

    @property
    def sends_nothing(self) -> bool:
        """No mail at all may leave from any of the lane's addresses, and nobody stands in."""
        held = [claim.quarantine for claim in self.kept]
        return bool(held) and all(one is not None and not one.isps and not one.stood_in_by for one in held)

    def held(self, claim: Claim) -> SlotObservation | None:
        """The slot, where it is stopped and keeps its mail; None while it is on its way out."""
        seen = self.observation.slot(claim.slot_name)
        return seen if seen is not None and seen.stopped and seen.queued else None

    def _is_stopped(self, claim: Claim) -> bool:
        seen = self.observation.slot(claim.slot_name)
        return seen is not None and seen.stopped

    def heard(self) -> Iterator[SlotObservation]:
        """What slots say that are not stopped."""
        return (seen for seen in self.observation.slots if not seen.stopped)

    def troubles(self) -> Iterator[tuple[Claim, str]]:
        """Active slots that do not serve, and why."""
        for claim in self.active:
            text = slot_trouble(self.lane, claim, self.observation.slot(claim.slot_name))
            if text:
                yield claim, text

    def serves(self, claim: Claim) -> bool:
        """Takes mail and may send it."""
        seen = self.observation.slot(claim.slot_name)
        return seen is not None and seen.pod_ready and is_proved(seen) and not claim.hands_over

    def lacks_config(self, seen: SlotObservation) -> bool:
        """The slot has another configuration than it is to have, by its serial where it names one."""
        wanted = self.desired.config_serials.get(seen.name)
        if seen.config_serial is None or wanted is None:  # an older image, or nobody can say what it is to have
            return seen.config_generation < self.lane.generation
        return seen.config_serial != wanted

    def news(self, slots: Iterable[str]) -> str:
        """What of these slots one at least has still to get."""
        seen = [self.observation.slot(name) for name in slots]
        if seen and all(one is not None and one.config_generation >= self.lane.generation for one in seen):
            return "a change of a policy, pool or Secret"
        return f"generation {self.lane.generation}"

    def published(self, domain: str) -> bool | None:
        """What the slots' DNS says of a domain's selector: all that looked must see it; None: none has looked."""
        said = [seen.domains_published[domain] for seen in self._looked(domain)]
        return all(said) if said else None

    def signing_before(self, domain: str) -> tuple[str, ...]:
        """Selectors of keys that slots sign with until their pods have the one that they are to sign with."""
        looked = {seen.name for seen in self._looked(domain)}
        others = (seen for seen in self.heard() if domain in seen.domains_published and seen.name not in looked)
        return tuple(sorted({seen.domains_selectors[domain] for seen in others}))

    def _looked(self, domain: str) -> Iterator[SlotObservation]:
        """Slots that look for the domain's record; of a given key that is another now, those that have it."""
        key = self.references.dkim.get(domain)
        given = "" if key is None or key.turn is not None else key.selector
        for seen in self.heard():
            if domain in seen.domains_published and (not given or seen.domains_selectors.get(domain) in (None, given)):
                yield seen

    def second_published(self, domain: str) -> bool:
        """Every slot that looked found the domain's Ed25519 record."""
        said = [seen.domains_ed25519[domain] for seen in self.heard() if domain in seen.domains_ed25519]
        return bool(said) and all(said)

    def next_seen(self, domain: str, selector: str) -> tuple[NextKeySeen, ...]:
        """What the slots say of the key that the domain is to sign with next, each that was told to look for it."""
        found = (seen.domains_next[domain] for seen in self.heard() if domain in seen.domains_next)
        return tuple(one for one in found if one.selector == selector)

    def dns_of(self, domain: str) -> tuple[str, str]:
        """What DNS holds at a domain's selector, as a slot that waits for it says: (SelectorFinding, its words)."""
        waits = [seen for seen in self._looked(domain) if not seen.domains_published[domain]]
        said = [seen.domains_dns[domain] for seen in waits if domain in seen.domains_dns]
        return said[0] if said else (SelectorFinding.ABSENT, "")

    def waiting_domains(self) -> tuple[str, ...]:
        """Signing domains whose mail waits for their record."""
        signing = (domain.name for domain in self.lane.spec.domains if domain.dkim.mode == "Sign")
        return tuple(name for name in signing if self.published(name) is False)
