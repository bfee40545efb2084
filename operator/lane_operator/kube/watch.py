"""List and watch of one kind in one namespace, with the reconnects, as a stream of cache changes.

For Secrets only: kopf would watch them in the whole cluster, and we hold rights to them by namespace. Everything else
comes through kopf (`handlers.py`).
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from lane_operator.errors import ConflictError, KubeError
from lane_operator.kube.client import Kube
from lane_operator.kube.kinds import Kind

__all__ = ["watch_kind"]

RECONNECT_S = 1.0
RECONNECT_MAX_S = 60.0
log = structlog.get_logger(__name__)


async def watch_kind(
    kube: Kube,
    kind: Kind,
    namespace: str,
    selector: str,
    listed: Callable[[Kind, str, tuple[dict[str, Any], ...], str], None],
    changed: Callable[[Kind, str, dict[str, Any]], None],
) -> None:
    """Runs until cancelled.

    `listed` gets the whole collection and its resourceVersion, `changed` each (type, object) after it.
    """
    pause = RECONNECT_S
    while True:
        try:
            start = await kube.list(kind, namespace, selector)
            listed(kind, namespace, start.items, start.resource_version)
            await _follow(kube, kind, namespace, selector, start.resource_version, changed)
            pause = RECONNECT_S
        except KubeError as error:
            log.warning("watch interrupted", kind=kind.kind, namespace=namespace, error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, RECONNECT_MAX_S)


async def _follow(
    kube: Kube,
    kind: Kind,
    namespace: str,
    selector: str,
    version: str,
    changed: Callable[[Kind, str, dict[str, Any]], None],
) -> None:
    """Follows the stream over its regular ends; returns when the history is gone and a new list is needed."""
    while True:
        try:
            async for change, body in kube.watch(kind, namespace, selector, version):
                version = body["metadata"]["resourceVersion"]
                if change != "BOOKMARK":
                    changed(kind, change, body)
        except ConflictError:
            return
