"""A small port on kubernetes.aio: plain dicts in and out over one pooled HTTPS session.

Configuration, TLS, credentials and their renewal, connections and encoding are the library's (`ApiClient` and the REST
layer under it). Its generated models stay unused: objects pass through as they are, so that no field is lost that a
newer API server has. Invariant: every write says who we are (field manager), is validated strictly, and every delete
names the uid it means.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException

from lane_api.names import FIELD_MANAGER
from lane_operator import metrics
from lane_operator.errors import (
    KubeError,
    NotFoundError,
    NotLeadingError,
    StreamBrokenError,
    UnavailableError,
)
from lane_operator.kube.answers import NoAnswerError, answered, event_of, names_of, page_of, refusal, retry_after
from lane_operator.kube.kinds import OPTIONAL_KINDS, Kind, kind_of

__all__ = ["Kube", "ObjectList"]

PAGE = 100
SECRETS_PAGE = 50
"""Objects in one answer to a list: the loop stands still while it is read, and as Python's objects it takes ten times
its size. A slot's configuration is 100 KB."""
REQUEST_S = 30.0
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=REQUEST_S)
ASK_S = 2.0
"""Between two questions to an API server that does not answer, as with the Lease."""
WATCH_SECONDS = 290  # below the 5-10 minutes after which API servers end a watch themselves
WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=75)
"""Bookmarks come every minute: a stream that is silent for longer is dead."""
CREDENTIALS = ["BearerToken"]
"""The library's name for whatever the configuration proves itself with in a header."""
NO_VERSION = "1"
"""A resourceVersion that no object ever has: etcd begins with it, and the first write is the second revision."""
_BROKEN = (aiohttp.ClientError, TimeoutError, ConfigException, NoAnswerError)
"""The connection, a token file that cannot be read at this moment, or what somebody on the way has answered."""

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A collection or a part of it, as of one resourceVersion."""

    items: tuple[Manifest, ...]
    resource_version: str


class Kube:
    """The Kubernetes API as the operator uses it."""

    def __init__(self, configuration: Configuration, may_write_for: Callable[[], float] = lambda: math.inf) -> None:
        """`configuration` as kubernetes.aio loads it (`kube.access`); `may_write_for` says how many seconds a write
        that goes out now may take, 0 or less: none goes out."""
        self._configuration = configuration
        self._may_write_for = may_write_for
        self._client: ApiClient | None = None
        self._question = asyncio.Lock()
        self._answered_at = -math.inf

    async def __aenter__(self) -> Self:
        self._client = ApiClient(self._configuration)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    def fenced(self, may_write_for: Callable[[], float]) -> "Kube":
        """The same API over the same session, whose writes raise NotLeadingError where they may take no time, and
        UnavailableError where they take more than they may."""
        other = Kube(self._configuration, may_write_for)
        other._client = self._client
        return other

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None where there is none; raises KubeError."""
        try:
            return await self._request("get", kind, "GET", kind.path(namespace, name))
        except NotFoundError:
            return None

    async def find(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        """As `get`, by a list of one, for which the right to list is enough."""
        query = {"fieldSelector": f"metadata.name={name}"}
        page = await self._request("list", kind, "GET", kind.path(namespace), query)
        found = next(iter(page.get("items") or ()), None)
        return None if found is None else {"apiVersion": kind.api_version, "kind": kind.kind, **found}

    async def pages(self, kind: Kind, namespace: str | None = None, selector: str = "") -> AsyncIterator[ObjectList]:
        """The collection of one namespace or of all, part by part, each as of the same resourceVersion.

        Raises KubeError (NotFoundError: no such kind; ConflictError: the pages took longer than history is kept).
        """
        query = {"limit": str(SECRETS_PAGE if kind.kind == "Secret" else PAGE)} | (
            {"labelSelector": selector} if selector else {}
        )
        while True:
            page = await self._request("list", kind, "GET", kind.path(namespace), query=query)
            try:
                items, version, proceed = page_of(page)
            except NoAnswerError as error:
                raise UnavailableError(f"list of {kind.plural}: {error}") from error
            for item in items:
                item.setdefault("apiVersion", kind.api_version)  # items of a list do not repeat their kind
                item.setdefault("kind", kind.kind)
            yield ObjectList(items, version)
            if not proceed:
                return
            query["continue"] = proceed

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> ObjectList:
        """The whole collection at once; raises KubeError as `pages`."""
        pages = [page async for page in self.pages(kind, namespace, selector)]
        return ObjectList(tuple(item for page in pages for item in page.items), pages[-1].resource_version)

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        """Server-side apply of what we want of one object; with `force`, fields that others set become ours.

        Raises KubeError (ConflictError: somebody else owns one of the fields).
        """
        metadata = manifest["metadata"]
        kind = kind_of(manifest)
        path = kind.path(metadata.get("namespace"), metadata["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        answer = await self._request("apply", kind, "PATCH", path, query, manifest, "application/apply-patch+yaml")
        metrics.applies.labels(kind=manifest["kind"]).inc()
        return answer

    async def apply_new(self, manifest: Manifest) -> Manifest:
        """Server-side apply of an object that must not exist yet; raises ConflictError where it does, else KubeError.

        Unlike `create`, it leaves the fields to the manager of later applies.
        """
        metadata = {**manifest["metadata"], "resourceVersion": NO_VERSION}
        return await self.apply({**manifest, "metadata": metadata}, force=False)

    async def create(self, manifest: Manifest) -> Manifest:
        """Makes an object that must not exist yet; raises ConflictError where it does, else KubeError."""
        kind = kind_of(manifest)
        path = kind.path(manifest["metadata"].get("namespace"))
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return await self._request("create", kind, "POST", path, query, manifest)

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str,
        resource_version: str | None = None,
        propagation: str = "Background",
    ) -> None:
        """Deletes the object of that uid, and with a resourceVersion only if it is still that one.

        Gone already is fine; another object of the name, or another state of it, is a ConflictError.
        """
        version = {"resourceVersion": resource_version} if resource_version is not None else {}
        body = {"preconditions": {"uid": uid, **version}, "propagationPolicy": propagation}
        try:
            await self._request("delete", kind, "DELETE", kind.path(namespace, name), body=body)
        except NotFoundError:
            return

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Manifest, resource_version: str | None = None
    ) -> Manifest:
        """Replaces the whole status; with a resourceVersion only if it is still that one (else ConflictError)."""
        operations = [{"op": "add", "path": "/status", "value": status}]
        return await self.patch_json(kind, namespace, name, operations, resource_version, subresource="status")

    async def patch_json(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        operations: Iterable[Mapping[str, Any]],
        resource_version: str | None = None,
        subresource: str = "",
    ) -> Manifest:
        """A JSON patch (RFC 6902); with a resourceVersion only if the object is still that one (else ConflictError)."""
        body = list(operations)
        if resource_version is not None:  # the API server's optimistic lock; a `test` would be a 422, told from no typo
            body.insert(0, {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version})
        query = {"fieldManager": FIELD_MANAGER}
        path = kind.path(namespace, name, subresource)
        return await self._request("patch", kind, "PATCH", path, query, body, "application/json-patch+json")

    async def present(self, kinds: Iterable[Kind] = OPTIONAL_KINDS) -> frozenset[Kind]:
        """Those of the kinds that this API server has at present; raises KubeError when it does not answer."""
        served: dict[str, frozenset[str]] = {}
        for kind in kinds:
            if kind.root not in served:
                try:
                    served[kind.root] = names_of(await self._request("discover", None, "GET", kind.root))
                except NotFoundError:
                    served[kind.root] = frozenset()
                except NoAnswerError as error:
                    raise UnavailableError(f"discovery of {kind.root}: {error}") from error
        return frozenset(kind for kind in kinds if kind.plural in served[kind.root])

    async def watch(
        self, kind: Kind, namespace: str | None, selector: str, resource_version: str
    ) -> AsyncIterator[tuple[str, Manifest]]:
        """Changes since a resourceVersion as (type, object), until the server ends the stream.

        Raises KubeError where it cannot be opened or the server ends it with one, StreamBrokenError if it breaks off.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
            "resourceVersion": resource_version,
            "labelSelector": selector,
        }
        path, opened = kind.path(namespace), False
        try:
            response = await self._call("GET", path, query, timeout=WATCH_TIMEOUT)
            async with response:  # closed with the stream, however that ends
                if response.status >= 400:
                    raise refusal(response.status, await response.read(), 0.0)
                opened = True
                async for line in _lines(response.content):
                    yield event_of(line)
        except _BROKEN as error:
            broken = StreamBrokenError if opened else UnavailableError
            raise broken(f"watch of {kind.plural}: {error or type(error).__name__}") from error

    async def until_it_answers(self, every_s: float = ASK_S) -> None:
        """Returns once the API server answers, with whatever; of all who wait for that one asks, again and again."""
        began = time.monotonic()
        async with self._question:
            while self._answered_at < began:
                try:
                    await self._request("discover", None, "GET", "/version")
                except KubeError as error:
                    if not error.status:
                        await asyncio.sleep(every_s)
                        continue
                self._answered_at = time.monotonic()

    async def _request(
        self,
        verb: str,
        kind: Kind | None,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Manifest:
        timeout, left = REQUEST_TIMEOUT, math.inf if method == "GET" else self._may_write_for()
        if left <= 0:
            raise NotLeadingError(f"{method} {path}: another replica may hold the Lease")
        if left < REQUEST_S:
            timeout = aiohttp.ClientTimeout(total=left)
        code, began = 0, time.monotonic()
        try:
            response = await self._call(method, path, query, body, content_type, timeout)
            code = response.status
            async with response:
                text = await response.read()
            if response.status >= 400:
                raise refusal(response.status, text, retry_after(response.headers.get("Retry-After")))
            return answered(text)
        except _BROKEN as error:
            raise UnavailableError(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            metrics.api_requests.labels(verb, "" if kind is None else kind.kind, str(code)).inc()
            metrics.api_seconds.labels(verb).observe(time.monotonic() - began)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout = REQUEST_TIMEOUT,  # noqa: ASYNC109  # handed on to the library, which waits
    ) -> aiohttp.ClientResponse:
        """One request by the library, without its walk over the body in search of models (`param_serialize`)."""
        client = self._client
        if client is None:
            raise RuntimeError("used outside of its context")
        headers = {"User-Agent": "lanewright", "Accept": "application/json", "Content-Type": content_type}
        await client.update_params_for_auth(headers, [], CREDENTIALS, path, method, body)
        url = f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = await client.call_api(method, url, headers, body, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream, however long (readline has a limit that a large object passes)."""
    pending = b""
    async for chunk in stream.iter_any():
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
