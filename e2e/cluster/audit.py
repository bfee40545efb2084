"""The API server's audit log, read to count writes by user. Pure on lines; the policy that fills it is in render.py."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Write:
    """One write that the API server answered."""

    at: str  # RFC 3339, when the request arrived
    user: str
    agent: str
    verb: str
    resource: str  # with its subresource: sendinglanes/status
    namespace: str
    name: str
    code: int


def parse(lines: Iterable[str]) -> Iterator[Write]:
    """Yield the writes of an audit log; a half line at the end, still being written, is left out."""
    for line in lines:
        if not line.endswith("\n"):
            return
        event = json.loads(line)
        target = event.get("objectRef", {})
        parts = [target.get("resource", ""), target.get("subresource", "")]
        yield Write(
            event["requestReceivedTimestamp"], event["user"]["username"], event.get("userAgent", ""), event["verb"],
            "/".join(p for p in parts if p), target.get("namespace", ""), target.get("name", ""),
            event.get("responseStatus", {}).get("code", 0),
        )  # fmt: skip


def writes(log: Path, *, offset: int = 0, user: str | None = None, leases: bool = False) -> list[Write]:
    """Return the writes from byte `offset` on, of one user if given; lease renewals only when asked for."""
    if not log.exists():
        return []
    with log.open() as lines:
        lines.seek(offset)
        found = [w for w in parse(lines) if user in (None, w.user)]
    return [w for w in found if leases or w.resource != "leases"]
