"""What a slot's pod mounts, and where; each volume with its mount, so that neither stands without the other."""

from collections.abc import Iterator
from dataclasses import dataclass

from lane_api import names
from lane_api.domains import LaneDomain
from lane_api.relayconfig import Socks5
from lane_operator.desired.config_secret import config_name
from lane_operator.desired.relayconfig import dkim_key_path
from lane_operator.desired.routes import route_secrets
from lane_operator.desired.secrets import audit_secret, feedback_secret, proof_secret, proxy_secret, users_secret
from lane_operator.desired.volume_claim import volume_claim_name
from lane_operator.egress import PROXY_PARTS, proxy_entry
from lane_operator.inputs import Lane, Manifest, References

__all__ = ["CONFIG_VOLUME", "Mounted", "mounted"]

CONFIG_VOLUME = "config"
FILE_MODE = 0o440  # the pod's group reads; kubelet owns


@dataclass(frozen=True, slots=True)
class Mounted:
    """One volume and where the relay sees it."""

    name: str
    path: str
    source: Manifest
    read_only: bool = True

    @property
    def volume(self) -> Manifest:
        """As the pod names it."""
        return {"name": self.name, **self.source}

    @property
    def mount(self) -> Manifest:
        """As the relay's container has it."""
        return {"name": self.name, "mountPath": self.path, "readOnly": self.read_only}


def mounted(
    lane: Lane, slot: str, references: References, proxy: Socks5 | None = None, second_proxy: Socks5 | None = None
) -> tuple[Mounted, ...]:
    """Everything that the relay's container mounts; `proxy` has the slot's address, `second_proxy` its second one."""
    claim = {"persistentVolumeClaim": {"claimName": volume_claim_name(slot)}}
    found = [
        Mounted("queue", names.SPOOL_DIR, claim, read_only=False),
        Mounted("tmp", "/tmp", {"emptyDir": {"sizeLimit": "64Mi"}}, read_only=False),  # noqa: S108  # the pod's own
        Mounted(CONFIG_VOLUME, names.CONFIG_DIR, _secret(config_name(slot))),
        Mounted("admin", names.ADMIN_DIR, _secret(f"{slot}-admin")),
        Mounted("users", names.USERS_DIR, _secret(users_secret(lane))),
    ]
    if certificate := lane.tls_secret:
        found.append(Mounted("tls", names.TLS_DIR, _secret(certificate)))
    found += _evidence(lane)
    if lane.spec.feedback is not None:
        found.append(Mounted("feedback", names.FEEDBACK_DIR, _secret(feedback_secret(lane))))
    proof = proof_secret(lane, references.pool)
    if proof is not None:
        found.append(Mounted("proof", names.PROOF_DIR, _secret(proof)))
    items = list(_proxy_files(slot, proxy, second_proxy))
    credentials = proxy_secret(lane, references.pool) if items else None
    if credentials is not None:
        found.append(Mounted("proxy", names.PROXY_DIR, {"secret": {**_secret(credentials)["secret"], "items": items}}))
    for name, path, sources in (
        ("dkim", names.DKIM_DIR, list(_keys(lane, references))),
        ("routes", names.ROUTES_DIR, list(_routes(lane))),
    ):
        if sources:
            found.append(Mounted(name, path, {"projected": {"defaultMode": FILE_MODE, "sources": sources}}))
    return tuple(found)


def _proxy_files(slot: str, *proxies: Socks5 | None) -> Iterator[Manifest]:
    """What the slot's own proxies ask for, each of them once."""
    for folder in dict.fromkeys(proxy.auth_dir for proxy in proxies if proxy is not None and proxy.auth_dir):
        second = folder != names.PROXY_DIR
        for part in PROXY_PARTS:
            path = f"{names.PROXY_SECOND}/{part}" if second else part
            yield {"key": proxy_entry(slot, part, second=second), "path": path}


def _evidence(lane: Lane) -> Iterator[Mounted]:
    """What sealing, archiving and sending records need."""
    keys = {"secret": {**_secret(audit_secret(lane))["secret"], "items": _items("signing.key", "recipients.key")}}
    yield Mounted("audit", names.AUDIT_DIR, keys)
    archive, webhook = lane.spec.audit.archive, lane.spec.audit.webhook
    if archive is not None and archive.s3 is not None:
        yield Mounted("archive-access", names.ARCHIVE_ACCESS_DIR, _secret(archive.s3.secret_name))
    if archive is not None and archive.pvc is not None:
        claim = {"persistentVolumeClaim": {"claimName": archive.pvc.claim_name}}
        yield Mounted("archive", names.ARCHIVE_DIR, claim, read_only=False)
    if webhook is not None and webhook.secret_name:
        yield Mounted("webhook", names.WEBHOOK_DIR, _secret(webhook.secret_name))


def _items(*entries: str) -> list[Manifest]:
    return [{"key": entry, "path": entry} for entry in entries]


def _secret(name: str) -> Manifest:
    return {"secret": {"secretName": name, "defaultMode": FILE_MODE}}


def _keys(lane: Lane, references: References) -> Iterator[Manifest]:
    """One file a key."""
    for domain in lane.spec.domains:
        key = references.dkim.get(domain.name)
        if domain.dkim.mode == "Sign" and key is not None and key.turn is not None:
            yield _turning(key.secret_name, domain)
        elif domain.dkim.mode == "Sign" and key is not None:
            files = {key.secret_key: dkim_key_path(domain.name)}
            if key.second is not None:
                files[key.second.secret_key] = dkim_key_path(domain.name, second=True)
            yield _projected(key.secret_name, files)


def _turning(secret: str, domain: LaneDomain) -> Manifest:
    """The files of both places of a Secret whose keys are rotated, filled or not: no slot restarts for a new key."""
    files = {"private.key": dkim_key_path(domain.name), "2.private.key": dkim_key_path(domain.name, place=2)}
    if domain.dkim.ed25519:
        files["ed25519.key"] = dkim_key_path(domain.name, second=True)
        files["2.ed25519.key"] = dkim_key_path(domain.name, second=True, place=2)
    projected = _projected(secret, files)
    return {"secret": {**projected["secret"], "optional": True}}


def _routes(lane: Lane) -> Iterator[Manifest]:
    """One folder a credential."""
    for name in dict.fromkeys(name for name, _ in route_secrets(lane)):
        yield _projected(name, {entry: f"{name}/{entry}" for entry in ("username", "password")})


def _projected(secret: str, files: dict[str, str]) -> Manifest:
    items = [{"key": key, "path": path} for key, path in files.items()]
    return {"secret": {"name": secret, "items": items}}
