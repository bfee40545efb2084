"""`make chaos-operator`: act after act on a two-node cluster while codes and newsletters flow, then what was seen.

SHORT=1 leaves out the acts that take long, and has few kills and short absences. Figures:
build/figures/chaos_operator.json. The last part does on purpose what must never be, and each must be found. Ends with
an error where something is not as promised.
"""

import argparse
import random
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from e2e import figures
from e2e.accounting import unaccounted
from e2e.aftermath import aftermath
from e2e.chaos.acts import FULL, SHORT, Acts
from e2e.chaos.judge import STORM_S, figures_of, judge, told
from e2e.chaos.rig import Rig
from e2e.chaos.seeded import seeded
from e2e.cluster import Cluster, open_cluster
from e2e.cluster.identity import Purpose
from e2e.installation import internet_of, release
from e2e.internet.counting import busiest_window
from e2e.release import OPERATOR_NAMESPACE
from e2e.secrecy import shown_secrets

FILE = "chaos_operator"


def main() -> None:
    """Brings up what is missing, runs, and takes down what it brought up."""
    parser = argparse.ArgumentParser(prog="python -m e2e.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="without the long acts, in some fifteen minutes")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="as an earlier run had"
    )
    parser.add_argument("--only", default="", help="acts whose names have this in them; records no figures")
    parser.add_argument("--keep", action="store_true", help="leave the cluster as it is in the end")
    given = parser.parse_args()
    cluster, _ = open_cluster(purpose=Purpose.TESTS)
    was_there = cluster.kubeconfig.exists()
    cluster.up()
    try:
        with tempfile.TemporaryDirectory(prefix="lanewright-chaos-", dir="/var/tmp") as folder:
            failed = _run(cluster, Path(folder), given)
    finally:
        if not (was_there or given.keep):
            cluster.down()
    sys.exit(f"not shown: {'; '.join(failed)}" if failed else None)


def _run(cluster: Cluster, folder: Path, given: argparse.Namespace) -> list[str]:
    """Whatever is not as promised."""
    command = "make chaos-operator SHORT=1" if given.short else "make chaos-operator"
    print(f"seed {given.seed}", flush=True)
    internet, images = internet_of(cluster), cluster.load(("operator", "relay", "unbound"))
    rig = Rig(cluster, internet, images, folder)
    scale = SHORT if given.short else FULL
    began = figures.now()
    if not given.only:
        figures.clear(FILE)
    try:
        rig.set_up(given.seed)
        for name, act in Acts(rig, scale, given.seed).all().items():
            if given.only in name:
                rig.act(name, act)
        return _judged(rig, 0 if given.only else scale.kills, began, command, record=not given.only)
    except Exception:
        traceback.print_exc()
        print(aftermath(cluster, rig.here.namespace), flush=True)
        raise
    finally:
        rig.close()
        if not given.keep:
            release(cluster, rig.here.namespace)
            cluster.kubectl("delete", "namespace", rig.here.namespace, "--wait=false", "--ignore-not-found")


def _judged(rig: Rig, kills: int, began: str, command: str, *, record: bool) -> list[str]:
    rig.end_mail()
    found = judge(rig.evidence())
    failed = [*told(found), *rig.unsettled]
    failed += [f"shown: {one}" for one in shown_secrets(rig.cluster, OPERATOR_NAMESPACE, rig.here.namespace)]
    failed += [f"{slot}: {count} recipients unaccounted" for slot, count in unaccounted(
        rig.cluster, rig.here.namespace).items()]  # fmt: skip
    if failed:
        print(aftermath(rig.cluster, rig.here.namespace), flush=True)
    rows = figures_of(found, kills)
    print(f"requests at the door: {rig.door.counts()}", flush=True)
    _tell_busiest(rig)
    print("faults made on purpose", flush=True)
    rows += seeded(rig)
    rig.dismiss()
    for row in rows:
        print(
            f"  {row.name}: {row.value:g} {row.unit}" + (f" ({row.target:g} asked)" if row.target is not None else "")
        )
        if record:
            figures.record(FILE, row.name, min(row.value, 1e9), row.unit, row.target, row.better, command)
    return [*failed, *(figures.missed(FILE, began) if record else ())]


def _tell_busiest(rig: Rig) -> None:
    """What was asked of the API server, by whom, while most was."""
    seen = rig.door.seen()
    begin, end = busiest_window((at for at, _ in seen), STORM_S)
    act = next((one.name for one in reversed(rig.acts) if one.began <= end), "set up")
    print(f"  busiest {STORM_S:g} s: in or after {act}, {end - rig.acts[0].began:.0f} s after the first act")
    for what, count in Counter(what for at, what in seen if begin < at <= end).most_common(60):
        print(f"    {count:4d} {what}")


if __name__ == "__main__":
    main()
