"""Whether a volume is an older copy than the one that was last seen at work: then what it holds may have been sent.

A snapshot that is restored, or copied to another slot, looks like any other spool after a crash. Two things tell: the
spool remembers whose it is, and whoever renders the configuration remembers the spool's *mark*, which rises with each
accounting record and so with each delivery. Invariants: a mark never falls, also after a restored volume was let go;
nothing is held whose volume nobody saw, and nothing of an empty one. Before: recovery. After: an order that holds what
the volume held, until a person releases or drops it.
"""

from typing import Final

from lane_api.relayconfig import RelayConfig
from lane_relay.orders.order import By, Order, Selector, Verb
from lane_relay.records import message_id_text
from lane_relay.spool.base import Spool

__all__ = ["RESTORED", "Mark", "forgive", "hold_of_restored", "mark_of"]

RESTORED: Final = "restored"
"""Id of the order that holds a restored volume's mail; there is one at most."""

_OWNER: Final = "owner"
_OFFSET: Final = "markOffset"
_EVERY_S: Final = 3600.0
"""A mark is said anew so often: whoever keeps it writes no oftener. A copy of the same hour may pass for the volume."""


class Mark:
    """How far a spool has come, as it is shown to whoever is to remember it."""

    def __init__(self, spool: Spool) -> None:
        """As of now."""
        self._spool = spool
        self._said_at = 0.0
        self._value = 0

    def value(self, now: float) -> int:
        """The mark, at most an hour old at this monotonic time; only what is on disk counts."""
        if not self._said_at or now >= self._said_at + _EVERY_S:
            self._said_at, self._value = now or _EVERY_S, mark_of(self._spool)
        return self._value


def mark_of(spool: Spool) -> int:
    """The mark as of now."""
    return spool.recorded + int(spool.flag(_OFFSET) or 0)


def hold_of_restored(spool: Spool, config: RelayConfig, now: float) -> Order | None:
    """The order that a volume needs which may be an older copy, or None; a volume without an owner gets this slot."""
    owner, seen = spool.flag(_OWNER), config.spool.seen
    if not owner:
        spool.set_flag(_OWNER, owner := _slot(config))
    why = ""
    if owner != _slot(config):
        why = f"the volume is a copy of another slot's, {owner}, which may have sent what it holds"
    elif seen is not None and seen.id == spool.spool_id and seen.mark > mark_of(spool):
        why = f"the volume is older than the one last seen (mark {mark_of(spool)}, seen {seen.mark}): restored?"
    if not why or not spool.state.live_messages:
        return None
    return Order(
        id=RESTORED,
        verb=Verb.HOLD,
        selector=Selector(By.ALL),
        owner="lane-relay",
        reason=f"{why} Release it to send it, perhaps twice, or drop it.",
        created=now,
        expires=0.0,
        before=message_id_text(spool.new_id()),
    )


def forgive(spool: Spool, config: RelayConfig) -> None:
    """A person has decided: from now on the volume counts as this slot's own, and as no older than was seen."""
    spool.set_flag(_OWNER, _slot(config))
    seen = config.spool.seen
    if seen is not None and seen.id == spool.spool_id and seen.mark > mark_of(spool):
        spool.set_flag(_OFFSET, str(seen.mark - spool.recorded))


def _slot(config: RelayConfig) -> str:
    return f"{config.lane.namespace}/{config.lane.name}/{config.slot.name}"
