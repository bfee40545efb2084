"""The webhook's certificate: made and renewed by the replica that leads, shown by all.

Invariant: an authority is in the configuration's caBundle before anything that it has signed is shown, and the one
before stays there until its last leaf has run out; so the API server believes every replica at every moment.
"""

import base64
import datetime as dt
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from lane_api.names import MANAGED_BY
from lane_operator import credentials
from lane_operator.credentials import Pem
from lane_operator.inputs import Key, Manifest
from lane_operator.kube import SECRET, WEBHOOK, Kube
from lane_operator.packed import entry_of

__all__ = ["EVERY_S", "Identity"]

EVERY_S = 60.0
"""How often it is looked at: a replica shows a new leaf a minute late at most."""
AUTHORITY, AUTHORITY_KEY, PREVIOUS, LEAF, LEAF_KEY = "ca.crt", "ca.key", "previous.crt", "tls.crt", "tls.key"
_CONTENT = (AUTHORITY, AUTHORITY_KEY, PREVIOUS, LEAF, LEAF_KEY)


class Identity:
    """One replica's side of it."""

    def __init__(self, kube: Kube, service: Key, configuration: str, wall: Callable[[], dt.datetime]) -> None:
        """`service` is the webhook's Service, and the name of the Secret; `configuration` what is to trust it."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.is_shown = False
        """Whether there is a certificate to show."""
        self._kube = kube
        self._service = service
        self._configuration = configuration
        self._wall = wall
        self._shown = b""

    async def turn(self, *, leads: bool) -> None:
        """One look: renews where it leads and where that is due, and shows what there is. Raises KubeError."""
        secret = await self._kube.get(SECRET, *self._service)
        content = {} if secret is None else {name: entry_of(secret, name) for name in _CONTENT}
        if leads:
            wanted = renewed(content, (f"{self._service[1]}.{self._service[0]}.svc",), self._wall())
            await self._trust(wanted[AUTHORITY] + wanted[PREVIOUS])
            if wanted != content:
                await self._keep(secret, wanted)
            content = wanted
        self._show(content.get(LEAF, b"") + content.get(LEAF_KEY, b""))

    async def _trust(self, bundle: bytes) -> None:
        """Has the API server trust these authorities."""
        found = await self._kube.get(WEBHOOK, None, self._configuration)
        encoded = base64.b64encode(bundle).decode()
        hooks = [] if found is None else found.get("webhooks") or []
        operations = [
            {"op": "add", "path": f"/webhooks/{at}/clientConfig/caBundle", "value": encoded}
            for at, hook in enumerate(hooks)
            if hook["clientConfig"].get("caBundle") != encoded
        ]
        if found is not None and operations:
            version = found["metadata"]["resourceVersion"]
            await self._kube.patch_json(WEBHOOK, None, self._configuration, operations, version)

    async def _keep(self, secret: Manifest | None, content: dict[str, bytes]) -> None:
        data = {name: base64.b64encode(value).decode() for name, value in content.items()}
        if secret is None:
            metadata = {"namespace": self._service[0], "name": self._service[1], "labels": dict(MANAGED_BY)}
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
            await self._kube.create(body)
            return
        operations = [{"op": "add", "path": "/data", "value": data}]
        await self._kube.patch_json(SECRET, *self._service, operations, secret["metadata"]["resourceVersion"])

    def _show(self, pair: bytes) -> None:
        """Has new connections see this leaf."""
        if not pair or pair == self._shown:
            return
        with tempfile.NamedTemporaryFile(dir=_memory()) as file:  # the library reads certificates from files only
            file.write(pair)
            file.flush()
            try:
                self.context.load_cert_chain(file.name)
            except ssl.SSLError:  # a hand's work; whoever leads makes it again, and what is shown stays until then
                return
        self._shown, self.is_shown = pair, True


def renewed(content: dict[str, bytes], names: tuple[str, ...], now: dt.datetime) -> dict[str, bytes]:
    """The Secret's content as it is to be: what is whole and not due stays. Pure but for the keys that it makes."""
    found = {name: content.get(name, b"") for name in _CONTENT}
    authority = Pem(found[AUTHORITY], found[AUTHORITY_KEY])
    if not credentials.is_pair(authority) or credentials.authority_is_due(authority, now):
        authority = credentials.make_ca(
            "lanewright webhook", now
        )  # not the leaf's own name, or that would pass for self-signed
        found[PREVIOUS] = credentials.readable(found[AUTHORITY])
        found[AUTHORITY], found[AUTHORITY_KEY] = authority.certificate, authority.key
    leaf = Pem(found[LEAF], found[LEAF_KEY])
    if credentials.leaf_is_due(leaf, names, now) or not credentials.signed_by(leaf.certificate, authority.certificate):
        leaf = credentials.make_leaf(authority, names, now)
    return found | {LEAF: leaf.certificate, LEAF_KEY: leaf.key}


def _memory() -> str | None:
    """Where a file is in memory alone, where there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # made exclusively, and gone at once
