"""A small API server for what a real one cannot be told to do: refuse at the wrong moment, answer late, forget.

It keeps objects by path, gives resourceVersions, and fails where a test says so. Everything else is tested against a
real API server (e2e).
"""

import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from kubernetes.aio.client import Configuration

from lane_operator.kube import Kube


class SmallApi:
    """Objects by path; `fails` maps (method, path) to a status."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.fails: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        self.writes: list[tuple[str, str]] = []
        self.refused: list[tuple[str, str]] = []
        """Writes that had to find nothing and found something; they are no `writes`."""
        self.reads: list[str] = []
        self.meanwhile: Callable[[], None] | None = None
        """Done once, as the next request is answered: what the world does while somebody waits."""
        self._version = 100

    async def serve(self, request: web.Request) -> web.Response:
        path, method = request.path, request.method
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        if method != "GET":
            self.writes.append((method, path))
        else:
            self.reads.append(path)
        if (method, path) in self.fails:
            status, body = self.fails[method, path]
            return web.json_response(body, status=status, headers=body.get("headers"))
        if method == "GET" and "fieldSelector" in request.query:
            one = self.objects.get(f"{path}/{request.query['fieldSelector'].removeprefix('metadata.name=')}")
            return web.json_response({"items": [] if one is None else [one]})
        if method == "GET":
            found = self.objects.get(path)
            return web.json_response(found) if found else web.json_response({"reason": "NotFound"}, status=404)
        if method == "POST":
            return self._post(path, await request.json())
        if method == "DELETE":
            wanted = (await request.json()).get("preconditions", {}) if request.can_read_body else {}
            known = self.objects.get(path, {}).get("metadata", wanted)
            if any(known.get(name) != value for name, value in wanted.items()):
                return self._refuse("Conflict", "the object has been modified")
            gone = self.objects.pop(path, None)
            return web.json_response(gone) if gone else web.json_response({"reason": "NotFound"}, status=404)
        body = await request.json()
        return self._patch(path, body) if isinstance(body, list) else self._apply(path, body)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Stores an object as of now."""
        self._version += 1
        body = copy.deepcopy(body)
        body["metadata"] |= {
            "resourceVersion": str(self._version),
            "uid": body["metadata"].get("uid", f"u{self._version}"),
        }
        self.objects[path] = body
        return body

    def _post(self, path: str, body: dict[str, Any]) -> web.Response:
        where = f"{path}/{body['metadata']['name']}"
        if where in self.objects:
            return self._refuse("AlreadyExists", "already exists")
        return web.json_response(self.put(where, body), status=201)

    def _refuse(self, reason: str, message: str) -> web.Response:
        self.refused.append(self.writes.pop())
        return web.json_response({"reason": reason, "message": message}, status=409)

    def _apply(self, path: str, manifest: dict[str, Any]) -> web.Response:
        """Server-side apply, as far as one writer sees it: what is given is merged into what is there."""
        known, version = path in self.objects, manifest["metadata"].get("resourceVersion")
        if known and version not in {None, self.objects[path]["metadata"]["resourceVersion"]}:
            return self._refuse("Conflict", "the object has been modified")
        uid = manifest["metadata"].get("uid")
        if uid and not known:
            return self._refuse(
                "Conflict", f"the provided object specified uid {uid}, and no existing object was found"
            )
        if uid and uid != self.objects[path]["metadata"]["uid"]:
            self.refused.append(self.writes.pop())
            return web.json_response({"reason": "Invalid", "message": "uid: field is immutable"}, status=422)
        return web.json_response(
            self.put(path, _merged(self.objects.get(path, {}), manifest)), status=200 if known else 201
        )

    def _patch(self, path: str, operations: list[dict[str, Any]]) -> web.Response:
        if path.removesuffix("/status") not in self.objects and path not in self.objects:
            return web.json_response({"reason": "NotFound"}, status=404)
        path = path if path in self.objects else path.removesuffix("/status")
        body = copy.deepcopy(self.objects[path])
        for operation in operations:
            *folders, last = operation["path"].removeprefix("/").split("/")
            if operation["path"] == "/metadata/resourceVersion":
                if operation["value"] != body["metadata"]["resourceVersion"]:
                    return web.json_response({"reason": "Conflict"}, status=409)
                continue
            part = body
            for folder in folders:
                if isinstance(part, list):
                    part = part[int(folder)]
                    continue
                if folder not in part:  # RFC 6902 section 4.1: `add` makes no parents
                    return web.json_response({"reason": "Invalid", "message": "no such path"}, status=422)
                part = part[folder]
            part[last.replace("~1", "/")] = operation["value"]
        if "deletionTimestamp" in body["metadata"] and not body["metadata"].get("finalizers"):
            del self.objects[path]
            return web.json_response(body)  # as the API server answers: with the version that it had
        return web.json_response(self.put(path, body))


def _merged(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return before | {
        name: _merged(before[name], value) if isinstance(value, dict) and isinstance(before.get(name), dict) else value
        for name, value in after.items()
    }


@asynccontextmanager
async def small_api() -> AsyncIterator[tuple[SmallApi, Kube]]:
    """The server, and a client of it."""
    api = SmallApi()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.serve)
    async with TestServer(application) as server, kube_of(server) as kube:
        yield api, kube


def kube_of(server: BaseTestServer, **given: Any) -> Kube:
    """A client of the server, with more of the library's configuration where a test gives it."""
    return Kube(Configuration(host=str(server.make_url("")).rstrip("/"), **given))
