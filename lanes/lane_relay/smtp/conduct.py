"""How a peer behaves in one session: what it errs and wastes, and what that costs it.

Before it: `smtp.server`, which tells it of each command and error and does what it answers.
"""

from typing import Final

from lane_relay.records import Reply
from lane_relay.smtp.server_events import Options

__all__ = ["Conduct"]

_TOO_MANY_ERRORS: Final = Reply(421, ("4.7.0 Too many errors",))
_TOO_MANY_COMMANDS: Final = Reply(421, ("4.7.0 Too many commands without mail",))
_TOO_MANY_FAILURES: Final = Reply(421, ("4.7.0 Too many failed authentications",))


class Conduct:
    """Counts of one session; a Reply is the last word of it."""

    __slots__ = ("_auth_failures", "_commands", "_errors", "_options", "errors")

    def __init__(self, options: Options) -> None:
        self._options = options
        self._commands = self._errors = self._auth_failures = 0
        self.errors = 0
        """Also those before the last message, and failed authentications."""

    def on_command(self) -> Reply | None:
        """A command line came."""
        self._commands += 1
        return _TOO_MANY_COMMANDS if self._commands > self._options.max_commands else None

    def on_use(self) -> None:
        """The last command brought mail nearer, as a recipient or a chunk does: it does not count."""
        self._commands -= 1

    def on_message(self) -> None:
        """A message was taken."""
        self._commands = self._errors = 0

    def on_refusal(self) -> None:
        """Mail was refused of a peer who may send: an answer that it came for, such as that somebody is suppressed."""
        self._commands = 0

    def on_error(self) -> Reply | float:
        """A permanent refusal: the end, or the seconds that its answer takes."""
        self._errors += 1
        self.errors += 1
        return _TOO_MANY_ERRORS if self._errors >= self._options.max_errors else self._options.pause(self._errors)

    def on_auth_failure(self) -> Reply | None:
        """A password was wrong."""
        self._auth_failures += 1
        self.errors += 1
        return _TOO_MANY_FAILURES if self._auth_failures >= self._options.max_auth_failures else None
