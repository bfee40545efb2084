"""What a long step is doing and for how long, on a terminal and in a plain log.

Invariant: every step that began ends with one line, done or failed, that carries its time. Output goes to standard
error, so that commands such as `env` can be read by a shell.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.text import Text

from e2e.cluster.errors import ClusterError

CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)
if not CONSOLE.is_terminal:
    CONSOLE.width = 160  # a log has no width; tables in it are not folded
STILL_SECONDS = 30.0  # a CI that sees no line for minutes takes the run for dead

Say = Callable[[str], None]


def took(seconds: float) -> str:
    """Return a duration as people read it: 3.2 s, 2 min 5 s."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def status_line(title: str, expect: str, seconds: float, detail: str, width: int) -> str:
    """Return what a step shows of itself in `width` columns: where it does not fit, the estimate goes before news."""
    lines = [f"{label} - {took(seconds)} {detail}" for label in (_label(title, expect), title)]
    return next((line for line in lines if len(line) <= width), lines[-1][:width])


def _label(title: str, expect: str) -> str:
    return f"{title} ({expect})" if expect else title


@contextmanager
def step(title: str, expect: str = "") -> Iterator[Say]:
    """Show `title` while the body runs; the body may say what it is at. `expect` tells how long it may take."""
    began, detail, done = time.monotonic(), [""], threading.Event()
    label = _label(title, expect)
    status = CONSOLE.status(label) if CONSOLE.is_terminal else None

    def tick() -> None:
        last = began
        while not done.wait(0.5):
            now = time.monotonic()
            if status:
                # Text, because what a program says may look like markup
                status.update(Text(status_line(title, expect, now - began, detail[0], CONSOLE.width - 4)))
            elif now - last >= STILL_SECONDS:
                last = now
                CONSOLE.print(f"  ... {label} - {took(now - began)} {detail[0]}", markup=False)

    def say(text: str) -> None:
        detail[0] = text

    if status:
        status.start()
    elif expect:
        CONSOLE.print(f"  ... {label}", markup=False)
    watcher = threading.Thread(target=tick, daemon=True)
    watcher.start()
    mark = "[red]failed[/]"
    try:
        yield say
        mark = "[green]ok[/]"
    finally:
        done.set()
        watcher.join()
        _stop(status)
        CONSOLE.print(f"  {mark} {title} [dim]{took(time.monotonic() - began)}[/]")


def _stop(status: Status | None) -> None:
    if status:
        status.stop()


def note(text: str) -> None:
    """Print one remark."""
    CONSOLE.print(f"  {text}", markup=False)


def run_shown(
    argv: Sequence[str], say: Say, log: Path, *, fix: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Run a long command, its output into `log` and its latest line to `say`; raises ClusterError when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out, subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        text=True, errors="replace", env=env, cwd=cwd,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            out.write(line)
            say(line.strip())
    if process.returncode:
        raise ClusterError(f"`{' '.join(argv[:4])} ...` ended with {process.returncode}", fix, log)
