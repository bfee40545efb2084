"""The parent of the relays: has imported the relay once and forks it, so that a start costs what the relay costs.

`python -m tests.lane_relay.nursery`: a line of JSON in ({config, log}), the process id out; how each child ended goes
to its error output. Children are whole relays: their own `main`, their own session and log; they share nothing with
their parent but pages, and none outlives it. Before: `forked`, `tests.chaos`. After: `lane_relay.__main__`.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from typing import IO

from lane_relay import __main__ as relay
from lane_relay.commands import relay as _stages  # noqa: F401 -- children find them imported

__all__ = ["serve"]


def serve(requests: IO[str]) -> None:
    """Forks a relay a line, until there are no more lines; then ends those that still run."""
    alive: set[int] = set()

    def bury(*_: object) -> None:
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

    signal.signal(signal.SIGCHLD, bury)
    for line in requests:
        asked = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        child = os.fork()
        if child == 0:
            _become(asked["config"], asked["log"])
        alive.add(child)
        print(child, flush=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for child in tuple(alive):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _become(config: str, log: str) -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
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
