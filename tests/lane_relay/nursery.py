"""The parent of the relays: has imported the relay once and forks it, so that a start costs what the relay costs.

`python -m tests.lane_relay.nursery`: a line of JSON in ({config, log}), the process id out; how each child ended goes
to its error output. Children are whole relays: their own `main`, their own session and log; they share nothing with
their parent but pages, and none outlives it. Before: `forked`, `tests.chaos`. After: `lane_relay.__main__`.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO

from lane_relay import __main__ as relay
from lane_relay.commands import relay as _stages  # noqa: F401 -- children find them imported

__all__ = ["serve"]


def serve(requests: IO[str]) -> None:
    """Forks a relay a line, until there are no more lines; then ends those that still run."""
    alive: set[int] = set()

    def bury() -> None:
        """Says how each child ended: one that nobody killed is a finding."""
        while True:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not child:
                return
            alive.discard(child)
            os.write(2, f"{child} ended with {os.waitstatus_to_exitcode(status)}\n".encode())

    for line in _lines(requests.fileno(), bury):
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(asked["config"], asked["log"])
        alive.add(child)
        print(child, flush=True)
    for child in tuple(alive):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _lines(requests: int, bury: Callable[[], None]) -> Iterator[bytes]:
    """Lines of a descriptor; `bury` is called as soon as children end.

    The signal writes to a pipe that is waited for with the lines: a handler of Python's own runs between two
    instructions, so that one whose signal comes just before a read begins waits for the next line.
    """
    ended, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    rest = b""
    while True:
        ready, _, _ = select.select([requests, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            bury()
        if requests in ready:
            read = os.read(requests, 65536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            yield from lines


def _become(config: str, log: str) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["lane-relay", "--config", config]
    status = 1
    try:
        relay.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.stdin)
