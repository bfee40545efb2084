"""The client: each refusal of the API server becomes one of our errors, once."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.config import kube_config

from lane_operator import errors
from lane_operator.kube import SECRET, SERVICE, Kube, configuration
from tests.lane_operator.small_api import kube_of, small_api

PATH = "/api/v1/namespaces/mail/services/a"
TERMINATING = {"details": {"causes": [{"reason": "NamespaceTerminating"}]}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (403, {}, errors.ForbiddenError),
        (403, TERMINATING, errors.NamespaceTerminatingError),
        (409, {}, errors.ConflictError),
        (410, {}, errors.ConflictError),
        (422, {}, errors.InvalidError),
        (500, {"message": "failed to create typed patch object: field not declared"}, errors.InvalidError),
        (401, {}, errors.UnavailableError),
        (429, {}, errors.UnavailableError),
        (503, {}, errors.UnavailableError),
    ],
)
async def test_a_refusal_is_told_by_its_kind(status: int, body: dict[str, Any], expected: type[Exception]) -> None:
    async with small_api() as (api, kube):
        api.fails["GET", PATH] = (status, body)

        with pytest.raises(expected) as refused:
            await kube.get(SERVICE, "mail", "a")

        assert type(refused.value) is expected


async def test_retry_after_is_handed_on() -> None:
    async with small_api() as (api, kube):
        api.fails["GET", PATH] = (429, {"headers": {"Retry-After": "7"}})

        with pytest.raises(errors.UnavailableError) as refused:
            await kube.get(SERVICE, "mail", "a")

        assert refused.value.retry_after_s == 7


async def test_nothing_there_is_none() -> None:
    async with small_api() as (_, kube):
        assert await kube.get(SECRET, "mail", "absent") is None


async def test_what_is_found_by_a_list_is_as_it_is_got() -> None:
    async with small_api() as (api, kube):
        api.put(PATH, {"metadata": {"name": "a", "namespace": "mail"}})

        found = await kube.find(SERVICE, "mail", "a")

        assert found == {"apiVersion": "v1", "kind": "Service", **(await kube.get(SERVICE, "mail", "a") or {})}
        assert await kube.find(SERVICE, "mail", "b") is None


async def test_a_deletion_of_what_is_gone_is_done() -> None:
    async with small_api() as (api, kube):
        api.fails["DELETE", PATH] = (404, {})

        await kube.delete(SERVICE, "mail", "a", uid="u1")


async def test_each_request_carries_the_credentials_of_that_moment() -> None:
    seen = []

    async def serve(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        if "watch" in request.query:
            return web.Response()
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", serve)
    tokens = {"BearerToken": "bearer first"}
    async with TestServer(application) as server, kube_of(server, api_key=tokens) as kube:
        await kube.get(SECRET, "mail", "a")
        tokens["BearerToken"] = "bearer second"
        assert [page.items async for page in kube.pages(SECRET, "mail")] == [()]
        assert [event async for event in kube.watch(SECRET, "mail", "", "1") if event] == []

    assert seen == ["bearer first", "bearer second", "bearer second"]


async def test_without_any_configuration_it_is_said_where_one_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))

    with pytest.raises(errors.UnavailableError, match=r"no service account .* and no kubeconfig"):
        await configuration()


async def test_an_apply_of_what_is_new_meets_nothing_or_is_refused() -> None:
    wanted = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "mail"}}
    async with small_api() as (api, kube):
        await kube.apply_new(wanted)
        before = dict(api.objects)

        with pytest.raises(errors.ConflictError):
            await kube.apply_new(wanted)

        assert api.objects == before
        assert "resourceVersion" not in wanted["metadata"]


async def test_watches_of_however_many_namespaces_keep_no_request_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    watched, enough, over, many = 0, asyncio.Event(), asyncio.Event(), 150

    async def serve(request: web.Request) -> web.Response:
        nonlocal watched
        if "watch" in request.query:
            watched += 1
            if watched == many:
                enough.set()
            await over.wait()
            return web.Response()
        return web.json_response({"metadata": {"name": "a"}})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", serve)
    async with TestServer(application) as server:
        cluster = {"name": "c", "cluster": {"server": str(server.make_url(""))}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": {"token": "t"}}]
        text = {"clusters": [cluster], "contexts": [context], "users": users, "current-context": "c"}
        (tmp_path / "config").write_text(json.dumps(text))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
        async with Kube(await configuration()) as kube, asyncio.timeout(60), asyncio.TaskGroup() as tasks:

            async def watch(namespace: str) -> None:
                assert [event async for event in kube.watch(SECRET, namespace, "", "1")] == []

            for number in range(many):
                tasks.create_task(watch(f"shop-{number}"))
            await enough.wait()
            assert await kube.get(SECRET, "mail", "a") is not None
            over.set()


async def test_a_write_that_takes_more_than_it_may_is_given_up_and_a_read_is_not() -> None:
    answers = asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        if request.method != "GET":
            await answers.wait()
        return web.json_response({"metadata": {}})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", late)
    async with TestServer(application, shutdown_timeout=0) as server, kube_of(server) as kube:
        fenced = kube.fenced(lambda: 0.05)
        with pytest.raises(errors.UnavailableError):
            await fenced.delete(SERVICE, "mail", "a", uid="u")
        assert await fenced.get(SERVICE, "mail", "a") == {"metadata": {}}
        answers.set()
        await fenced.fenced(lambda: 60.0).delete(SERVICE, "mail", "a", uid="u")


async def test_an_object_that_has_changed_is_not_deleted_by_who_looked_before() -> None:
    async with small_api() as (api, kube):
        body = api.put(PATH, {"metadata": {"name": "a", "uid": "u1"}})
        version = body["metadata"]["resourceVersion"]
        api.put(PATH, body)
        with pytest.raises(errors.ConflictError):
            await kube.delete(SERVICE, "mail", "a", uid="u1", resource_version=version)
        await kube.delete(SERVICE, "mail", "a", uid="u1")
        assert PATH not in api.objects
        await kube.delete(SERVICE, "mail", "a", uid="u1")
