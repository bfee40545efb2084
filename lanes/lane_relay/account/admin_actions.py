"""Records of what persons and programs did to this slot through `/v1`, beside the orders, which write their own.

Invariant: who, why and what is on disk no later than the act; a configuration is on record once, however often it
comes into force. Before: `/v1` and the pipeline. After: the journal, by the spool's log.
"""

import hashlib
from typing import Final

from lane_api.relayconfig import RelayConfig
from lane_relay.account.settler import Settler
from lane_relay.clock import Clock
from lane_relay.spool.base import Spool

__all__ = ["AdminActions"]

_IN_FORCE: Final = "config"
"""The spool's flag: digest of the configuration that is on record."""
_OURSELVES: Final = "lane-relay"


class AdminActions:
    """Of one slot; all on the event loop's thread."""

    def __init__(self, spool: Spool, settler: Settler, clock: Clock) -> None:
        """`settler` has the writer of the configuration in force."""
        self._spool = spool
        self._settler = settler
        self._clock = clock

    def note(self, action: str, owner: str, reason: str) -> None:
        """On disk with the next commit; raises SpoolError."""
        self._spool.record([self._settler.writer.admin_action(action, owner, reason, self._clock.now())])

    async def keep(self, action: str, owner: str, reason: str) -> None:
        """On disk when it returns; raises SpoolError."""
        self.note(action, owner, reason)
        await self._spool.flush()

    def in_force(self, config: RelayConfig) -> None:
        """A configuration is in force, pushed or read from the file: on record if it is another than this spool's last.

        What only tells how far the spool is makes none.
        """
        digest, before = _digest(config), self._spool.flag(_IN_FORCE)
        if self._spool.state.failed or digest == before:
            return
        self._spool.set_flag(_IN_FORCE, digest)
        if before:
            said = f"generation {config.generation}, serial {config.serial}, sha256 {digest}, before it {before}"
            self.note(f"configuration in force: {said}", _OURSELVES, "it was pushed, or its file changed")


def _digest(config: RelayConfig) -> str:
    """Of its content, every default written out."""
    text = config.model_dump_json(by_alias=True, exclude={"serial": True, "spool": {"seen"}})
    return hashlib.sha256(text.encode()).hexdigest()
