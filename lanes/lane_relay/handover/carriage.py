"""What the giving side asks of the way to the siblings, and how that may fail.

Before it: `giver` and `doubts`. After it: `carrier`.
"""

from typing import Protocol

from lane_relay.handover.consignment import Answer, Consignment

__all__ = ["Carrier", "NotNowError", "NotSentError", "UnansweredError"]


class NotSentError(Exception):
    """No byte of the request left: the sibling cannot be reached."""


class UnansweredError(Exception):
    """The request may have arrived, and nobody knows what became of it."""


class NotNowError(UnansweredError):
    """The sibling is there, and has not said what became of it."""


class Carrier(Protocol):
    """The way to the siblings."""

    async def offer(self, slot: str, transfer: str, consignment: Consignment) -> Answer:
        """Raises NotSentError, UnansweredError."""

    async def ask(self, slot: str, transfer: str) -> Answer:
        """Raises NotSentError, UnansweredError."""

    async def forget(self, slot: str, transfer: str) -> None:
        """Raises NotSentError, UnansweredError."""

    async def given(self, slot: str) -> tuple[str, ...]:
        """Transfers to us that are not over there; raises NotSentError, UnansweredError."""
