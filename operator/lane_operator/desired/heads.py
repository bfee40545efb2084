"""Signed heads of a slot's records, kept outside of the pod that signs them; pure.

The slot says the newest one whenever it is visited. One a day is kept, the newest, an hour old at most, for 30 days,
in a ConfigMap that outlives its lane as the signing key does. Invariants: a day that is over never changes; a head
that does not come after the kept one of its journal takes no place: a chain that was cut or made again covers nothing.
"""

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

from lane_api.names import HEADS_AT_ANNOTATION
from lane_operator.inputs import Manifest

__all__ = ["heads_name", "kept_heads"]

DAYS = 30
EVERY_S = 3600
LONGEST = 4096  # one with every field is a quarter of it; a pod's word must not fill the API server's store
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[.]json")


def heads_name(slot: str) -> str:
    """The ConfigMap's name."""
    return f"{slot}-heads"


def kept_heads(slot: str, live: Manifest | None, said: str, now: int) -> Manifest | None:
    """The ConfigMap with what the slot said; None while it has said nothing. `now`: Unix seconds, by our own clock."""
    before = _days((live or {}).get("data") or {})
    kept_at = _number(((live or {}).get("metadata", {}).get("annotations") or {}).get(HEADS_AT_ANNOTATION))
    today = f"{dt.datetime.fromtimestamp(now, dt.UTC):%Y-%m-%d}.json"
    if (today not in before or now >= kept_at + EVERY_S) and _comes_after(said, before):
        before, kept_at = {**before, today: said + "\n"}, now
    if not before:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": heads_name(slot), "annotations": {HEADS_AT_ANNOTATION: str(kept_at)}},
        "data": {name: before[name] for name in sorted(before)[-DAYS:]},
    }


def _days(data: Mapping[str, Any]) -> dict[str, str]:
    """What is kept of each day; a text that is too long for a head, which the cache hands out packed, is a hand's."""
    found = {name: str(text) for name, text in data.items() if _DAY.fullmatch(name)}
    return {name: text for name, text in found.items() if len(text) <= LONGEST + 1}  # its line's end


def _comes_after(said: str, kept: Mapping[str, str]) -> bool:
    """Whether it is a head, of another journal than those that are kept or behind all of them."""
    place = _place(said) if len(said) <= LONGEST else None
    if place is None:
        return False
    numbers = [number for journal, number in filter(None, map(_place, kept.values())) if journal == place[0]]
    return place[1] > max(numbers, default=0)


def _place(head: str) -> tuple[str, int] | None:
    """Journal and number that it is of; None where it is no head."""
    try:
        inner = json.loads(head)["head"]
        return str(inner["journal"]), int(inner["number"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):  # a number may be endless
        return None


def _number(text: str | None) -> int:
    """What a hand has written may be none."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,12}", text) else 0
