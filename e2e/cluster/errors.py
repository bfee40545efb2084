"""The one error a person sees: what went wrong and what to do about it."""

import subprocess
from pathlib import Path


class ClusterError(Exception):
    """A step of the cluster failed; `fix` is the sentence that tells the reader what to do."""

    def __init__(self, what: str, fix: str, log: Path | None = None) -> None:
        super().__init__(what)
        self.what, self.fix, self.log = what, fix, log

    def __str__(self) -> str:
        tail = f"\nlast lines of {self.log}:\n{last_lines(self.log)}" if self.log else ""
        return f"{self.what}\nfix: {self.fix}{tail}"


def last_lines(log: Path, count: int = 15) -> str:
    """Return the last `count` lines of a log, or a remark that there are none."""
    if not log.exists():
        return "  (no log was written)"
    lines = log.read_text(errors="replace").splitlines()[-count:]
    return "\n".join(f"  {line}" for line in lines) or "  (the log is empty)"


def failed(what: str, done: "subprocess.CompletedProcess[str]", fix: str) -> ClusterError:
    """Return the error for a finished command that did not succeed, with its own last words."""
    said = (done.stderr or done.stdout or "").strip().splitlines()[-5:]
    return ClusterError(f"{what} (exit {done.returncode}): " + " / ".join(said), fix)
