"""Two slots of one lane that hand over to each other all the time: authority, secrets, configurations.

Of what either accepts half belongs to its sibling: one slot sends for some ISPs only, the other for all. So both send
for those: the one to which they belong, and the other while it cannot be reached. Before: `kills`.
"""

import json
import ssl
import time
import urllib.error
import urllib.request
from itertools import chain
from pathlib import Path
from typing import Any, Final

from tests.chaos.ground import NETWORK
from tests.chaos.internet import RESOLVER
from tests.chaos.judge import LANE_DOMAIN
from tests.chaos.slots import Slot
from tests.chaos.traffic import DOMAINS, HELD, LOOP
from tests.lane_relay.forked import Nursery
from tests.lane_relay.whole.test_handover import Lane
from tests.ports import free_port

RETURN_PATH: Final = f"b.{LANE_DOMAIN}"
SOURCES: Final = {"otp-0": f"{NETWORK}.1", "otp-1": f"{NETWORK}.2"}
SHARED: Final = (*DOMAINS[2:], LANE_DOMAIN, HELD, LOOP)
"""Both slots may send for these."""
SENDS: Final[dict[str, tuple[str, ...]]] = {"otp-0": (), "otp-1": SHARED}
"""`egress.isps` of each; none: for all."""
CONNECTIONS: Final = 8
"""To each ISP."""


class ChaosLane:
    """The lane's two slots, not started."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        """`folder` must be there."""
        self._secrets = Lane(folder)
        for name in ("verp", "suppression"):
            self._secrets.write(f"{name}.key", name.encode() * 8)
        self.folder = folder
        self.slots = [self._slot(name, nursery) for name in SOURCES]

    def _slot(self, name: str, nursery: Nursery) -> Slot:
        http, feedback = free_port(), free_port()
        (other,) = set(SOURCES) - {name}
        files = self.folder
        overrides = {
            "slot": {"name": name, "hostname": f"{name}.{LANE_DOMAIN}"},
            "intake": {
                "clients": ["127.0.0.0/8"],
                "senders": [f"@{LANE_DOMAIN}"],
                "http": {"host": "127.0.0.1", "port": http, "plain": True},
                "limits": {"connectRatePerClient": None, "errorRatePerClient": None},
            },
            "egress": {"source": SOURCES[name], "isps": list(SENDS[name])},
            "delivery": {
                "resolvers": [f"{RESOLVER}:53"],
                "retry": {"first": "1s", "factor": 1, "max": "2s"},
                "policies": [
                    {"name": one, "domains": [one], "connections": CONNECTIONS} for one in chain(DOMAINS[:2], SHARED)
                ],
            },
            "domains": [{"name": LANE_DOMAIN, "mode": "Off", "returnPath": {"domain": RETURN_PATH}}],
            "feedback": {"keyFile": str(files / "verp.key"), "smtp": {"host": "127.0.0.1", "port": feedback}},
            "suppression": {"path": str(files / f"list-{name}"), "keyFile": str(files / "suppression.key")},
            "admin": {
                "listen": {"host": "127.0.0.1", "port": self._secrets.ports[name]},
                "tls": {"certificate": str(files / f"{name}.crt"), "key": str(files / f"{name}.key")},
                "tokenFile": str(files / "token"),
            },
            "handover": {
                "caFile": str(files / "ca.crt"),
                "siblings": [
                    {"slot": other, "host": "localhost", "port": self._secrets.ports[other], "isps": list(SENDS[other])}
                ],
            },
        }  # fmt: skip
        return Slot(
            files / name, overrides, nursery=nursery, source=SOURCES[name], http_port=http, feedback_port=feedback
        )

    def ask(self, slot: Slot, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """A request to a slot's `/v1`: status and JSON; status 0 while nobody answers."""
        name = slot.folder.name
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        token = (self.folder / "token").read_text()
        url = f"https://localhost:{self._secrets.ports[name]}{path}"
        request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"}, method=method)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:
                return int(answer.status), json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except (OSError, ValueError):
            return 0, None

    def insist(self, slot: Slot, method: str, path: str, body: bytes | None, *good: int) -> Any:
        """The same until it is answered with one of `good`; for requests that may be repeated."""
        deadline = time.monotonic() + 60
        while True:
            status, answer = self.ask(slot, method, path, body)
            if status in good:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{method} {path}: {status} {answer}")
            time.sleep(0.1)
