"""How far a slot's spool is known to have come, and under which claim it lies: what tells an older copy; pure.

A volume that a snapshot put back reports a lower mark than is kept on the config Secret, or is another claim's: the
relay compares, and holds its mail. Invariant: the mark of one spool never falls; another spool's report takes its
place, for then the slot has another volume.
"""

import re

from lane_api.names import CLAIM_BEFORE_ANNOTATION, SPOOL_SEEN_ANNOTATION
from lane_api.relayconfig import RelayConfig, SpoolClaim, SpoolMark
from lane_operator.inputs import Handed, Manifest

__all__ = ["spool_seen", "spool_seen_note", "with_spool_seen"]

_NOTE = re.compile(r"([0-9a-f]{32}) ([0-9]{1,18})")


def spool_seen(secret: Manifest | None, handed: Handed) -> SpoolMark | None:
    """What the relay is to be told: the kept mark, or the reported one if that is further or of another spool."""
    kept = _kept(secret)
    if handed.spool_mark is None:  # nobody answered so far, or a relay of an older image, which knows no marks
        return kept
    reported = SpoolMark(id=handed.spool_id, mark=handed.spool_mark)
    return kept if kept is not None and kept.id == reported.id and kept.mark > reported.mark else reported


def with_spool_seen(config: RelayConfig, seen: SpoolMark | None, volume: Manifest | None) -> RelayConfig:
    """The configuration with what was seen of the slot's spool, and the claim as it stands; None: not there yet."""
    spool = config.spool.model_copy(update={"seen": seen, "claim": _claim(volume)})
    return config.model_copy(update={"spool": spool})


def spool_seen_note(seen: SpoolMark | None) -> dict[str, str]:
    """The annotation that `spool_seen` reads back."""
    return {SPOOL_SEEN_ANNOTATION: f"{seen.id} {seen.mark}"} if seen is not None else {}


def _claim(volume: Manifest | None) -> SpoolClaim | None:
    if volume is None:
        return None
    noted = volume["metadata"].get("annotations") or {}
    return SpoolClaim(uid=volume["metadata"]["uid"], before=noted.get(CLAIM_BEFORE_ANNOTATION, ""))


def _kept(secret: Manifest | None) -> SpoolMark | None:
    noted = (secret or {}).get("metadata", {}).get("annotations") or {}
    found = _NOTE.fullmatch(noted.get(SPOOL_SEEN_ANNOTATION, ""))
    return SpoolMark(id=found[1], mark=int(found[2])) if found else None
