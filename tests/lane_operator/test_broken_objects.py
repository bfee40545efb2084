"""Objects that our models do not accept, and kinds that went: said once, never written again while nothing changes."""

import dataclasses
import datetime as dt
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lane_operator.cache import Cache
from lane_operator.handlers import Intake
from lane_operator.inputs import Key
from lane_operator.kube import Kube
from lane_operator.observe import Observer
from lane_operator.reconcile import QueueKey, World, reconcile_policy, run_pass
from lane_operator.reconcile.passes import told
from lane_operator.settings import Settings
from tests.lane_operator.made import NOW, SETTINGS
from tests.lane_operator.small_api import small_api

POLICY: Key = ("mail", "broken")
PATH = "/apis/lanewright.dev/v1alpha1/namespaces/mail/isppolicies/broken"
STATUS = f"{PATH}/status"


def world(kube: Kube, hours: int = 0) -> World:
    return World(
        kube=kube,
        cache=Cache(),
        observer=Observer(lambda _: None),
        settings=Settings(relay_image="r", resolver_image="u"),
        lanes=SETTINGS,
        enqueue=lambda _: None,
        wall=lambda: NOW + dt.timedelta(hours=hours),
        monotonic=lambda: 0.0,
    )


async def test_a_broken_policy_is_written_once_however_often_it_is_looked_at() -> None:
    broken: dict[str, Any] = {
        "apiVersion": "lanewright.dev/v1alpha1",
        "kind": "ISPPolicy",
        "metadata": {"name": "broken", "namespace": "mail", "uid": "u", "generation": 1, "resourceVersion": "50"},
        "spec": {"match": {"domains": ["a.example"]}, "priority": "high"},
    }
    async with small_api() as (api, kube):
        api.objects[STATUS] = broken
        early = world(kube)
        early.cache.put("ISPPolicy", broken)
        await reconcile_policy(early, POLICY)
        written = [path for _, path in api.writes if path == STATUS]

        late = dataclasses.replace(world(kube, hours=1), cache=early.cache)
        await reconcile_policy(late, POLICY)

        assert written == [STATUS]
        assert [path for _, path in api.writes if path == STATUS] == written
        conditions = early.cache.get("ISPPolicy", *POLICY)["status"]["conditions"]  # type: ignore[index]  # it is there
        assert {one["type"]: one["reason"] for one in conditions}["Stalled"] == "InvalidSpec"


async def test_lanes_whose_definition_is_deleted_are_forgotten_though_no_watch_says_so() -> None:
    metadata = {"name": "ghost", "namespace": "mail", "uid": "u", "generation": 1, "resourceVersion": "50"}
    async with small_api() as (api, kube):  # it serves nothing: 404 for every kind
        here, woken = world(kube), list[QueueKey]()
        here.cache.put("SendingLane", {"kind": "SendingLane", "metadata": metadata, "spec": {}})

        await Intake(here, woken.append).resync()

        assert here.cache.get("SendingLane", "mail", "ghost") is None
        assert QueueKey("SendingLane", "mail", "ghost") in woken
        assert api.writes == []


async def test_what_nobody_foresaw_is_said_on_the_object_once_and_backed_off() -> None:
    sound: dict[str, Any] = {
        "apiVersion": "lanewright.dev/v1alpha1",
        "kind": "ISPPolicy",
        "metadata": {"name": "broken", "namespace": "mail", "uid": "u", "generation": 1, "resourceVersion": "50"},
        "spec": {"match": {"domains": ["a.example"]}},
        "status": {"kept": "as it is"},
    }
    async with small_api() as (api, kube):
        here, key = world(kube), QueueKey("ISPPolicy", *POLICY)
        here.cache.put("ISPPolicy", api.put(PATH, sound))
        here.cache.put("ISPPolicy", {"metadata": {"name": "nameless", "namespace": "mail"}, "spec": sound["spec"]})

        for _ in range(2):
            with pytest.raises(KeyError):
                await run_pass(here, key)

        status = api.objects[PATH]["status"]
        conditions = {one["type"]: one for one in status["conditions"]}
        assert conditions["Stalled"]["reason"] == conditions["Ready"]["reason"] == "InternalError"
        assert "KeyError: 'uid'" in conditions["Stalled"]["message"]
        assert status["kept"] == "as it is"
        assert [path for _, path in api.writes if path == STATUS] == [STATUS]


def test_what_a_model_refuses_is_told_without_the_value() -> None:
    class Door(BaseModel):
        code: int

    with pytest.raises(ValidationError) as caught:
        Door.model_validate({"code": "hunter2"})

    assert "ValidationError: code: Input should be" in told(caught.value)
    assert "hunter2" not in told(caught.value)
