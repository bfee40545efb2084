"""A hand may write anything where the operator reads back what it wrote: no pass over lane or pool may fail of it."""

import base64
import copy
import dataclasses
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest

from lane_api.names import DRAIN_FINALIZER
from lane_operator.desired.heads import kept_heads
from lane_operator.desired.stamp import child
from lane_operator.errors import KubeError
from lane_operator.inputs import Handed, Key, SlotObservation
from lane_operator.kube import Kube
from lane_operator.observe import Observer
from lane_operator.reconcile import QueueKey, World, run_pass
from tests.lane_operator.made import lane, pool, seen
from tests.lane_operator.small_api import SmallApi, small_api
from tests.lane_operator.test_broken_objects import world

SPACE = "namespaces/mail"
LANES, POOLS = (f"/apis/lanewright.dev/v1alpha1/{SPACE}/{name}" for name in ("sendinglanes/otp", "ippools/shared"))
PASSES = (QueueKey("IPPool", "mail", "shared"), QueueKey("SendingLane", "mail", "otp"))
KINDS = {
    "sendinglanes": "SendingLane",
    "ippools": "IPPool",
    "services": "Service",
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "statefulsets": "StatefulSet",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "networkpolicies": "NetworkPolicy",
    "serviceaccounts": "ServiceAccount",
}
TEXTS = [
    "",
    "x" * 5000,
    "²",
    "9" * 5000,
    "-1",
    "null",
    "[]",
    "[" * 100_000,
    '{"head":{"journal":"J1","number":1e999}}',
    "2026-11-23T08:00:00",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    "a/b/c",
    "a:" + "9" * 5000,
    '{"live":null,"spool_id":"","volume_uid":"","generation":1}',
    '{"signs":2,"since":"9999-12-31T00:00:00Z","other":"Next"}',
    '{"phase":"Rolling","since":"9999-12-31T23:59:59Z","slot":"otp-0"}',
]
BYTES = [b"\xff\xfe", b"\x00", *(text.encode() for text in TEXTS)]
HEAD = '{"head":{"journal":"J1","number":3}}'
SINCE = "2026-11-23T07:00:00Z"


class Heard(Observer):
    """Every slot serves, and says so."""

    def seen(self, lane: Key, slot: str) -> SlotObservation | None:
        return dataclasses.replace(seen(0), name=slot, head=HEAD, spool_id="0" * 32, spool_mark=5)

    def handed(self, lane: Key, slot: str) -> Handed:
        return Handed(spool_id="0" * 32, spool_mark=5, head=HEAD)


def holding(api: SmallApi, kube: Kube, objects: dict[str, Any]) -> World:
    """A process that has just begun, with these objects."""
    here = dataclasses.replace(world(kube), observer=Heard(lambda _: None), served=frozenset({"mail"}))
    api.objects.clear()
    for path, body in objects.items():
        api.put(path, body)
        if kind := KINDS.get(path.split("/")[-2]):
            here.cache.put(kind, copy.deepcopy({"kind": kind, **api.objects[path]}))
    return here


async def passed(here: World) -> None:
    for key in PASSES:
        try:
            await run_pass(here, key)
        except KubeError:  # which the back-off heals
            continue


async def settled(api: SmallApi, kube: Kube) -> dict[str, Any]:
    """A lane with two slots on a pool of its own addresses, in the midst of everything that status tells."""
    turning = [{"name": "notify.example.com", "dkim": {"rotateEvery": "2160h", "ed25519": True}}]
    of_lane = lane(poolRef={"name": "shared"}, domains=turning)
    addresses = [{"ip": f"203.0.113.{last}", "hostname": f"o{last}.example.com"} for last in range(10, 14)]
    of_pool = pool("External", addresses=addresses)
    reflector = {"kind": "Secret", "metadata": {"namespace": "mail", "name": "reflector"}, "data": {"key": "a2V5"}}
    objects: dict[str, Any] = {f"/api/v1/{SPACE}/secrets/reflector": reflector}
    for path, kind, given in ((LANES, "SendingLane", of_lane), (POOLS, "IPPool", of_pool)):
        metadata: dict[str, Any] = {"namespace": "mail", "name": path.rpartition("/")[2], "generation": 3}
        metadata |= {"uid": kind, "finalizers": [DRAIN_FINALIZER]}
        spec = given.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        api_version = "lanewright.dev/v1alpha1"
        objects[path] = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
    heads = kept_heads("otp-0", None, HEAD.replace("3", "2"), 1_763_800_000)
    assert heads is not None
    objects[f"/api/v1/{SPACE}/configmaps/otp-0-heads"] = child(of_lane, heads, slot="otp-0", owned=False)
    here = holding(api, kube, objects)
    for _ in range(3):
        await passed(here)
    records, status = api.objects[POOLS]["status"]["addresses"], api.objects[LANES]["status"]
    records[0]["quarantine"] = {"by": "gmail/listed", "since": SINCE, "until": "2026-11-24T00:00:00Z"}
    records[3] |= {"lane": "mail/gone", "laneClass": "Bulk", "slot": "gone-0", "releasedAt": SINCE}
    images = {"relay": "lanewright/relay:1", "resolver": "lanewright/unbound:1"}
    status["upgrade"] = {"phase": "Rolling", "images": images, "slot": "otp-0", "since": SINCE}
    status["restart"] = {"slot": "otp-1", "since": SINCE}
    for slot in status["slots"]:
        slot |= {"waitingSince": SINCE, "leavingSince": SINCE}
    return {path: body for path, body in copy.deepcopy(api.objects).items() if "/events/" not in path}


def places(body: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The way to each text that we, or slots, have put there."""
    for part in ("annotations", "labels"):
        yield from (("metadata", part, name) for name in body["metadata"].get(part) or ())
    yield from (("data", name) for name in body.get("data") or ())
    yield from texts(body.get("status"), "status")


def texts(part: Any, *before: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(part, str):
        yield before
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        yield from texts(value, *before, name)


def put(body: dict[str, Any], place: tuple[Any, ...], text: str | bytes) -> None:
    for name in place[:-1]:
        body = body[name]
    body[place[-1]] = text if isinstance(text, str) else base64.b64encode(text).decode()


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_no_pass_fails_of_what_stands_everywhere_in_objects_of_a_kind(kind: str) -> None:
    """Annotations, labels, content and status, each with every text."""
    failed = list[str]()
    async with small_api() as (api, kube):
        objects = await settled(api, kube)
        of_kind = [path for path in objects if path.split("/")[-2] == kind]
        assert of_kind
        parts = sorted(
            {place[:2] if place[0] == "metadata" else place[:1] for one in of_kind for place in places(objects[one])}
        )
        for part in parts:
            for text in BYTES if (kind, part) == ("secrets", ("data",)) else TEXTS:
                changed = copy.deepcopy(objects)
                for path in of_kind:
                    for place in places(objects[path]):
                        if place[: len(part)] == part:
                            put(changed[path], place, text)
                failed += await failures(api, kube, changed, f"{kind} {part} {text[:40]!r}")

    assert failed == []


async def test_no_pass_fails_of_what_stands_in_one_place() -> None:
    """Each place with a text of its own."""
    failed, readings, secrets = list[str](), cycle(TEXTS), cycle(BYTES)
    async with small_api() as (api, kube):
        objects = await settled(api, kube)
        for path, body in objects.items():
            for place in places(body) if path.split("/")[-2] in KINDS else ():
                is_secret = place[0] == "data" and "/secrets/" in path
                text: str | bytes = next(secrets) if is_secret else next(readings)
                changed = copy.deepcopy(objects)
                put(changed[path], place, text)
                failed += await failures(api, kube, changed, f"{path.split('/')[-1]} {place} {text[:40]!r}")

    assert failed == []


async def failures(api: SmallApi, kube: Kube, objects: dict[str, Any], what: str) -> list[str]:
    """What came of passes over these objects that nobody foresaw."""
    try:
        await passed(holding(api, kube, objects))
    except Exception as error:  # noqa: BLE001  # each is told, with where it came from
        return [f"{what}: {error!r}"]
    return []
