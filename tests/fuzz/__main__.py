"""The fuzzing campaign: `python -m tests.fuzz [--inputs N] [--only TARGET]`, or `make fuzz`.

First the seeded faults, relays that are broken on purpose: each must be found out by its target, from the seeds alone.
Then every target runs under atheris (coverage-guided, libFuzzer) in a process of its own, from its seeds and from what
earlier campaigns found, and the state machines for many steps; what fails is kept under build/fuzz and printed with the
command that shows it again. Then the published smuggling payloads and the open-relay battery run as tests.
Figures: build/figures/fuzz.json.
"""

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import click

from e2e import figures
from tests.fuzz.faults import FAULTS
from tests.fuzz.states import MACHINES
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


_STEPS: Final = dict.fromkeys(MACHINES, 1)
"""Of a state machine, for each hundred inputs of the campaign; counted apart."""
_FAULT_INPUTS: Final = 500_000
_FAULT_STEPS: Final = 100_000
"""After so many a seeded fault that was not found is not found."""


def _fuzz(of: str, inputs: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """A target under atheris, from its seeds and what is in the folder; crashes land beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[of.partition(":")[0]]):
        (folder / f"seed-{number}").write_bytes(seed)
    return _ended(
        "tests.fuzz.one", of, f"-runs={inputs}", "-max_len=4096", "-timeout=20", f"-artifact_prefix={folder}-",
        "-print_final_stats=1", "-rss_limit_mb=2048", str(folder),
    )  # fmt: skip


def _ended(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    asked = [sys.executable, "-m", module, *arguments]
    return subprocess.run(asked, capture_output=True, text=True, errors="replace", check=False, timeout=_LONGEST_S)


def _run(name: str, inputs: int) -> tuple[int, str]:
    """One target's campaign: (inputs executed, what failed or an empty string)."""
    ended = _fuzz(name, inputs, CORPUS / name)
    found = re.search(r"number_of_executed_units:\s+(\d+)", ended.stderr)
    executed = int(found[1]) if found else 0
    if ended.returncode == 0 and found:
        return executed, ""
    artifact = re.search(r"Test unit written to (\S+)", ended.stderr)
    again = f"; again: python -m tests.fuzz.one {name} {artifact[1]}" if artifact else ""
    return executed, f"see {_logged(name, ended)}{again}"


def _walk(name: str, steps: int) -> tuple[int, str]:
    """One state machine's campaign: (steps, what failed or an empty string)."""
    ended = _ended("tests.fuzz.states", name, str(steps))
    found = re.search(r"^steps: (\d+)$", ended.stdout, re.MULTILINE)
    if ended.returncode == 0 and found:
        return int(found[1]), ""
    return 0, f"see {_logged(name, ended)}"


def _logged(name: str, ended: subprocess.CompletedProcess[str]) -> Path:
    log = CORPUS / f"{name}.log"
    log.write_text(ended.stdout + ended.stderr)
    return log


def _is_found(of: str) -> bool:
    """A seeded fault comes to light as an exception of its target's, from the seeds alone."""
    if of.partition(":")[0] in MACHINES:
        ended = _ended("tests.fuzz.states", of, str(_FAULT_STEPS))
        is_found = ended.returncode == 1 and "run_state_machine_as_test" in ended.stderr
    else:
        with tempfile.TemporaryDirectory() as folder:
            ended = _fuzz(of, _FAULT_INPUTS, Path(folder) / "corpus")
        is_found = "Uncaught Python exception" in ended.stdout + ended.stderr
    if not is_found:
        _logged(of.replace(":", "-"), ended)
    return is_found


def _seeded(names: list[str], pool: ThreadPoolExecutor) -> list[str]:
    """The faults of these targets that nobody found; prints each."""
    faults = [f"{name}:{fault}" for name in names for fault in FAULTS[name]]
    missed = []
    for of, is_found in zip(faults, pool.map(_is_found, faults), strict=True):
        click.echo(f"seeded fault {of:44} {'found' if is_found else f'NOT FOUND: see {CORPUS}'}")
        missed += [] if is_found else [of]
    click.echo(f"seeded faults found: {len(faults) - len(missed)} of {len(faults)}")
    return missed


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
@click.option("--only", type=click.Choice([*TARGETS, *MACHINES]), help="One alone; no figures are written.")
@click.option("--faults-only", is_flag=True, help="The seeded faults alone; no figures are written.")
@click.option("--side-by-side", default=2, show_default=True, help="Targets at a time.")
def main(inputs: int, only: str | None, faults_only: bool, side_by_side: int) -> None:
    """Fuzzes the relay's doors, and says what was found."""
    names = [only] if only else [*TARGETS, *MACHINES]
    with ThreadPoolExecutor(side_by_side) as pool:
        missed = _seeded(names, pool)
        if faults_only:
            sys.exit(1 if missed else 0)
        executed, steps, failures = 0, 0, []
        jobs = [(name, inputs if only else inputs * (_SHARES | _STEPS)[name] // 100) for name in names]
        ended = pool.map(lambda job: (_walk if job[0] in MACHINES else _run)(*job), jobs)
        for name, (count, problem) in zip(names, ended, strict=True):
            is_machine = name in MACHINES
            steps, executed = (steps + count, executed) if is_machine else (steps, executed + count)
            what = "steps " if is_machine else "inputs"
            click.echo(f"{name:16} {count:>10,} {what}  {'FAILED: ' + problem if problem else 'only declared errors'}")
            failures += [name] if problem else []
    if only is None:
        _report(executed, steps, len(failures), len(missed))
    sys.exit(1 if failures or missed else 0)


def _report(executed: int, steps: int, failed: int, missed: int) -> None:
    figures.clear("fuzz")
    smuggled, open_relay = _battery(_SMUGGLING), _battery(_OPEN_RELAY)
    payloads = f"{len(SEQUENCES)} published sequences, each in {WAYS} ways"
    click.echo(f"smuggling: {smuggled} cases failed, of {payloads}; open relay: {open_relay}, of {BATTERY} tricks")
    faults = sum(map(len, FAULTS.values()))
    for name, value, unit, target in (
        ("inputs", executed, f"inputs to {len(TARGETS)} targets", 10_000_000),
        ("state_steps", steps, f"steps of {len(MACHINES)} state machines", 100_000 * len(MACHINES)),
        ("seeded_faults_found", faults - missed, f"of {faults}", faults),
        ("undeclared_errors", failed, f"targets and state machines of {len(TARGETS) + len(MACHINES)}", 0),
        ("smuggled", smuggled, f"cases failed, of {payloads}", 0),
        ("open_relay", open_relay, f"cases failed, of {BATTERY} tricks", 0),
    ):
        figures.record("fuzz", name, value, unit, target, "higher" if target else "lower", _COMMAND)


if __name__ == "__main__":
    Path(CORPUS).mkdir(parents=True, exist_ok=True)
    main()
