"""Whether a volume is an older copy than the one that was last seen at work: then what it holds may have been sent.

A snapshot that is restored, or copied to another slot, looks like any other spool after a crash. Three things tell: the
spool remembers whose it is, and which volume claim it lay under (one that a backup puts back is another, though its
configuration may be as old as itself); and whoever renders the configuration remembers the spool's *mark*, which rises
with each accounting record and so with each delivery. Invariants: a mark never falls, also after a restored volume was
let go; nothing is held whose volume nobody saw, and nothing of an empty one; each such copy, also an empty one, begins
one journal of its own, for what the other one recorded has the same numbers. Before: recovery, and each configuration
that comes into force. After: an order that holds what the volume held, until a person releases or drops it.
"""

from collections.abc import Callable
from typing import Final

from lane_api.relayconfig import RelayConfig
from lane_relay.orders.order import By, Order, Selector, Verb
from lane_relay.records import message_id_text
from lane_relay.spool.base import Spool

__all__ = ["RESTORED", "Mark", "forgive", "hold_of_restored", "leave_journal", "mark_of"]

RESTORED: Final = "restored"
"""Id of the order that holds a restored volume's mail; there is one at most."""

_OWNER: Final = "owner"
_CLAIM: Final = "claim"
_OFFSET: Final = "markOffset"
_LIFE: Final = "journalOf"
"""As which copy the volume last began a journal of its own, or is to: what it records may hide what it is."""
_DUE: Final = " due"
_EVERY_S: Final = 3600.0
"""A mark is said anew so often: whoever keeps it writes no oftener. What is set
back by less, under the same claim, may pass for the volume."""


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
    """The order that a volume needs which may be an older copy, or None; then the volume counts as this slot's own."""
    why = _why(spool, config)
    if not why or not spool.state.live_messages:
        forgive(spool, config)
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


def leave_journal(spool: Spool, config: RelayConfig, begin_anew: Callable[[], None]) -> bool:
    """Begins another journal where the volume may be an older copy, once for each copy; raises as `begin_anew`."""
    life, kept = _life(spool, config), spool.flag(_LIFE)
    if life and kept.removesuffix(_DUE) != life:
        kept = life + _DUE
        spool.set_flag(_LIFE, kept)
    if not kept.endswith(_DUE):
        return False
    begin_anew()
    spool.set_flag(_LIFE, kept.removesuffix(_DUE))
    return True


def forgive(spool: Spool, config: RelayConfig) -> None:
    """From now on the volume counts as this slot's own, and as no older than was seen."""
    claim, seen = config.spool.claim, config.spool.seen
    _remember(spool, _OWNER, _slot(config))
    if claim is not None:
        _remember(spool, _CLAIM, claim.uid)
    if seen is not None and seen.id == spool.spool_id and seen.mark > mark_of(spool):
        spool.set_flag(_OFFSET, str(seen.mark - spool.recorded))


def _why(spool: Spool, config: RelayConfig) -> str:
    """Why it may be an older copy; empty: it is not. What the spool has not been told so far tells nothing."""
    return _why_moved(spool, config) or _why_set_back(spool, config)


def _why_moved(spool: Spool, config: RelayConfig) -> str:
    owner, under, claim = spool.flag(_OWNER) or _slot(config), spool.flag(_CLAIM), config.spool.claim
    if owner != _slot(config):
        return f"the volume is a copy of another slot's, {owner}, which may have sent what it holds"
    if claim is not None and under and under not in (claim.uid, claim.before):
        return f"the volume was under another claim (uid {under}, now {claim.uid}): restored, or a copy?"
    return ""


def _why_set_back(spool: Spool, config: RelayConfig) -> str:
    seen = config.spool.seen
    if seen is not None and seen.id == spool.spool_id and seen.mark > mark_of(spool):
        return f"the volume is older than the one last seen (mark {mark_of(spool)}, seen {seen.mark}): restored?"
    return ""


def _life(spool: Spool, config: RelayConfig) -> str:
    """As which copy the volume lives now; the same until it is let go. Empty: it is no copy."""
    claim, seen = config.spool.claim, config.spool.seen
    here = f"{_slot(config)} {claim.uid if claim is not None else ''}"
    if _why_moved(spool, config):
        return here
    return f"{here} {seen.mark}" if seen is not None and _why_set_back(spool, config) else ""


def _remember(spool: Spool, name: str, value: str) -> None:
    """Written only where it is new: a flag is a record of the log."""
    if spool.flag(name) != value:
        spool.set_flag(name, value)


def _slot(config: RelayConfig) -> str:
    return f"{config.lane.namespace}/{config.lane.name}/{config.slot.name}"
