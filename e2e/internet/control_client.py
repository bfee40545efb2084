"""Asks and steers the scripted ISPs from anywhere on the machine, over the control port's Unix socket.

Invariant: an answer that is no success is an exception with the server's words; a Unix socket is reached from every
network namespace. Before: tests, demo, `internet`. After: `control`.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from e2e.internet import records
from e2e.internet.policy import Policy

TIMEOUT = aiohttp.ClientTimeout(total=120)  # seconds; dumping 100,000 records takes two where nothing else runs


class ControlError(RuntimeError):
    """The control port refused a request."""


class IspControl:
    """A connection to the control port; use as `async with`."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(str(self._socket))
        self._http = aiohttp.ClientSession("http://isps", connector=connector, timeout=TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def _ask(self, method: str, path: str, data: str | None = None) -> bytes:
        async with self._http.request(method, path, data=data) as response:
            body = await response.read()
            if response.status != 200:
                raise ControlError(f"{method} {path}: {response.status} {body.decode()}")
            return body

    async def counters(self, isp: str, window_s: float | None = None) -> dict[str, Any]:
        """Counters of one ISP: {name, messages, source_ips: {ip: {connections, wire_connections_most, ...}}}."""
        query = f"?window={window_s}" if window_s else ""
        return _object(await self._ask("GET", f"/isps/{isp}{query}"))

    async def all_counters(self) -> dict[str, Any]:
        """Counters of every ISP by name."""
        return _object(await self._ask("GET", "/isps"))

    async def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """{isp: {source IP: {messages, connections_now}}}; costs the ISPs next to nothing."""
        return msgspec.json.decode(await self._ask("GET", "/counts"), type=dict[str, dict[str, dict[str, int]]])

    async def senders(self) -> dict[str, int]:
        """{envelope sender: messages taken by all ISPs}; as cheap as `counts`."""
        return msgspec.json.decode(await self._ask("GET", "/senders"), type=dict[str, int])

    async def policy(self, isp: str) -> Policy:
        """The policy in force."""
        return Policy.model_validate_json(await self._ask("GET", f"/isps/{isp}/policy"))

    async def set_policy(self, isp: str, policy: Policy) -> None:
        """Puts another policy in force at once."""
        await self._ask("PUT", f"/isps/{isp}/policy", policy.model_dump_json())

    async def change_policy(self, isp: str, **changes: Any) -> Policy:
        """Changes some fields of the policy; returns the one that was in force before."""
        before = await self.policy(isp)
        await self.set_policy(isp, Policy.model_validate(before.model_dump() | changes))
        return before

    async def dump(self, isp: str) -> list[records.Record]:
        """All records of one ISP."""
        return records.parse(await self._ask("GET", f"/isps/{isp}/records"))

    async def messages(self, isp: str) -> list[records.Message]:
        """The messages that one ISP took."""
        return records.messages(await self.dump(isp))

    async def disconnect(self, isp: str) -> int:
        """Ends every open connection without a word; how many there were."""
        return int(_object(await self._ask("POST", f"/isps/{isp}/disconnect"))["ended"])

    async def release(self, isp: str) -> int:
        """Answers, by the policy now in force, every connection that stalls behind the greeting; how many."""
        return int(_object(await self._ask("POST", f"/isps/{isp}/release"))["released"])

    async def reset(self, isp: str) -> None:
        """Begins a new recording."""
        await self._ask("POST", f"/isps/{isp}/reset")

    async def wire(self) -> dict[str, Any]:
        """Connection attempts seen in packets: {packets_lost, connections: [{isp, source_ip, opened, closed}]}."""
        return _object(await self._ask("GET", "/wire"))

    async def reset_wire(self) -> None:
        """Forgets every connection attempt that has ended, also those to addresses of no scripted ISP."""
        await self._ask("POST", "/wire/reset")


def _object(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any])
