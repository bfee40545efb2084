"""Whether the egress address is proved: a pure state machine, fed with what reflectors answered.

Theory of operation. A *claim* says which address the world must see. The prober asks all reflectors in rounds and
feeds one observation a reflector; the state is judged after each, over the observations of the current round alone.

    claim without address                                    -> NotNeeded    open
    nothing proved in this process life                      -> Unproved     shut
    enough agree, mail's port is not closed                  -> Proved       open
    a proved claim, round over, not enough answer            -> ProofStale   open
    any reflector sees another address, not outvoted         -> Mismatch     shut, and what was proved is forgotten
    never proved, port 25 times out, another port answers    -> PortBlocked  shut
    the claim changes                                        -> Unproved     shut

Enough: one of one or two reflectors, two of three or more. A disagreeing reflector shuts the gate the moment it
answers. It is outvoted when, in the same round, enough agree and more agree than disagree, which needs three or more;
one that was outvoted before shuts nothing while those who may outvote it again are still to be heard. Its last word
counts until it takes it back: a reflector that saw another address and is silent now disagrees still, so that neither
silence nor another's quick answer opens a gate that it shut. After five silent rounds it counts as dead.

Port 25. Proof must walk the path that mail walks. Port 25 counts as closed when connecting to reflectors on it times
out and none of them as much as refuses (a refusal or a wrong signature comes from the far host: the path is open; a
name that DNS does not know says nothing). While that may still be so, answers from other ports do not prove. If the
round ends so and a reflector on another port answered, then address and routing are good and port 25 alone is not:
PortBlocked. If nothing answers anywhere, nothing can be told apart: Unproved. A claim without reflectors on port 25
cannot see it. A slot that was proved stays open, as ProofStale: one dead host on port 25 looks the same.

Invariant: `may_send` is true only in NotNeeded, Proved and ProofStale. Before it: `prober`. After it: `deliver`'s gate.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from lane_api.names import REFLECTOR_PORT

__all__ = [
    "TRANSLATED_PROOF_AGE_S",
    "Claim",
    "Observation",
    "Outcome",
    "Proof",
    "ProofState",
    "ProofStatus",
    "Reflector",
    "retry_delay",
]

TRANSLATED_PROOF_AGE_S: Final = 30.0
"""An engine that translates may change the address behind our back: proved again after this while mail flows."""
FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 30.0
_SILENT_ROUNDS: Final = 5
_QUORUM_FROM: Final = 3
"""From so many reflectors on, two must agree."""


class ProofState(StrEnum):
    """The states of the proof, as `/v1`, metrics and conditions spell them."""

    NOT_NEEDED = "NotNeeded"
    UNPROVED = "Unproved"
    PROVED = "Proved"
    PROOF_STALE = "ProofStale"
    MISMATCH = "Mismatch"
    PORT_BLOCKED = "PortBlocked"


_OPEN: Final = frozenset({ProofState.NOT_NEEDED, ProofState.PROVED, ProofState.PROOF_STALE})


class Outcome(StrEnum):
    """What came of asking one reflector; the value is its text in messages."""

    SEEN = "answered"
    REFUSED = "refused the connection"
    TIMED_OUT = "did not let us connect in time"
    UNREACHABLE = "cannot be reached"
    SILENT = "accepted the connection and did not answer"
    BAD_ANSWER = "gave an answer that is not believed"
    NO_NAME = "has no address in DNS"
    NO_KEY = "was not asked, since the shared key cannot be used"
    NO_SOURCE = "was not asked, since the source address cannot be bound"
    NO_PROXY = "was not asked, since the proxy that holds the address cannot be used"


_PATH_IS_OPEN: Final = frozenset({Outcome.SEEN, Outcome.REFUSED, Outcome.SILENT, Outcome.BAD_ANSWER})
"""Outcomes that show that packets to this port arrive somewhere."""


@dataclass(frozen=True, slots=True, order=True)
class Reflector:
    """One host and port that answers."""

    host: str
    port: int = REFLECTOR_PORT

    def __str__(self) -> str:
        """As the configuration writes it, without the scheme."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be proved."""

    address: str = ""
    """What the world must see; empty: shared, nothing to prove."""
    source: str = ""
    """What connections bind; empty: the engine translates."""
    reflectors: tuple[Reflector, ...] = ()
    way: str = ""
    """The proxy that connections leave through, to be compared; empty: none."""

    @property
    def quorum(self) -> int:
        """How many reflectors must agree."""
        return 2 if len(self.reflectors) >= _QUORUM_FROM else 1


@dataclass(frozen=True, slots=True)
class Observation:
    """What came of asking one reflector once."""

    reflector: Reflector
    outcome: Outcome
    at: float
    """Unix time, seconds."""
    address: str = ""
    """With SEEN: the address that it saw (or that getsockname or the proxy showed, if that is already wrong)."""
    detail: str = ""

    def __str__(self) -> str:
        """One clause of a message."""
        if self.outcome is Outcome.SEEN:
            return f"{self.detail or f'{self.reflector} saw'} {self.address}"
        return f"{self.reflector} {self.outcome}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class ProofStatus:
    """The state, and what to tell a person."""

    state: ProofState
    message: str
    address: str = ""
    """The address claimed."""
    seen: str = ""
    """The address last seen, right or wrong."""
    at: float = 0.0
    """Unix time of the last proof or, in Mismatch, of the sighting; 0: never."""
    since: float = 0.0
    """Unix time since which the state holds."""

    @property
    def may_send(self) -> bool:
        """Whether mail may leave."""
        return self.state in _OPEN


class Proof:
    """The machine: one claim, the current round's observations, one status."""

    def __init__(self, claim: Claim, now: float) -> None:
        self.claim = claim
        self._round: dict[Reflector, Observation] = {}
        self._doubters: dict[Reflector, int] = {}
        """Reflectors whose last sighting was of another address, and for how many rounds they have been silent."""
        self._outvoted: frozenset[Reflector] = frozenset()
        """Those that the last proof was against."""
        self.status = _before_any_answer(claim, now)

    def change_claim(self, claim: Claim, now: float) -> ProofStatus:
        """Takes a new claim; shuts if the address, what is bound or the proxy is another, keeps the proof otherwise."""
        before = self.claim
        moved = (claim.address, claim.source, claim.way) != (before.address, before.source, before.way)
        self.claim = claim
        self._round.clear()
        stay = () if moved else claim.reflectors
        self._doubters = {one: silent for one, silent in self._doubters.items() if one in stay}
        self._outvoted = self._outvoted.intersection(stay)
        if moved or not claim.reflectors:
            self.status = _before_any_answer(claim, now)
        return self.status

    def begin_round(self) -> None:
        """Forgets the last round's answers, not what they proved nor who saw another address."""
        if self._round:
            silent = {one: rounds + 1 for one, rounds in self._doubters.items() if not _saw(self._round.get(one))}
            self._doubters |= silent
            self._doubters = {one: rounds for one, rounds in self._doubters.items() if rounds < _SILENT_ROUNDS}
        self._round.clear()

    def observe(self, observation: Observation) -> ProofStatus:
        """Judges anew with one more answer; answers of reflectors outside the claim are ignored."""
        if observation.reflector in self.claim.reflectors and self.claim.address:
            self._round[observation.reflector] = observation
            if observation.outcome is Outcome.SEEN and observation.address == self.claim.address:
                self._doubters.pop(observation.reflector, None)
            elif observation.outcome is Outcome.SEEN:
                self._doubters[observation.reflector] = 0
            state, message, seen = _judge(self.claim, self._round, self.status, self._doubters.keys(), self._outvoted)
            if state is ProofState.PROVED and seen:
                self._outvoted = frozenset(self._doubters)
            self._enter(state, message, seen, observation.at)
        return self.status

    def _enter(self, state: ProofState, message: str, seen: str, now: float) -> None:
        """Notes the state; `since` moves only with the state, `at` only with a sighting that decided."""
        decided = state in (ProofState.PROVED, ProofState.MISMATCH) and seen != ""
        since = self.status.since if state is self.status.state else now
        at = now if decided else self.status.at
        if state in (ProofState.UNPROVED, ProofState.PORT_BLOCKED):
            at = 0.0
        self.status = replace(
            self.status, state=state, message=message, seen=seen or self.status.seen, at=at, since=since
        )


def _before_any_answer(claim: Claim, now: float) -> ProofStatus:
    """The state of a claim that nobody has answered for."""
    if not claim.address:
        return ProofStatus(ProofState.NOT_NEEDED, "the egress address is shared: nothing to prove", since=now)
    if not claim.reflectors:
        message = f"no reflector is named, so {claim.address} cannot be proved: set egress.proof.reflectors"
    else:
        message = f"no reflector has confirmed {claim.address} yet"
    return ProofStatus(ProofState.UNPROVED, message, claim.address, since=now)


def _judge(
    claim: Claim,
    round_: Mapping[Reflector, Observation],
    status: ProofStatus,
    doubters: AbstractSet[Reflector],
    outvoted: frozenset[Reflector],
) -> tuple[ProofState, str, str]:
    """(state, message, address seen or empty) after the observations so far; the rules of the theory above."""
    sightings = [seen for seen in round_.values() if seen.outcome is Outcome.SEEN]
    wrong = [seen for seen in sightings if seen.address != claim.address]
    agreeing = len(sightings) - len(wrong)
    enough, complete = agreeing >= claim.quorum, len(round_) == len(claim.reflectors)
    if wrong and not (enough and agreeing > len(wrong) and claim.quorum > 1):
        if status.may_send and not complete and {seen.reflector for seen in wrong} <= outvoted:
            return status.state, status.message, ""
        return ProofState.MISMATCH, _mismatch_message(claim, wrong[0]), wrong[0].address
    undisputed = not doubters or (claim.quorum > 1 and agreeing > len(doubters))
    if enough and undisputed and _path_is_open(claim, round_):
        note = f"; outvoted: {wrong[0]}" if wrong else ""
        message = f"{agreeing} of {len(claim.reflectors)} reflectors saw {claim.address}{note}"
        return ProofState.PROVED, message, claim.address
    if not complete:
        return status.state, status.message, ""
    return _round_without_proof(claim, round_, status, answered=bool(sightings))


def _saw(observation: Observation | None) -> bool:
    return observation is not None and observation.outcome is Outcome.SEEN


def _round_without_proof(
    claim: Claim, round_: Mapping[Reflector, Observation], status: ProofStatus, *, answered: bool
) -> tuple[ProofState, str, str]:
    """The state after a whole round that neither proved nor disproved."""
    heard = "; ".join(str(round_[reflector]) for reflector in claim.reflectors)
    if status.state is ProofState.MISMATCH:
        return ProofState.MISMATCH, status.message, ""
    if status.state in (ProofState.PROVED, ProofState.PROOF_STALE):
        return ProofState.PROOF_STALE, f"proved before and unchanged since, but not confirmed now: {heard}", ""
    if answered and not _path_is_open(claim, round_):
        message = (
            f"port {REFLECTOR_PORT} outbound is closed while other ports answer: {heard}. "
            f"Ask the network's or cloud's operator to open TCP port {REFLECTOR_PORT} for {claim.address}"
        )
        return ProofState.PORT_BLOCKED, message, ""
    needed = f"{claim.quorum} must confirm {claim.address}"
    return ProofState.UNPROVED, f"{needed}: {heard}", ""


def _path_is_open(claim: Claim, round_: Mapping[Reflector, Observation]) -> bool:
    """Whether packets to mail's port arrive, as far as the claim's reflectors can tell; see "Port 25" above."""
    on_mail_port = [reflector for reflector in claim.reflectors if reflector.port == REFLECTOR_PORT]
    heard = {round_[reflector].outcome for reflector in on_mail_port if reflector in round_}
    if not on_mail_port or heard & _PATH_IS_OPEN:
        return True
    return all(reflector in round_ for reflector in on_mail_port) and Outcome.TIMED_OUT not in heard


def _mismatch_message(claim: Claim, observation: Observation) -> str:
    """What is wrong, and where to look."""
    where = "the source address is not the one bound" if claim.source else "the network translates to another address"
    if claim.way:
        where = f"proxy {claim.way} leaves from another address"
    return f"{observation}, not {claim.address}: {where}; nothing is sent until a reflector sees {claim.address}"


def retry_delay(failures: int, random: float) -> float:
    """Seconds until the next round after so many without proof: 1 s doubling to 30 s, less up to a quarter of it."""
    ceiling = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures, 10))
    return ceiling * (1 - 0.25 * random)
