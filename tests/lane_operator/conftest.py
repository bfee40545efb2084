"""What passes over one object are tried on."""

from collections.abc import AsyncIterator

import pytest

from lane_operator.reconcile import World
from tests.lane_operator.small_api import SmallApi, small_api
from tests.lane_operator.test_broken_objects import world


@pytest.fixture
async def rig() -> AsyncIterator[tuple[SmallApi, World]]:
    """A small API server, and an operator's world on it."""
    async with small_api() as (api, kube):
        here = world(kube)
        yield api, here
        await here.observer.close()
