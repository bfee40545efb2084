"""What a session reports, and to whom.

Before it: `session`. After it: `dispatcher`, which decides what to do.
"""

from typing import TYPE_CHECKING, Protocol

from lane_relay.deliver.trouble import Ending, Trouble
from lane_relay.smtp.client import Closed, RecipientReply

if TYPE_CHECKING:
    from lane_relay.deliver.session import Session

__all__ = ["Owner"]


class Owner(Protocol):
    """What a session reports; called on the loop."""

    def monotonic(self) -> float:
        """Now."""

    def unix_now(self) -> float:
        """The same as Unix time, for the dates of certificates."""

    def session_connected(self, session: "Session") -> None:
        """The TCP connection stands."""

    def session_ready(self, session: "Session") -> None:
        """Greeting, TLS and AUTH are over: it can take an entry."""

    def session_failed(self, session: "Session", trouble: Trouble) -> None:
        """It will never be ready."""

    def transaction_done(self, session: "Session", results: tuple[RecipientReply, ...]) -> None:
        """The peer has answered for every recipient of `session.current`."""

    def transaction_broken(self, session: "Session", closed: Closed, ending: Ending) -> None:
        """The connection ended under `session.current`."""

    def session_gone(self, session: "Session") -> None:
        """The socket is closed."""
