"""Where entries are, as far as orders reach them. Before: `keeper`. After: the schedule and the dispatcher."""

from collections.abc import Callable, Iterator

from msgspec import Struct

from lane_relay.deliver.dispatcher import Dispatcher
from lane_relay.deliver.prepared import Held
from lane_relay.records import QueueEntry, Route

__all__ = ["Places", "places_of"]

Sweep = Callable[[Callable[[QueueEntry], bool]], Iterator[list[QueueEntry]]]


class Places(Struct, frozen=True):
    """All on the event loop, none blocks."""

    sweep: Sweep
    """Takes entries out of the schedule, and of where they wait for a warm-up, a portion at a time."""
    go_on: Callable[[QueueEntry], None]
    """Puts an entry into the schedule."""
    look_again: Callable[[], None]
    """Sends everything that is in delivery, or has no way to go, past `OrderKeeper.takes` again."""
    hold: Callable[[QueueEntry, Route, Held], None]
    release: Callable[[str], None]
    """Sends what is held under this key past `OrderKeeper.takes` again."""
    held: Callable[[str], int]
    """How many entries are held under this key."""
    has_site: Callable[[str], bool]
    """Whether a site of this name is known now."""


def places_of(
    dispatcher: Dispatcher, sweep: Sweep, go_on: Callable[[QueueEntry], None], handing_over: Callable[[], None] | None
) -> Places:
    """Those of a running relay; `sweep` and `go_on`: see Places; `handing_over()`: what has no way to a sibling is
    looked at again."""

    def look_again() -> None:
        dispatcher.look_again()
        if handing_over is not None:
            handing_over()

    def has_site(name: str) -> bool:
        return dispatcher.explain_site(name) is not None

    return Places(sweep, go_on, look_again, dispatcher.hold, dispatcher.release, dispatcher.held, has_site)
