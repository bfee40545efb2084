"""How far each holder of the Lease has come, as the Lease says it itself; pure.

Every process counts its renewals under a name of its own, and what those before it came to stays beside. So whoever has
seen the Lease before tells a later state of it from one that an older snapshot of etcd went on from, also where that
has the higher resourceVersion by now. Before: the Lease's annotations. After: `leadership`.
"""

import re
from typing import NamedTuple

from lane_api.names import LEASE_TERMS_ANNOTATION
from lane_operator.inputs import Manifest

__all__ = ["Term", "contradiction", "renewed", "terms_of"]

_COUNT = re.compile(r"[0-9]{1,15}")
KEPT = 16
"""Terms that a Lease tells: who has missed so many leaders on end begins anew, too."""


class Term(NamedTuple):
    """What one process came to as the holder."""

    process: str
    renewals: int


def terms_of(lease: Manifest | None) -> tuple[Term, ...]:
    """The terms in their order; empty where it says none, or what a hand has written."""
    text = ((lease or {}).get("metadata", {}).get("annotations") or {}).get(LEASE_TERMS_ANNOTATION, "")
    pairs = [one.partition(":") for one in str(text).split()]
    if not all(process and _COUNT.fullmatch(renewals) for process, _, renewals in pairs):
        return ()
    return tuple(Term(process, int(renewals)) for process, _, renewals in pairs)


def renewed(terms: tuple[Term, ...], process: str) -> str:
    """The annotation once this process has renewed once more."""
    mine = terms[-1].renewals + 1 if terms and terms[-1].process == process else 1
    before = terms[:-1] if mine > 1 else terms
    return " ".join(f"{one.process}:{one.renewals}" for one in (*before, Term(process, mine))[-KEPT:])


def contradiction(known: tuple[Term, ...], found: tuple[Term, ...]) -> str:
    """Why what is found is no later state of what was known; empty where it may be, or where one of them says nothing.

    The newest term that was known is found with as many renewals, or more.
    """
    if not known or not found:
        return ""
    last = known[-1]
    came_to = max((one.renewals for one in found if one.process == last.process), default=0)
    if came_to >= last.renewals:
        return ""
    return f"went on from renewal {came_to} of process {last.process}, which had come to {last.renewals}"
