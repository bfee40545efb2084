"""How many recipients wait, as the accounting records say it: for a start that cannot trust the log.

Invariant: a recipient comes in with a Reception and goes with one record of a final type; nothing else counts.
Pure. Before: `journal` reads lines. After: the spool's recovery says how many are missing.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.json import Decoder

from lane_relay.account.records import RecordType
from lane_relay.errors import NOT_OURS
from lane_relay.spool.base import Balance

__all__ = ["balance_of"]

_FINAL: Final = frozenset(
    str(one)
    for one in (
        RecordType.DELIVERY,
        RecordType.BOUNCE,
        RecordType.EXPIRATION,
        RecordType.SUPPRESSION,
        RecordType.HAND_OVER,
        RecordType.ADMIN_ACTION,  # with an id: dropped by order
    )
)


class _Line(Struct, gc=False):
    """What counts of a record."""

    seq: int
    type: str = ""
    id: str = ""
    recipient: str | list[str] = ""


_decode: Final = Decoder(_Line).decode


def balance_of(lines: Iterable[bytes], after: int) -> Balance:
    """What the records after this number come to; without all of them, those whose Reception is there.

    Lines that are no records are passed over, and count as missing.
    """
    came = went = 0
    waiting: dict[str, int] = {}
    last, whole = after, True
    for line in lines:
        try:
            one = _decode(line)
        except NOT_OURS:
            whole = False
            continue
        if one.seq <= after:
            continue
        whole = whole and one.seq == last + 1
        last = one.seq
        if one.type == RecordType.RECEPTION:
            count = 1 if isinstance(one.recipient, str) else len(one.recipient)
            came += count
            waiting[one.id] = waiting.get(one.id, 0) + count
        elif one.id and one.type in _FINAL:
            went += 1
            _take_off(waiting, one.id)
    return Balance(came - went if whole else sum(waiting.values()), whole)


def _take_off(waiting: dict[str, int], message_id: str) -> None:
    left = waiting.pop(message_id, 0) - 1
    if left > 0:
        waiting[message_id] = left
