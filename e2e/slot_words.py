"""What the slots of a lane say of themselves at `/v1`, asked often and directly: when something is in force in each.

Invariant: never what the operator's status says; a time is when the answer that shows it had come, so it is late by at
most `LOOK_S` and never early. Before: `installation`, `outbound`. After: `in_force`.
"""

import asyncio
import base64
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
import kubernetes

from e2e.installation import Installation
from lane_api.names import LANE_LABEL, SLOT_LABEL

LOOK_S = 0.1
_PATIENCE = aiohttp.ClientTimeout(total=5)
_GROUP, _VERSION = "lanewright.dev", "v1alpha1"
_FORESEEN = (aiohttp.ClientError, TimeoutError)
Answer = dict[str, Any]
IsSo = Callable[[Answer], bool]


@dataclass(frozen=True)
class Door:
    """The admin API of one slot."""

    slot: str
    url: str
    name: str
    """In its certificate."""
    context: ssl.SSLContext = field(repr=False)
    token: str = field(repr=False)


class SlotWords:
    """Asks the slots of one lane, over a kept connection each; use as `async with`."""

    def __init__(self, here: Installation, lane_name: str) -> None:
        self._here = here
        self._doors = {door.slot: door for door in _doors(here, lane_name)}
        self.slots = tuple(sorted(self._doors))

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(socket_factory=self._here.cluster.place("ctl").socket_factory)
        self._http = aiohttp.ClientSession(connector=connector, timeout=_PATIENCE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def ask(self, slot: str, resource: str = "slot") -> Answer:
        """The answer to `GET /v1/RESOURCE`; raises aiohttp.ClientError, TimeoutError."""
        return await self._request(slot, "GET", resource)

    async def order(self, **order: Any) -> None:
        """Gives an order to each slot, as a person would; raises as `ask`."""
        body = {"owner": "test", "reason": "a test", **order}
        await asyncio.gather(*[self._request(slot, "POST", "actions", json=body) for slot in self.slots])

    async def serials(self) -> dict[str, int]:
        """Slot -> which content of its configuration it has in force."""
        said = await asyncio.gather(*[self.ask(slot) for slot in self.slots])
        return {slot: int(one["serial"]) for slot, one in zip(self.slots, said, strict=True)}

    async def when(self, is_so: IsSo | Mapping[str, IsSo], within: float, resource: str = "slot") -> dict[str, float]:
        """Slot -> when, in Unix time, it first said so; one that did not within so many seconds is left out."""
        asked = dict.fromkeys(self.slots, is_so) if callable(is_so) else is_so
        deadline = time.monotonic() + within
        times = await asyncio.gather(*[self._first(slot, one, resource, deadline) for slot, one in asked.items()])
        return {slot: at for slot, at in zip(asked, times, strict=True) if at is not None}

    async def _first(self, slot: str, is_so: IsSo, resource: str, deadline: float) -> float | None:
        while time.monotonic() < deadline:
            try:
                if is_so(await self.ask(slot, resource)):
                    return time.time()
            except _FORESEEN:  # a slot that does not answer says nothing
                pass
            await asyncio.sleep(LOOK_S)  # the pace of the looks
        return None

    async def _request(self, slot: str, method: str, resource: str, **body: Any) -> Answer:
        door = self._doors[slot]
        async with self._http.request(
            method,
            f"{door.url}/{resource}",
            ssl=door.context,
            server_hostname=door.name,
            headers={"Authorization": f"Bearer {door.token}"},
            **body,
        ) as response:
            response.raise_for_status()
            return dict(await response.json())


class Changes:
    """Changes specs as an application of the API does: without a process, so that its answer has a time."""

    def __init__(self, here: Installation) -> None:
        self._namespace = here.namespace
        api = kubernetes.config.new_client_from_config(str(here.cluster.kubeconfig))
        self._objects = kubernetes.client.CustomObjectsApi(api)

    def make(self, plural: str, name: str, spec: Answer) -> float:
        """Merges this into an object's spec; when, in Unix time, the API server had answered."""
        self._objects.patch_namespaced_custom_object(
            _GROUP,
            _VERSION,
            self._namespace,
            plural,
            name,
            {"spec": spec},
            _content_type="application/merge-patch+json",
        )
        return time.time()


def _doors(here: Installation, lane_name: str) -> list[Door]:
    pods = here.cluster.get("pods", "-n", here.namespace, "-l", f"{LANE_LABEL}={lane_name}")["items"]
    return [_door(here, lane_name, one) for one in pods if "deletionTimestamp" not in one["metadata"]]


def _door(here: Installation, lane_name: str, pod: Answer) -> Door:
    slot = pod["metadata"]["labels"][SLOT_LABEL]
    secret = {name: base64.b64decode(text) for name, text in here.get("secret", f"{slot}-admin")["data"].items()}
    ports = (port for one in pod["spec"]["containers"] for port in one.get("ports", ()))
    port = next(one["containerPort"] for one in ports if one.get("name") == "admin")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=secret["ca.crt"].decode())
    name = f"{slot}.{lane_name}-slots.{here.namespace}.svc"
    return Door(slot, f"https://{pod['status']['podIP']}:{port}/v1", name, context, secret["token"].decode().strip())
