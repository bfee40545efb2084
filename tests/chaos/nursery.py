"""The parent of the relays: has imported the relay once and forks it, so that a restart costs what the relay costs.

`python -m tests.chaos.nursery MUTANT`: a line of JSON in ({config, log}), the process id out. Children are whole
relays: their own `main`, their own session and log; they share nothing with their parent but pages.
"""

import json
import os
import signal
import sys
from typing import IO

from lane_relay import __main__ as relay
from lane_relay.commands import relay as _stages  # noqa: F401 -- children find them imported
from tests.chaos import mutants


def _become(config: str, log: str) -> None:
    os.setsid()
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


def _bury(*_: object) -> None:
    """Says how each child ended: one that nobody killed is a finding."""
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not child:
            return
        os.write(2, f"{child} ended with {os.waitstatus_to_exitcode(status)}\n".encode())


def _serve(requests: IO[str]) -> None:
    signal.signal(signal.SIGCHLD, _bury)
    for line in requests:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(asked["config"], asked["log"])
        print(child, flush=True)


if __name__ == "__main__":
    mutants.apply(sys.argv[1])
    _serve(sys.stdin)
