"""The other half of `make in-force`: what the status of busy lanes costs, counted in the API server's audit log.

Invariant: the operator looks at its lanes far more often than it may write, conditions stand still meanwhile, and the
same count of a mutant that writes whatever it sees is over the limit.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import pytest

from e2e import figures
from e2e.installation import OPERATOR_USER, Installation, pool, serve
from e2e.internet.addresses import YAHOO
from e2e.internet.counting import max_in_any_window
from e2e.internet.policy import Stage
from e2e.outbound import Outbound, sending_lane
from e2e.release import OPERATOR_NAMESPACE, RELEASE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

FILE, COMMAND = "in_force", "make in-force"
LANES = ("busy-a", "busy-b", "busy-c")
DOMAINS = ("gmail-like.example", "yahoo-like.example", "freemail.example")
RATE = 5.0
"""Messages a second into each slot; one ISP is so slow that some always wait."""
SLOW_S = 1.5
SETTLES_S, WINDOW_S, MUTANT_WINDOW_S = 40, 150, 40
EVERY_S, SHORT_OF_IT_S = 30.0, 0.5
"""A lane's figures are written once in this time; what the log's times may be off by."""
PROGRAM = """\
import os
os.environ["LANEWRIGHT_OBSERVE_SETTLED_S"] = "2"
import lane_operator.reconcile.status_writer as writer
from lane_operator.__main__ import main
"""
MUTANT = "writer.only_figures_differ = lambda before, after: False\n"
_COMMAND = "/spec/template/spec/containers/0/command"


@pytest.fixture
def operator_as_installed(sending_namespace: Installation, images: dict[str, str]) -> Iterator[Installation]:
    """Figures are written as seldom as where users install it."""
    serve(sending_namespace.cluster, images, operator={"recheck": 30, "resync": 420})
    yield sending_namespace
    serve(sending_namespace.cluster, images)


async def test_status_of_busy_lanes_is_written_once_in_thirty_seconds(
    outbound: Outbound, operator_as_installed: Installation
) -> None:
    here = operator_as_installed
    lanes = [sending_lane(name, here.namespace, "shared", replicas=2 - number % 2) for number, name in enumerate(LANES)]
    here.apply(pool("shared", here.namespace), *lanes)
    here.wait_ready(*LANES, within=180)
    await outbound.policy(YAHOO, delays={Stage.END_OF_DATA: SLOW_S})
    a, b, c = (outbound.traffic(name, DOMAINS, RATE) for name in LANES)
    async with a, b, c:
        with _operator_as(here, f"{PROGRAM}main()\n"):
            await asyncio.sleep(SETTLES_S)  # what it says of its own start is written
            before = _conditions(here)
            written = await _status_writes(here, WINDOW_S)
            after = _conditions(here)
        with _operator_as(here, f"{PROGRAM}{MUTANT}main()\n"):
            mutant = await _status_writes(here, MUTANT_WINDOW_S)
    worst, found = _most(written), _most(mutant)
    _say("busy_status_writes_per_lane_30s", worst, "writes", 1.0)
    _say("busy_status_writes", sum(map(len, written.values())), "writes")
    _say("busy_status_lane_seconds", len(LANES) * WINDOW_S, "s")
    figures.record(FILE, "busy_status_writes_per_lane_30s_mutant", found, "writes", 2.0, "higher", COMMAND)
    assert before == after, "conditions have changed meanwhile: their writes are not those of figures"
    assert all(written.values()), "a lane that is not written at all is not busy"
    assert worst <= 1 < found, (written, mutant)


def _say(name: str, value: float, unit: str, target: float | None = None) -> None:
    print(f"{name} {value} {unit}")
    figures.record(FILE, name, value, unit, target, "lower", COMMAND)


@contextmanager
def _operator_as(here: Installation, program: str) -> Iterator[None]:
    """The operator runs this; afterwards it is itself again."""
    _patch(here, {"op": "add", "path": _COMMAND, "value": ["python3", "-c", program]})
    try:
        yield
    finally:
        _patch(here, {"op": "remove", "path": _COMMAND})


def _patch(here: Installation, operation: dict[str, object]) -> None:
    deployment, namespaced = f"deployment/{RELEASE}", ("-n", OPERATOR_NAMESPACE)
    here.cluster.kubectl("patch", deployment, *namespaced, "--type=json", "-p", json.dumps([operation]))
    here.cluster.kubectl("rollout", "status", deployment, *namespaced, "--timeout=120s")


def _conditions(here: Installation) -> dict[str, list[tuple[str, ...]]]:
    """What each lane says, and since when."""
    names = ("type", "status", "reason", "lastTransitionTime")
    found = {one: here.get("sendinglane", one)["status"]["conditions"] for one in LANES}
    return {one: [tuple(str(row.get(name)) for name in names) for row in rows] for one, rows in found.items()}


async def _status_writes(here: Installation, seconds: float) -> dict[str, list[float]]:
    """Lane -> when its status was written in this window, in Unix time."""
    offset = here.cluster.audit_offset()
    await asyncio.sleep(seconds)  # the window is the measurement
    written: dict[str, list[float]] = {one: [] for one in LANES}
    for one in here.cluster.writes(offset=offset, user=OPERATOR_USER):
        if one.resource == "sendinglanes/status" and one.namespace == here.namespace:
            written[one.name].append(datetime.fromisoformat(one.at).timestamp())
    return written


def _most(written: Mapping[str, Iterable[float]]) -> int:
    """The most that one lane had in any thirty seconds."""
    return max(max_in_any_window(times, EVERY_S - SHORT_OF_IT_S) for times in written.values())
