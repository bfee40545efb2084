"""How long processes waited for a processor lately, by the kernel's account: what a busy machine adds to each step.

Linux counts for each thread the time in which it could have run and did not (/proc/PID/task/TID/schedstat, the second
number, in nanoseconds). Before: `kills`. After: `judge`, which asks how far behind a slot may have been when it died.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Self

Waits = tuple[tuple[float, float], ...]
"""(seconds before an instant, what was waited in all from then until the instant), the latest first."""
_EVERY_S: Final = 0.025
_KEPT_S: Final = 1.5


class Lateness:
    """Of some processes together; use as a context."""

    def __init__(self, processes: Callable[[], Iterable[int]]) -> None:
        """`processes()`: their ids as of now."""
        self._processes = processes
        self._waited: dict[tuple[int, int], int] = {}
        self._total_s = 0.0
        self._samples: deque[tuple[float, float]] = deque(maxlen=int(_KEPT_S / _EVERY_S))
        """(wall clock, waited since the beginning)."""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def until_now(self) -> Waits:
        """Of the last second and a half; call it while the processes still run."""
        self._look()
        with self._lock:
            now, total = self._samples[-1]
            return tuple((now - at, total - waited) for at, waited in reversed(self._samples))

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for process in tuple(self._processes()):
                self._total_s += self._more_of(process)
            self._samples.append((time.time(), self._total_s))

    def _more_of(self, process: int) -> float:
        """Seconds that its threads waited since the last look; what a new thread waited counts in whole."""
        more = 0
        try:
            for thread in Path(f"/proc/{process}/task").iterdir():
                waited = int((thread / "schedstat").read_text().split()[1])
                key = (process, int(thread.name))
                more += waited - self._waited.get(key, 0)
                self._waited[key] = waited
        except (FileNotFoundError, ProcessLookupError):  # it, or one of its threads, has ended
            pass
        return max(more, 0) / 1e9


def window_s(base_s: float, waits: Waits, most_s: float) -> float:
    """How long before an instant what then takes `base_s` may have begun, with what was waited in that time."""
    window = base_s
    for _ in range(len(waits)):
        waited = next((total for before, total in waits if before >= window), waits[-1][1])
        if base_s + waited <= window:
            break
        window = base_s + waited
    return min(window, most_s)
