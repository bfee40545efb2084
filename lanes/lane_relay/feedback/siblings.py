"""Keeps the suppression list of a lane the same in all its slots: each follows what its siblings' lists got.

Lanes of one namespace that share the scope Namespace follow one another's slots in the same way, less often, and take
only what was heard in that scope. A lane that leaves is asked no more; what was copied from it stays until it runs out.

A report comes to whichever slot the Service picks, and the next mail for the address may be another's. Lists merge, so
there is no order to agree on and nothing to repair: who was away asks from where it was, or from the beginning.
Before it: `handover.carrier`, the way to the siblings. After it: `SuppressionList`. Invariant: a cursor moves on only
after what came before it is on our volume; a sibling that is away or sends nonsense costs its own words' delay.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import structlog

from lane_relay.errors import RelayError
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppressions import ROW_SIZE
from lane_relay.mail.token import Token
from lane_relay.records import message_id_text

__all__ = ["COMPLAINT_NAME", "CURSOR_FIELD", "MORE_FIELD", "PAGE_NAME", "SiblingLists", "Way", "ask_siblings"]

PAGE_NAME: Final = "suppressions"
COMPLAINT_NAME: Final = "complaint"
CURSOR_FIELD: Final = "Lane-Cursor"
MORE_FIELD: Final = "Lane-More"
_EVERY_S: Final = 2.0
_SHARED_EVERY_S: Final = 10.0
_log = structlog.get_logger("feedback")


class Way(Protocol):
    """The way to the siblings; `handover.carrier`."""

    @property
    def siblings(self) -> tuple[str, ...]:
        """Names of the lane's other slots."""

    async def fetch(self, slot: str, name: str, params: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
        """What a sibling answers, with its header; raises RelayError if it does not."""


async def ask_siblings(way: Way, token: Token, reporter: str) -> str:
    """The site that the token's message was delivered to from a sibling, which counts the complaint; empty: none knows.

    A sibling that is away knows nothing: its complaint is on record, and in nobody's rate.
    """
    params = {"message": message_id_text(token.id), "index": str(token.index), "reporter": reporter}
    for slot in way.siblings:
        try:
            body, _ = await way.fetch(slot, COMPLAINT_NAME, params)
            site = json.loads(body).get("site", "")
        except (RelayError, ValueError, AttributeError) as failed:
            _log.warning("a sibling was not told of a complaint", slot=slot, reason=str(failed))
            continue
        if isinstance(site, str) and site:
            return site
    return ""


class SiblingLists:
    """Follows the other slots' lists."""

    def __init__(self, suppressions: SuppressionList, way: Way, kept: Path, *, shared: bool = False) -> None:
        """`kept` is the file of the cursors; `shared`: the lists are other lanes'."""
        self._shared = shared
        self._suppressions = suppressions
        self._way = way
        self._kept = kept
        self._cursors = _read(kept)
        self.copied = 0
        """Words that a sibling had and we had not."""

    async def run(self) -> None:
        """Follows for ever."""
        while True:
            for slot in self._way.siblings:
                try:
                    await self.follow(slot)
                except RelayError as failed:  # it may be starting, or gone; its words wait for us
                    _log.debug("a sibling's suppressions", slot=slot, reason=str(failed))
            await asyncio.sleep(_SHARED_EVERY_S if self._shared else _EVERY_S)

    async def follow(self, slot: str) -> None:
        """Takes all that a sibling has behind our cursor; raises RelayError."""
        more = True
        while more:
            before = self._cursors.get(slot, "")
            body, header = await self._way.fetch(slot, PAGE_NAME, {"after": before})
            rows = [body[at : at + ROW_SIZE] for at in range(0, len(body) - ROW_SIZE + 1, ROW_SIZE)]
            self.copied += await self._suppressions.copy(rows, slot, shared=self._shared)
            cursor, more = header.get(CURSOR_FIELD, before), header.get(MORE_FIELD) == "true"
            if cursor != before:
                self._cursors[slot] = cursor
                await asyncio.to_thread(self._write)
            elif more:
                return  # it says that there is more, and gives the same again

    def _write(self) -> None:
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._kept.with_suffix(".new")
            fresh.write_text(json.dumps(self._cursors))
            fresh.replace(self._kept)
        except OSError as failed:  # asked again from an earlier place, which merging does not mind
            _log.warning("cursors of siblings are not kept", reason=str(failed))


def _read(path: Path) -> dict[str, str]:
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {str(slot): str(cursor) for slot, cursor in kept.items()} if isinstance(kept, dict) else {}
