"""The reply corpus as values; what its fields mean stands in README.md beside."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final, Literal

import yaml
from msgspec import Struct, convert

from lane_api.isppolicy import Category, Stage

HERE: Final = Path(__file__).parent
HALVES: Final = ("open", "held_back")
FRESH: Final = "fresh"
"""Not a half of it: replies that were labelled after the rules stood."""
BLIND: Final = "blind"
"""Nor this one: the ISPs that have a policy, labelled after the rules stood and by somebody who had not seen them."""
BLIND_2: Final = "blind_2"
"""Another of that kind, by somebody else, when the first had been read and the rules had been mended by it."""
BLIND_3: Final = "blind_3"
"""The third of that kind: by somebody who had read the written definitions of the categories, and nothing else."""

TABLES: Final = "tables"
"""The rows of the providers' own tables of codes, by which the rules are written."""


class Sample(Struct, frozen=True, forbid_unknown_fields=True):
    """One published reply and its label."""

    text: str
    isp: str
    category: Category
    action: Literal["Bounce", "Retry", "Backoff", "Stop", "StopDomain"]
    source: str
    stage: Stage | None = None


@cache
def corpus(half: str) -> tuple[Sample, ...]:
    """One half of it."""
    return convert(yaml.safe_load((HERE / f"corpus_{half}.yaml").read_text()), tuple[Sample, ...])


def half_of(text: str) -> str:
    """Which half a reply belongs to."""
    return "open" if int(hashlib.sha256(text.encode()).hexdigest(), 16) % 2 == 0 else "held_back"
