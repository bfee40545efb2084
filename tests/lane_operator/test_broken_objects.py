"""Objects that our models do not accept, and kinds that went: said once, never written again while nothing changes."""

import dataclasses
import datetime as dt
from typing import Any

from lane_operator.cache import Cache
from lane_operator.handlers import Intake
from lane_operator.inputs import Key
from lane_operator.kube import Kube
from lane_operator.observe import Observer
from lane_operator.reconcile import QueueKey, World, reconcile_policy
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
