"""Interoperability: `make interop`. Every peer both ways, signatures by four verifiers, reports by three parsers.

One line a peer while it runs, what failed below it, and what a peer cannot do with anybody. Figures:
build/figures/interop.json; each zero beside how many there were, and what a seeded fault makes of it.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from e2e import figures
from tests.interop import reports, sessions, signatures
from tests.interop.clients import CLIENTS, Careless
from tests.interop.servers import SERVERS

_COMMAND: Final = "make interop"
_CORPUS: Final = 500


@contextmanager
def _folder() -> Iterator[Path]:
    """Short and open to servers' unprivileged users; it goes at the end."""
    made = Path(tempfile.mkdtemp(prefix="lanewright-interop-", dir="/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _record(name: str, value: float, unit: str, target: float | None, better: Literal["lower", "higher"]) -> None:
    figures.record("interop", name, value, unit, target, better, _COMMAND)


def _say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def _tallies(on: sessions.Stage) -> Iterator[sessions.Tally]:
    for client in CLIENTS:
        yield sessions.whole_client(on, client)
    for server in SERVERS:
        yield sessions.whole_server(on, server)


def _sessions(folder: Path) -> bool:
    """Whether every message arrived, and the seeded fault was seen."""
    tallies = []
    with sessions.stage(folder) as on:
        for tally in _tallies(on):
            tallies.append(tally)
            _say(tally.line(), *(f"  FAILED {what}" for what in tally.failures))
        seeded, _ = sessions.client_submits(on, Careless(), tls=True)
    failed, cases = sum(len(one.failures) for one in tallies), sum(one.cases for one in tallies)
    _say(f"seeded fault, a client that loses blanks: {len(seeded)} messages differ")
    _record("peers", len(tallies), "peers", len(SERVERS) + len(CLIENTS), "higher")
    _record("sessions_failed", failed, f"messages of {cases}", 0, "lower")
    _record("seeded_sessions_failed", len(seeded), "messages", 1, "higher")
    return not failed and bool(seeded)


def _signatures(folder: Path) -> bool:
    """Whether every verifier accepted every signature, and none that was broken."""
    rejected, asked, accepted_broken, broken = 0, 0, 0, 0
    with signatures.signed_corpus(folder, _CORPUS) as signed:
        for name, verify in signatures.VERIFIERS.items():
            files, left_out = signatures.fair(signed, verify)
            wrong = {file: why for file, why in verify(signed, files).items() if why}
            passed = [file for file, why in verify(signed, signed.broken).items() if not why]
            _say(f"{name:12} {len(files) - len(wrong):>4} of {len(files)} signatures accepted, {len(passed)} of "
                 f"{len(signed.broken)} broken ones{left_out}")  # fmt: skip
            for file, why in list(wrong.items())[:20]:
                _say(f"  REJECTED {file}: {why}")
            rejected, asked = rejected + len(wrong), asked + len(files)
            accepted_broken, broken = accepted_broken + len(passed), broken + len(signed.broken)
    _record("signatures", len(signed.files), f"on {_CORPUS} messages", 2 * _CORPUS, "higher")
    _record("signatures_rejected", rejected, f"verdicts of {asked}", 0, "lower")
    _record("seeded_signatures_rejected", broken - accepted_broken, f"broken ones of {broken}", broken, "higher")
    return not rejected and not accepted_broken


def _reports(folder: Path) -> bool:
    """Whether every parser read what was meant, and saw what was falsified."""
    contents = reports.reports(folder)
    for parser in reports.PARSERS:
        wrong, pairs = reports.disagreements(contents, [parser], folder)
        less = "".join(f"; left out: {case}: {why}" for case, why in parser.leaves_out.items())
        _say(f"{parser.name:12} {pairs - len(wrong):>4} of {pairs} reports read as they were meant{less}")
        for what in wrong:
            _say(f"  DISAGREES {what}")
    wrong, pairs = reports.disagreements(contents, reports.PARSERS, folder)
    seeded, _ = reports.disagreements(reports.falsified(contents), reports.PARSERS, folder)
    _record("dsn_disagreements", len(wrong), f"readings of {pairs}", 0, "lower")
    _record("seeded_dsn_disagreements", len(seeded), f"readings of {pairs}", pairs, "higher")
    return not wrong and len(seeded) == pairs


def main() -> None:
    """Runs all three, and fails if one did."""
    lacking = [name for name in ("node", "npm", "openssl", "unshare") if shutil.which(name) is None]
    if lacking or os.geteuid() != 0:
        sys.exit(f"run as root, with {' and '.join(lacking) or 'mount namespaces'} (Haraka wants Node.js 20 or newer)")
    figures.clear("interop")
    with _folder() as folder:
        done = [_part(folder / name, part) for name, part in _PARTS]
    sys.exit(0 if all(done) else 1)


_PARTS: Final = (("sessions", _sessions), ("signatures", _signatures), ("reports", _reports))


def _part(folder: Path, part: Callable[[Path], bool]) -> bool:
    folder.mkdir(mode=0o755)
    return part(folder)


if __name__ == "__main__":
    main()
