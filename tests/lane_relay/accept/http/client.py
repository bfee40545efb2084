"""A client of a running relay's HTTP intake, as an application would write one."""

import http.client
import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from tests.lane_relay.running import PASSWORD, USER

BASIC = {"Authorization": "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


@dataclass(frozen=True)
class Answered:
    """Status, header and parsed body."""

    status: int
    headers: dict[str, str]
    body: Any


def post(
    port: int,
    body: Any,
    *,
    key: str | None = None,
    headers: dict[str, str] | None = None,
    path: str = "/v1/messages",
    method: str = "POST",
    source: str = "",
) -> Answered:
    """One request over plain HTTP to loopback, from `source`; `body` is JSON unless it is bytes. Raises OSError."""
    sent = {"Content-Type": "application/json", **BASIC} if headers is None else headers
    if key is not None:
        sent = {**sent, "Idempotency-Key": key}
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=60, source_address=(source, 0) if source else None
    )
    try:
        connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), sent)
        answer = connection.getresponse()
        content = answer.read()
        return Answered(answer.status, dict(answer.getheaders()), json.loads(content) if content else None)
    finally:
        connection.close()


def code(*recipients: Any, **more: Any) -> dict[str, Any]:
    """A request that sends a code."""
    return {
        "from": "otp@brand.test",
        "recipients": list(recipients) or ["ann@isp.test"],
        "subject": "Your code",
        "text": "Your code is 123456.",
        **more,
    }
