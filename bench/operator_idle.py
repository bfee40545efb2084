"""What the operator writes in five idle minutes on a real cluster: the figure `operator_idle_writes`.

Two windows, counted alike: the operator as installed, over many complete comparisons; then, so that a zero is known to
be a zero, the same operator with its comparison taken out (a mutant: every complete comparison applies everything
anew), which must be seen writing. A cluster that was there before stays; one that this brought up goes.
"""

import json

from e2e import figures
from e2e.cluster import open_cluster
from e2e.cluster.identity import Purpose
from e2e.idle import Window, lane_that_rests, settle, watched
from e2e.installation import RESYNC_S, Installation, Stock, installed, internet_of
from e2e.release import OPERATOR_NAMESPACE, RELEASE

__all__ = ["run"]

WINDOW_S = 300
MUTANT_WINDOW_S = 3 * RESYNC_S
COMMAND = "make bench"
IMAGES = ("operator", "relay", "unbound")
MUTANT = """\
import lane_operator.apply
from lane_operator.__main__ import main
lane_operator.apply.is_in_force = lambda wanted, live: False
main()
"""
_CONTAINER = "/spec/template/spec/containers/0/command"


def run() -> None:
    """Brings up what is missing, measures, prints and records; raises AssertionError where a window proves nothing."""
    cluster, why = open_cluster(purpose=Purpose.BENCH)
    print(f"\noperator idle, cluster {cluster.layout.id} ({cluster.kind}: {why})", flush=True)
    was_there = cluster.kubeconfig.exists()
    cluster.up()
    try:
        images = cluster.load(IMAGES)
        with installed(cluster, internet_of(cluster), Stock(cluster, images).take()) as here:
            lane_that_rests(here)
            print(f"{WINDOW_S} s without a change, a complete comparison every {RESYNC_S} s ...", flush=True)
            sound = watched(here, WINDOW_S)
            mutant = _mutated(here)
    finally:
        if not was_there:
            cluster.down()
    report(sound, mutant)


def report(sound: Window, mutant: Window) -> None:
    """Prints both windows; records them only if they prove what they say."""
    for name, window in (("operator", sound), ("without comparison", mutant)):
        print(
            f"{name:20}{len(window.written):>6} writes in {window.seconds} s; "
            f"{window.before} in the repair before, {window.after} in the repair after"
        )
    if not (sound.before and sound.after and mutant.written):
        raise AssertionError("the windows prove nothing: a repair was not seen, or the mutant wrote nothing")
    figures.record("bench", "operator_idle_writes", len(sound.written), "writes", 0.0, "lower", COMMAND)
    figures.record("bench", "operator_idle_window_s", sound.seconds, "s", 300.0, "higher", COMMAND)
    figures.record("bench", "operator_idle_resyncs", sound.seconds // RESYNC_S, "comparisons", 1.0, "higher", COMMAND)
    around = sound.before + sound.after
    figures.record("bench", "operator_writes_around_the_window", around, "writes", 1.0, "higher", COMMAND)
    figures.record("bench", "operator_idle_writes_mutant", len(mutant.written), "writes", 1.0, "higher", COMMAND)
    if sound.written:
        raise AssertionError(f"the operator wrote while nothing changed: {sound.written[:5]}")


def _mutated(here: Installation) -> Window:
    """The short window of an operator that compares nothing; afterwards it is itself again."""
    _patch(here, {"op": "add", "path": _CONTAINER, "value": ["python3", "-c", MUTANT]})
    try:
        return watched(here, MUTANT_WINDOW_S, settled=False)
    finally:
        _patch(here, {"op": "remove", "path": _CONTAINER})
        settle(here)


def _patch(here: Installation, operation: dict[str, object]) -> None:
    deployment, namespaced = f"deployment/{RELEASE}", ("-n", OPERATOR_NAMESPACE)
    here.cluster.kubectl("patch", deployment, *namespaced, "--type=json", "-p", json.dumps([operation]))
    here.cluster.kubectl("rollout", "status", deployment, *namespaced, "--timeout=120s")
