"""The API server's audit log, read to count writes by user, and to see what the operator asks for.

Pure on lines; the policy that fills it is in render.py.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_READS = frozenset({"get", "list", "watch"})


@dataclass(frozen=True)
class Request:
    """One request that the API server answered."""

    at: str  # RFC 3339, when the request arrived
    user: str
    agent: str
    verb: str
    resource: str  # with its subresource: sendinglanes/status
    namespace: str
    name: str
    code: int
    group: str = ""
    """The API group of the resource."""
    forbidden: bool = False
    """The authorizer said no; another 403 is an admission plugin's, such as that of a namespace that is going."""


def parse(lines: Iterable[str]) -> Iterator[Request]:
    """Yield the requests of an audit log; a half line at the end, still being written, is left out."""
    for line in lines:
        if not line.endswith("\n"):
            return
        event = json.loads(line)
        target = event.get("objectRef", {})
        parts = [target.get("resource", ""), target.get("subresource", "")]
        yield Request(
            event["requestReceivedTimestamp"], event["user"]["username"], event.get("userAgent", ""), event["verb"],
            "/".join(p for p in parts if p), target.get("namespace", ""), target.get("name", ""),
            event.get("responseStatus", {}).get("code", 0), target.get("apiGroup", ""),
            event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid",
        )  # fmt: skip


def writes(log: Path, *, offset: int = 0, user: str | None = None, leases: bool = False) -> list[Request]:
    """Return the writes from byte `offset` on, of one user if given; lease renewals only when asked for."""
    found = requests(log, offset=offset, user=user)
    return [one for one in found if one.verb not in _READS and (leases or one.resource != "leases")]


def requests(log: Path, *, offset: int = 0, user: str | None = None) -> list[Request]:
    """Return every request from byte `offset` on, of one user if given; of whose reads are kept says the policy."""
    if not log.exists():
        return []
    with log.open() as lines:
        lines.seek(offset)
        return [one for one in parse(lines) if user in (None, one.user)]
