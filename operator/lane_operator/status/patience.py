"""How long each thing may be on its way before a person is asked for; GitOps tools read what is said when it is over.

Reconciling while there is hope, Stalled afterwards, never both. Pure; before it: the refusals of `desired` and `pools`,
the slots as seen. After it: `progress`, which says so.
"""

import datetime as dt

from lane_api.conditions import Reason

__all__ = ["DNS", "RESTART", "SYNC", "WAIT", "over", "patience"]

SYNC = dt.timedelta(seconds=30)
"""For what another object says no to: that one may be applied in the same sync, a moment later."""
WAIT = dt.timedelta(minutes=5)
"""For what is absent: any order of `kubectl apply` ends well."""
RESTART = dt.timedelta(minutes=10)
"""For a slot that does not come to serve: what a Deployment has by default (progressDeadlineSeconds)."""
DNS = dt.timedelta(hours=1)
"""For a record that nobody publishes: resolvers remember for about so long that there was none."""

_FOR_EVER = {Reason.PROGRESSING_WITH_RETRY, Reason.NEW_GENERATION, Reason.SCALE_IN}
"""The API server heals a write that failed; slots and drains have clocks of their own."""
_OF_SLOTS = {Reason.WAITING_FOR_SLOTS, Reason.WAITING_FOR_PROOF, Reason.WAITING_FOR_DNS}
"""Measured by the slot and by the record, not by the condition."""

_HEALS_BY_ITSELF = {Reason.ADDRESS_REMOVED, Reason.STORE_WENT_BACK}
"""As slots drain, or are seen."""


def patience(reason: Reason) -> dt.timedelta | None:
    """How long Reconciling may stand for this reason; None: that is for others to say."""
    if reason in _FOR_EVER or reason in _OF_SLOTS:
        return None
    return WAIT if reason.value.startswith("WaitingFor") or reason in _HEALS_BY_ITSELF else SYNC


def over(since: str, lasts: dt.timedelta, now: dt.datetime) -> bool:
    """Whether what began then has lasted so long."""
    return now - dt.datetime.fromisoformat(since) >= lasts
