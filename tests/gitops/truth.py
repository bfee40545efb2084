"""What an object truly is, and what each GitOps tool is to make of it; written down before any status is looked at."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Truth(StrEnum):
    """What a person who knows everything would say of an object."""

    AS_ASKED = "as asked"
    """What the spec asks for is so."""
    COMING = "coming"
    """It is not so yet, and will be without anybody's doing, or by what is applied together with it."""
    STUCK = "stuck"
    """It is not so, and will not be until a person acts."""
    LOOK = "look"
    """What the spec asks for is so; something beside it waits for a person."""
    PAUSED = "paused"
    """Delivery stands still because the spec says so."""
    GOING = "going"
    """It is being deleted."""


KSTATUS = {
    Truth.AS_ASKED: "Current",
    Truth.COMING: "InProgress",
    Truth.STUCK: "Failed",
    Truth.LOOK: "Current",
    Truth.PAUSED: "Current",
    Truth.GOING: "Terminating",
}
"""kstatus knows neither health nor pauses: it is about the spec being in force."""
ARGO = {
    Truth.AS_ASKED: "Healthy",
    Truth.COMING: "Progressing",
    Truth.STUCK: "Degraded",
    Truth.LOOK: "Degraded",
    Truth.PAUSED: "Suspended",
    Truth.GOING: "Progressing",
}
"""Argo CD calls whatever is being deleted Progressing before it asks any script."""
FLUX = {**KSTATUS, Truth.GOING: "InProgress"}
"""Flux by the expressions of the chart."""


@dataclass(frozen=True, slots=True)
class Moment:
    """An object as the API server has it at one moment."""

    name: str
    """Story and step."""
    truth: Truth
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the three tools make of one object."""

    kstatus: str
    argo: str
    flux: str
    argo_message: str = ""

    def wrong(self, truth: Truth) -> tuple[str, ...]:
        """The tools that misread it."""
        right = {"kstatus": KSTATUS[truth], "argo": ARGO[truth], "flux": FLUX[truth]}
        return tuple(tool for tool, wanted in right.items() if getattr(self, tool) != wanted)
