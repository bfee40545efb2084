"""The fuzzing campaign: `python -m tests.fuzz [--inputs N] [--only TARGET]`, or `make fuzz`.

Every target runs under atheris (coverage-guided, libFuzzer) in a process of its own, from its seeds and from what
earlier campaigns found; what fails is kept under build/fuzz and printed with the command that shows it again. Then the
published smuggling payloads and the open-relay battery run as tests. Figures: build/figures/fuzz.json.
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import click

from e2e import figures
from tests.fuzz.targets import CORPUS, SEEDS, TARGETS
from tests.lane_relay.accept.test_open_relay import BATTERY
from tests.lane_relay.smtp.test_smuggling import SEQUENCES, WAYS

_COMMAND: Final = "make fuzz"
_SHARES: Final = {
    "esmtp_server": 10, "esmtp_client": 20, "replies": 15, "reply_rules": 10, "reports": 10, "headers": 15, "merge": 10,
    "eight_bit": 5, "spool_recovery": 5,
}  # fmt: skip
"""Of a hundred inputs: as many as each target's speed allows in about the same time."""
_SMUGGLING: Final = "tests/lane_relay/smtp/test_smuggling.py"
_OPEN_RELAY: Final = "tests/lane_relay/accept/test_open_relay.py"
_LONGEST_S: Final = 4 * 3600


def _run(name: str, inputs: int) -> tuple[str, int, str]:
    """One target's campaign: (name, inputs executed, what failed or an empty string)."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (folder / f"seed-{number}").write_bytes(seed)
    arguments = [
        sys.executable, "-m", "tests.fuzz.one", name, f"-runs={inputs}", "-max_len=4096", "-timeout=20",
        f"-artifact_prefix={CORPUS}/{name}-", "-print_final_stats=1", "-rss_limit_mb=2048", str(folder),
    ]  # fmt: skip
    ended = subprocess.run(arguments, capture_output=True, text=True, errors="replace", check=False, timeout=_LONGEST_S)
    found = re.search(r"number_of_executed_units:\s+(\d+)", ended.stderr)
    executed = int(found[1]) if found else 0
    if ended.returncode == 0 and found:
        return name, executed, ""
    log = CORPUS / f"{name}.log"
    log.write_text(ended.stdout + ended.stderr)
    artifact = re.search(r"Test unit written to (\S+)", ended.stderr)
    again = f"; again: python -m tests.fuzz.one {name} {artifact[1]}" if artifact else ""
    return name, executed, f"see {log}{again}"


def _battery(path: str) -> int:
    """How many of its cases failed; one trick has several cases, for instance one for each event loop."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", path], capture_output=True, text=True, check=False
    )
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) (passed|failed|error)", ended.stdout)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    if ended.returncode and not failed:
        raise click.ClickException(f"{path} did not run: {ended.stdout[-500:]}")
    return failed


@click.command()
@click.option("--inputs", default=10_000_000, show_default=True, help="In all targets together.")
@click.option("--only", type=click.Choice(sorted(TARGETS)), help="One target alone; no figures are written.")
@click.option("--side-by-side", default=2, show_default=True, help="Targets at a time.")
def main(inputs: int, only: str | None, side_by_side: int) -> None:
    """Fuzzes the relay's doors, and says what was found."""
    names = [only] if only else list(TARGETS)
    shares = {name: inputs if only else inputs * _SHARES[name] // 100 for name in names}
    executed, failures = 0, []
    with ThreadPoolExecutor(side_by_side) as pool:
        for name, count, problem in pool.map(lambda one: _run(one, shares[one]), names):
            executed += count
            click.echo(f"{name:16} {count:>10,} inputs  {'FAILED: ' + problem if problem else 'only declared errors'}")
            if problem:
                failures.append(name)
    if only is None:
        _report(executed, len(failures))
    sys.exit(1 if failures else 0)


def _report(executed: int, failed: int) -> None:
    figures.clear("fuzz")
    smuggled, open_relay = _battery(_SMUGGLING), _battery(_OPEN_RELAY)
    payloads = f"{len(SEQUENCES)} published sequences, each in {WAYS} ways"
    click.echo(f"smuggling: {smuggled} cases failed, of {payloads}; open relay: {open_relay}, of {BATTERY} tricks")
    for name, value, unit, target in (
        ("inputs", executed, "inputs", 10_000_000),
        ("undeclared_errors", failed, f"targets of {len(TARGETS)}", 0),
        ("smuggled", smuggled, f"cases failed, of {payloads}", 0),
        ("open_relay", open_relay, f"cases failed, of {BATTERY} tricks", 0),
    ):
        figures.record("fuzz", name, value, unit, target, "higher" if name == "inputs" else "lower", _COMMAND)


if __name__ == "__main__":
    Path(CORPUS).mkdir(parents=True, exist_ok=True)
    main()
