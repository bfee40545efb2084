"""A slot that is to restart hands its mail over first, for a time; nobody else is closed or restarted meanwhile."""

import base64
import dataclasses
import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
import yaml

from lane_api.lane_status import LaneStatus, RestartStatus, SlotRole
from lane_api.packing import unpacked
from lane_api.relayconfig import RelayConfig
from lane_operator.compare import prepared
from lane_operator.inputs import Assignment, Lane, Manifest, NodeFacts
from lane_operator.marks import slot_of
from lane_operator.reconcile import World
from lane_operator.reconcile.changes import in_turn, wanted_now
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi

ANOTHER: dict[str, Any] = {"pod": {"priorityClassName": "mail"}}
"""What changes every slot's template."""


class Rig:
    """One lane whose workloads are applied as their turn comes, and whose status comes back."""

    def __init__(self, here: World, count: int = 2, **spec: Any) -> None:
        self.now, self.spec, self.version = made.NOW, dict(spec), 50
        self.here = dataclasses.replace(here, wall=lambda: self.now)
        self.here.observer.aim(self.lane_key, ())  # nobody is left to be asked
        self.claims = tuple(map(made.claim, range(count)))
        self.slots = {f"otp-{index}": made.seen(index, queued=50) for index in range(count)}
        self.said: RestartStatus | None = None
        self.deleting: str | None = None
        self.nodes: dict[str, NodeFacts] = {}
        self.configs: dict[str, RelayConfig] = {}
        for manifest in self.manifests()[1]:
            if manifest["kind"] == "StatefulSet":
                self._put(manifest, ready=True)

    lane_key = ("mail", "otp")

    @property
    def lane(self) -> Lane:
        return made.lane(status=LaneStatus(restart=self.said), deleting_since=self.deleting, **self.spec)

    def manifests(self) -> tuple[Assignment, tuple[Manifest, ...]]:
        of, pool = self.lane, made.pool()
        references = made.references(of, pool)
        references = replace(references, nodes={**references.nodes, **self.nodes})
        found, desired = wanted_now(
            self.here, of, references, made.assignment(*self.claims), made.observation(*self.slots.values())
        )
        return found, desired.manifests

    def passes(self, seconds: float = 0, *, dies: bool = False, fails: bool = False) -> list[str]:
        """Which slots get their template now; `dies`: before the status is written, `fails`: nothing is applied."""
        self.now += dt.timedelta(seconds=seconds)
        found, manifests = self.manifests()
        for one in manifests:
            if one["kind"] == "Secret" and "relay.yaml.gz" in one.get("data", {}):
                text = unpacked(base64.b64decode(one["data"]["relay.yaml.gz"]))
                self.configs[slot_of(one)] = RelayConfig.model_validate(yaml.safe_load(text))
        taken, said = in_turn(self.here, self.lane, manifests, found, made.observation(*self.slots.values()))
        self.said = self.said if dies else said
        fresh = [one for one in taken if one["kind"] == "StatefulSet" and self._is_news(one)]
        for manifest in fresh if not fails else ():
            self._put(manifest, ready=False)
            self.sees(manifest["metadata"]["name"], pod_ready=False, reachable=False, intake="")
        return [one["metadata"]["name"] for one in fresh]

    def sees(self, name: str, **changes: Any) -> None:
        self.slots[name] = replace(self.slots[name], **changes)
        if "pod_ready" in changes:
            live = self.live(name)
            status = {**live["status"], "readyReplicas": int(changes["pod_ready"])}
            if changes["pod_ready"]:
                status |= {"observedGeneration": live["metadata"]["generation"], "currentRevision": "b"}
                status["updateRevision"] = "b"
            self._store({**live, "status": status})

    def closes(self, name: str, queued: int = 50, **changes: Any) -> None:
        """The slot has taken its configuration, and its pod has left the Service."""
        self.sees(name, pod_ready=False, intake="Closed", queued=queued, **changes)

    def serves(self, name: str) -> None:
        self.sees(name, pod_ready=True, reachable=True, intake="Open", queued=0)

    def live(self, name: str) -> Manifest:
        found = self.here.cache.get("StatefulSet", "mail", name)
        assert found is not None
        return found

    def does(self, name: str) -> tuple[str, str]:
        return self.configs[name].intake.state, self.configs[name].delivery.state

    def role_of(self, name: str, *, at: str) -> str:
        """What the slot is to another one."""
        handover = self.configs[at].handover
        assert handover is not None
        return next(one.role for one in handover.siblings if one.slot == name)

    def lane_time(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _is_news(self, manifest: Manifest) -> bool:
        live = self.live(manifest["metadata"]["name"])
        return bool(live["spec"] != prepared(manifest)["spec"])

    def _put(self, manifest: Manifest, *, ready: bool) -> None:
        known = self.here.cache.get("StatefulSet", "mail", manifest["metadata"]["name"])
        live = prepared(manifest)
        generation = known["metadata"]["generation"] + 1 if known is not None else 4
        live["metadata"] |= {"generation": generation, "uid": f"uid-{manifest['metadata']['name']}"}
        live["status"] = {
            "observedGeneration": 4,
            "updateRevision": "a" if ready else "b",
            "currentRevision": "a",
            "readyReplicas": int(ready),
        }
        self._store(live)

    def _store(self, live: Manifest) -> None:
        self.version += 1
        metadata = {**live["metadata"], "resourceVersion": str(self.version)}
        self.here.cache.put("StatefulSet", {**live, "metadata": metadata})


@pytest.fixture
def there(rig: tuple[SmallApi, World]) -> World:
    return rig[1]


OPEN, CLOSED = ("Open", "Running"), ("Closed", "Transferring")


def test_a_slot_is_closed_and_empties_and_restarts_open_and_then_the_next(there: World) -> None:
    it = Rig(there)
    assert (it.passes(), it.said) == ([], None)
    it.spec |= ANOTHER
    for name, other in (("otp-0", "otp-1"), ("otp-1", "otp-0")):
        assert (it.passes(1), it.said) == ([], RestartStatus(slot=name, since=it.lane_time()))
        assert (it.passes(1), it.does(name), it.does(other)) == ([], CLOSED, OPEN)
        assert it.role_of(name, at=other) == "Leaving", "no sibling gives it anything"
        it.closes(name, queued=7)
        assert (it.passes(9), it.does(name)) == ([], CLOSED)
        it.closes(name, queued=0)
        assert (it.passes(1), it.does(name)) == ([name], OPEN), "it comes back to serve, with or without us"
        assert it.said == RestartStatus(slot=name, handed_over=True)
        assert (it.passes(1), it.does(name)) == ([], OPEN)
        it.serves(name)
    assert (it.passes(), it.said) == ([], None)


@pytest.mark.parametrize("left", [{"sessions": 1}, {"in_flight": 1}, {"is_fresh": False}, {"intake": "Open"}])
def test_a_slot_with_something_under_way_or_that_has_not_said_so_lately_is_not_empty(
    there: World, left: dict[str, Any]
) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.closes("otp-0", queued=0)
    it.sees("otp-0", **left)
    assert (it.passes(5), it.does("otp-0")) == ([], CLOSED)


@pytest.mark.parametrize(("deadline", "lasts"), [("72h", 120), ("30s", 30)])
def test_mail_that_nobody_takes_holds_a_restart_up_for_minutes_at_most(
    there: World, deadline: str, lasts: float
) -> None:
    it = Rig(there, drain={"deadline": deadline})
    it.spec |= ANOTHER
    it.passes()
    it.closes("otp-0", queued=100_000)
    assert it.passes(lasts - 1) == []
    assert it.passes(1) == ["otp-0"]


ALONE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Wait", {"drain": {"policy": "Wait"}}),
    ("Hold", {"drain": {"policy": "Hold"}}),
    ("suspended", {"suspend": True}),
    ("one slot", {"replicas": 1}),
)


@pytest.mark.parametrize(("why", "spec"), ALONE, ids=[why for why, _ in ALONE])
def test_where_nobody_would_deliver_its_mail_a_slot_restarts_with_its_queue(
    there: World, why: str, spec: dict[str, Any]
) -> None:
    it = Rig(there, 1 if why == "one slot" else 2, **spec)
    it.spec |= ANOTHER
    assert (it.passes(), it.said) == (["otp-0"], None)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_sibling_that_cannot_send_or_leaves_its_node_takes_nothing_over(there: World, leaves: bool) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    if leaves:
        it.nodes = {"node-b": NodeFacts("192.0.2.11", unschedulable=True)}
    else:
        it.sees("otp-1", proof_state="Unproved")
    assert (it.passes(), it.said) == (["otp-0"], None)


def test_an_installation_may_have_slots_restart_with_their_queue(there: World) -> None:
    it = Rig(there)
    it.here.settings = dataclasses.replace(it.here.settings, upgrade_drain_s=0)
    it.spec |= ANOTHER
    assert (it.passes(), it.said) == (["otp-0"], None)


def whose_first_slot_has_come_back(there: World) -> Rig:
    """It is ready with its new template, and nobody has asked it yet."""
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.closes("otp-0", queued=0)
    assert it.passes(1) == ["otp-0"]
    it.sees("otp-0", pod_ready=True, ready_since=it.lane_time(), proof_state="", queued=0)
    return it


def test_a_sibling_that_has_just_come_back_is_waited_for_until_it_can_take_the_mail_over(there: World) -> None:
    """Else the second slot of a lane restarts with its queue: the first is ready seconds before it has been asked."""
    it = whose_first_slot_has_come_back(there)
    for _ in range(4):
        assert (it.passes(5), it.said) == ([], None)
    it.sees("otp-0", reachable=True, intake="Open", proof_state="Proved")
    assert (it.passes(1), it.said) == ([], RestartStatus(slot="otp-1", since=it.lane_time()))


def test_a_sibling_that_never_answers_is_waited_for_a_minute(there: World) -> None:
    it = whose_first_slot_has_come_back(there)
    assert it.passes(59) == []
    assert it.passes(1) == ["otp-1"]


def test_a_slot_opens_again_and_does_not_restart_while_another_takes_no_mail(there: World) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.closes("otp-0", queued=0)
    it.sees("otp-1", pod_ready=False)
    for _ in range(3):
        assert (it.passes(100), it.does("otp-0")) == ([], OPEN), "else nobody would take any"
        assert it.said == RestartStatus(slot="otp-0")
    it.serves("otp-0")
    it.serves("otp-1")
    assert (it.passes(1), it.does("otp-0")) == ([], CLOSED)
    assert it.said == RestartStatus(slot="otp-0", since=it.lane_time()), "its time begins anew"


def test_a_slot_that_is_not_ready_for_a_moment_does_not_restart_beside_another(there: World) -> None:
    """It has just been given much: a node that is busy is late for its probe."""
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.closes("otp-0", queued=0)
    assert it.passes(1) == ["otp-0"]
    it.sees("otp-1", pod_ready=False)
    assert it.passes(1) == []
    it.sees("otp-1", reachable=False)
    assert it.passes(1) == ["otp-1"], "it is broken, and has nothing to lose"


def test_a_slot_that_is_not_ready_and_answers_restarts_while_the_others_serve(there: World) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.sees("otp-1", pod_ready=False)
    assert (it.passes(1), it.does("otp-0")) == (["otp-1"], OPEN), "it may be waiting for just that"


def test_a_slot_that_dies_while_it_hands_over_gets_its_template_at_once(there: World) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.closes("otp-0", reachable=False)
    assert it.passes(1) == ["otp-0"]


def test_a_template_that_cannot_be_applied_closes_nobody_again(there: World) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.closes("otp-0", queued=0)
    assert it.passes(1, fails=True) == ["otp-0"]
    it.serves("otp-0")
    it.sees("otp-0", queued=40)
    for _ in range(3):
        assert (it.passes(60, fails=True), it.does("otp-0")) == (["otp-0"], OPEN)


def test_a_slot_whose_template_is_as_before_after_all_opens_again(there: World) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.closes("otp-0")
    it.passes(1)
    del it.spec["pod"]
    it.passes(1)
    assert it.said is None
    assert (it.passes(1), it.does("otp-0")) == ([], OPEN)


def test_an_operator_that_dies_when_the_template_is_applied_closes_nobody_again(there: World) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.closes("otp-0", queued=0)
    assert it.passes(1, dies=True) == ["otp-0"]
    assert (it.passes(1), it.does("otp-0"), it.said) == ([], OPEN, None)


def test_a_process_that_has_just_begun_restarts_and_opens_nobody_before_it_has_asked(there: World) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.here.observer.leave(it.lane_key)
    for name in it.slots:
        it.sees(name, reachable=False)
    assert (it.passes(1), it.said, it.does("otp-0")) == ([], None, OPEN)

    it.here.observer.aim(it.lane_key, ())
    for name in it.slots:
        it.sees(name, reachable=True)
    it.passes(1)
    it.closes("otp-0", queued=9)
    it.passes(1)
    said = it.said
    assert said is not None
    it.here.observer.leave(it.lane_key)
    for name in it.slots:
        it.sees(name, reachable=False)
    assert (it.passes(1), it.said, it.does("otp-0")) == ([], said, CLOSED)
    it.here.observer.aim(it.lane_key, ())
    it.sees("otp-1", reachable=True)
    it.closes("otp-0", queued=0, reachable=True)
    assert it.passes(1) == ["otp-0"]


def test_another_change_meanwhile_lets_nobody_in_before_the_slot_whose_turn_it_is(there: World) -> None:
    it = Rig(there, 3)
    it.said = RestartStatus(slot="otp-1", since=it.lane_time())
    it.spec |= ANOTHER
    assert (it.passes(1), it.does("otp-0"), it.does("otp-1")) == ([], OPEN, CLOSED)
    it.sees("otp-1", intake="Closed", queued=0)  # the kubelet has not looked yet: it counts as ready
    assert it.passes(1) == ["otp-1"]


def test_a_slot_that_is_scaled_away_meanwhile_hands_over_for_good(there: World) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.claims = (made.claim(0, role=SlotRole.DRAINING), made.claim(1))
    it.closes("otp-0")
    it.passes(1)
    assert (it.said is None or it.said.slot != "otp-0", it.does("otp-0")) == (True, CLOSED)


def test_a_lane_that_is_deleted_restarts_whatever_is_another(there: World) -> None:
    it = Rig(there)
    it.spec |= ANOTHER
    it.passes()
    it.deleting = "2026-11-23T08:00:00Z"
    assert (it.passes(1), it.said) == (["otp-0", "otp-1"], None)
