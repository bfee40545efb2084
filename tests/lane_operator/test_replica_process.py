"""The operator's process and its Lease: it leads, and is gone as soon as another one does."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.lane_operator.small_api import SmallApi
from tests.ports import free_port

LEASE = "/apis/coordination.k8s.io/v1/namespaces/lw/leases/lanewright"
WITHIN_S = 120.0
"""A new interpreter imports all of the operator: seconds of CPU, of which a busy machine gives it few."""

pytestmark = pytest.mark.timeout(300)


async def _discovery(request: web.Request) -> web.Response:
    """A cluster without a kind of ours; whoever lists finds that out."""
    core = {"kind": "APIVersions", "versions": []}
    return web.json_response(core if request.path == "/api" else {"kind": "APIGroupList", "groups": []})


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[SmallApi, dict[str, str]]]:
    """A small API server, and the environment of an operator that is to use it."""
    api, application = SmallApi(), web.Application()
    for path in ("/api", "/apis"):
        application.router.add_get(path, _discovery)
    application.router.add_route("*", "/{path:.*}", api.serve)
    async with TestServer(application) as server:
        where = {"server": str(server.make_url("")).rstrip("/")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "small", "cluster": where}],
            "users": [{"name": "small", "user": {"token": "t"}}],
            "contexts": [{"name": "small", "context": {"cluster": "small", "user": "small"}}],
            "current-context": "small",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        given = {"RELAY_IMAGE": "r", "RESOLVER_IMAGE": "u", "OPERATOR_NAMESPACE": "lw", "LEASE": "lanewright"}
        given |= {"IDENTITY": "a", "WATCH_NAMESPACES": "mail", "HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(free_port())}
        environment = {f"LANEWRIGHT_{name}": value for name, value in given.items()}
        yield api, {**os.environ, **environment, "KUBECONFIG": str(tmp_path / "kubeconfig")}


async def _holder(api: SmallApi) -> str:
    """Who holds the Lease, as soon as there is one."""
    while LEASE not in api.objects:  # noqa: ASYNC110  # another process writes it
        await asyncio.sleep(0.02)
    return str(api.objects[LEASE]["spec"]["holderIdentity"])


async def _ready(environment: dict[str, str]) -> None:
    """Returns once the process says so: by then it knows the signal."""
    url = f"http://127.0.0.1:{environment['LANEWRIGHT_HTTP_PORT']}/readyz"
    async with aiohttp.ClientSession() as client:
        while True:
            with suppress(aiohttp.ClientError):
                async with client.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.02)


async def _started(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lane_operator",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def _another_holds(api: SmallApi) -> None:
    lease: dict[str, Any] = api.objects[LEASE]
    api.put(LEASE, lease | {"spec": lease["spec"] | {"holderIdentity": "b"}})


async def test_a_replica_that_slept_while_another_took_its_lease_is_gone_when_it_wakes(
    cluster: tuple[SmallApi, dict[str, str]],
) -> None:
    api, environment = cluster
    process = await _started(environment)
    assert await asyncio.wait_for(_holder(api), WITHIN_S) == "a"
    process.send_signal(signal.SIGSTOP)
    _another_holds(api)
    process.send_signal(signal.SIGCONT)

    said, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)

    assert process.returncode == 1
    assert b"lease lost" in said
    assert api.objects[LEASE]["spec"]["holderIdentity"] == "b"


async def test_a_replica_that_is_told_to_end_hands_its_lease_on(cluster: tuple[SmallApi, dict[str, str]]) -> None:
    api, environment = cluster
    process = await _started(environment)
    assert await asyncio.wait_for(_holder(api), WITHIN_S) == "a"
    await asyncio.wait_for(_ready(environment), WITHIN_S)
    process.send_signal(signal.SIGTERM)

    said, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)

    assert api.objects[LEASE]["spec"]["holderIdentity"] == "", said.decode()


async def test_a_replica_that_waited_lists_pools_anew_before_it_works(cluster: tuple[SmallApi, dict[str, str]]) -> None:
    api, environment = cluster
    pools = "/apis/lanewright.dev/v1alpha1/namespaces/mail/ippools"
    spec = {"holderIdentity": "b", "leaseDurationSeconds": 3600, "renewTime": "2026-11-23T08:00:00.000000Z"}
    metadata = {"namespace": "lw", "name": "lanewright"}
    api.put(LEASE, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
    process = await _started(environment)
    await asyncio.wait_for(_ready(environment), WITHIN_S)
    assert api.reads.count(pools) == 1

    api.put(LEASE, api.objects[LEASE] | {"spec": spec | {"holderIdentity": ""}})
    async with asyncio.timeout(WITHIN_S):
        while api.reads.count(pools) == 1:  # noqa: ASYNC110  # another process asks
            await asyncio.sleep(0.02)
    assert await _holder(api) == "a"
    process.send_signal(signal.SIGTERM)
    said, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == 0, said.decode()
