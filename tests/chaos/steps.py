"""The steps of a hand-over at which either side, or both, is killed: what goes between the two, and what each writes.

The list is that of `lane_relay.handover`: `giver` notes, offers and settles, `receiver` notes, stores and answers;
`doubts` asks, `owed` asks back. An offer is never sent twice (`carrier` retries nothing, and aiohttp only what may be
repeated: questions and `forget`), and nothing but the answer confirms that mail was taken over.
Before: `stepping`. After: `crossing`, `layer`.
"""

from dataclasses import dataclass
from typing import Final, Literal

from tests.chaos.crossing import Point

Side = Literal["giver", "receiver"]


@dataclass(frozen=True)
class Step:
    """One place in the protocol."""

    name: str
    at: Point
    """Where what goes between the two stops; see `crossing.Point`."""
    times: int = 1
    """Its n-th time."""
    asks_back: bool = False
    """It is about the receiver's question to the giver, behind whose door it stops."""
    hangs: Side | None = None
    """This side then hangs in a sync of its disk, and what goes between the two goes on."""
    sync: int = 0
    """In which one, counted from the stop; forgetting the transfer before is one of the giver's."""
    word: str | None = None
    """Counted among files whose path has this word; see `Layer`. None: among all that the protocol waits for."""
    cuts: frozenset[Point] = frozenset()
    """What breaks off before, without a kill."""
    not_yet: Point | None = None
    """What must not come while that sync hangs: it says what only the disk makes true."""
    finds_more: bool = False
    """More mail is handed in while it is stopped: the giver begins with it when it goes on."""
    is_brought: bool = False
    """What was stopped arrives after all, when everybody has gone on without it."""


@dataclass(frozen=True)
class Case:
    """One kill."""

    step: Step
    victims: tuple[Side, ...]
    hears_first: bool = False
    """Who survives hears that the connection broke before the victim is back; else only then."""

    def __str__(self) -> str:
        return f"{self.step.name}; killed: {' and '.join(self.victims)}"


def _syncs(
    name: str, at: Point, side: Side, count: int, not_yet: Point | None = None, cuts: frozenset[Point] = frozenset()
) -> list[Step]:
    return [
        Step(f"{name}, sync {number} of the {side}", at, hangs=side, sync=number, not_yet=not_yet, cuts=cuts)
        for number in range(1, count + 1)
    ]


SEGMENTS: Final = ".seg"
BOOK: Final = "/spool/handover"
"""Words in paths of files that a step of the protocol waits for: the spool's, and the notes about transfers."""
_PARTS: Final = {"head": "the request", "answer": "before the answer", "half-answer": "half of the answer"}
_NEVER_CAME: Final = frozenset({("offer", "half")})
_CAME: Final = frozenset({("offer", "answer")})
_NOT_FORGOTTEN: Final = frozenset({("forget", "head")})
STEPS: Final = (
    Step("connection made", ("connect", "made")),
    *(
        Step(
            f"noting the transfer, sync {number} of the giver", ("forget", "answer"), hangs="giver", sync=1 + number,
            not_yet=("offer", "head"), finds_more=True,
        )
        for number in (1, 2)
    ),
    Step("offer, its head", ("offer", "head")),
    Step("offer, half of the body", ("offer", "half")),
    Step("offer, last byte", ("offer", "last")),
    Step("offer, last byte, which arrives after the question", ("offer", "last"), is_brought=True),
    *_syncs("taking", ("offer", "last"), "receiver", 5, ("offer", "answer")),
    Step(
        "taking, the first sync of the receiver's spool", ("offer", "last"), hangs="receiver", sync=1, word=SEGMENTS,
        not_yet=("offer", "answer"),
    ),
    Step("offer, before the answer", ("offer", "answer")),
    Step("offer, half of the answer", ("offer", "half-answer")),
    *_syncs("settling", ("offer", "answer"), "giver", 1, ("forget", "head")),
    *(Step(f"forget, {_PARTS[part]}", ("forget", part)) for part in _PARTS),
    *_syncs("forgetting", ("forget", "head"), "receiver", 1),
    *_syncs("the transfer is over", ("forget", "answer"), "giver", 1),
    Step("forget again", ("forget", "head"), times=2, cuts=frozenset({("forget", "answer")})),
    *(Step(f"question about what came, {_PARTS[part]}", ("ask", part), cuts=_CAME) for part in _PARTS),
    *_syncs("settling what came", ("ask", "answer"), "giver", 1, ("forget", "head"), _CAME),
    *(Step(f"question about what never came, {_PARTS[part]}", ("ask", part), cuts=_NEVER_CAME) for part in _PARTS),
    Step("question again", ("ask", "head"), times=2, cuts=_CAME | {("ask", "answer")}),
    *(
        Step(f"what is owed, {_PARTS[part]}", ("given", part), asks_back=True, cuts=_NOT_FORGOTTEN)
        for part in _PARTS
    ),
    Step("forgetting what is owed", ("given", "answer"), asks_back=True, hangs="receiver", sync=1, cuts=_NOT_FORGOTTEN),
)  # fmt: skip
_VICTIMS: Final[tuple[tuple[Side, ...], ...]] = (("giver",), ("receiver",), ("giver", "receiver"))


def every(repetitions: int) -> list[Case]:
    """All steps and victims, so many times; nothing more is brought to a receiver that has died."""
    return [
        Case(step, victims, bool(at % 2))
        for at in range(repetitions)
        for step in STEPS
        for victims in _VICTIMS
        if not (step.is_brought and "receiver" in victims)
    ]


def each_once() -> list[Case]:
    """Each step with one of the victims, in turn."""
    return [Case(step, _VICTIMS[0 if step.is_brought else at % len(_VICTIMS)]) for at, step in enumerate(STEPS)]
