"""What a slot's pod has of what its configuration stands on, and the configuration as far as that goes; pure.

Another template reaches a lane's pods one after the other, and configuration all of them within seconds: it would name
keys, passwords, a resolver or an address that most of them do not have yet. So each such part of it stays as it is in
force until the pod has what the new one needs; all else follows at once, also what needs no part of the pod.
Invariant: what counts is the pod that runs, whatever its workload says by now; without one, the template of the next.
Comes after the rendered RelayConfig, and before the Secret that it is written to.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lane_api.relayconfig import Delivery, Egress, RelayConfig, RelayRoute, Socks5
from lane_api.relayrecords import Records
from lane_api.relaysigning import SigningDomain
from lane_operator.desired.config_secret import digest, file_of
from lane_operator.desired.resolver import BEFORE_FILE, RESOLVER_FILE
from lane_operator.desired.volumes import Mounted
from lane_operator.inputs import Manifest

__all__ = ["RESOLVER_DIGEST", "PodParts", "as_carried", "parts_of", "resolver_files", "wanted_parts"]

RESOLVER_DIGEST = "lanewright.dev/resolver-digest"
"""On the pod: unbound reads its file once, so another one needs another process."""


@dataclass(frozen=True, slots=True)
class PodParts:
    """What of a pod a configuration may stand on."""

    files: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    """Path of a file or folder that is mounted -> what lies there: objects, and their entries."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """What engines steer its network by, and the digest of its resolver's configuration."""


def wanted_parts(mounts: Iterable[Mounted], annotations: Mapping[str, str], resolver: str | None) -> PodParts:
    """What the slot is to have; `resolver` is its sidecar's configuration, None where it has none."""
    noted = dict(annotations) if resolver is None else {**annotations, RESOLVER_DIGEST: digest(resolver)}
    return PodParts(_files((one.path, one.source) for one in mounts), noted)


def parts_of(pod: Manifest | None, workload: Manifest | None) -> PodParts | None:
    """What the slot has: its pod, or the template of the next; None where there is neither, for a slot that is new."""
    made = _made(pod, workload)
    if made is None:
        return None
    volumes = {one["name"]: one for one in made["spec"].get("volumes") or ()}
    relay: Manifest = next((one for one in made["spec"].get("containers") or () if one["name"] == "relay"), {})
    mounts = [one for one in relay.get("volumeMounts") or () if one["name"] in volumes]
    files = _files((one["mountPath"], volumes[one["name"]]) for one in mounts)
    return PodParts(files, _noted(made))


def resolver_files(
    wanted: str | None, secret: Manifest | None, pod: Manifest | None, workload: Manifest | None
) -> dict[str, str]:
    """The sidecar's configuration as the next one reads it, and the one that the slot's reads until then.

    `secret` is the slot's as it stands. The new one is there at once, or a sidecar could begin with another than its
    pod names.
    """
    files = {} if wanted is None else {RESOLVER_FILE: wanted}
    has = _noted(_made(pod, workload) or {}).get(RESOLVER_DIGEST)
    if has is not None and (wanted is None or digest(wanted) != has):
        for text in (file_of(secret, RESOLVER_FILE), file_of(secret, BEFORE_FILE)):
            if text is not None and digest(text) == has:
                files[BEFORE_FILE] = text
    return files


def _made(pod: Manifest | None, workload: Manifest | None) -> Manifest | None:
    """What the slot's pod is, or the next one will be."""
    return pod or (workload["spec"].get("template") if workload is not None else None)


def _noted(made: Manifest) -> Mapping[str, str]:
    found: Mapping[str, str] = made.get("metadata", {}).get("annotations") or {}
    return found


def as_carried(
    config: RelayConfig, wanted: PodParts, has: PodParts | None, before: Callable[[], RelayConfig | None]
) -> RelayConfig:
    """The configuration without what its slot does not have yet; `before` gives the one that stands there now.

    Where that cannot be read all is as it is to be.
    """
    pod = _Pod(wanted, has or wanted)
    if pod.carries(config) or (was := before()) is None:
        return config
    known = {one.name: one for one in was.domains}
    update = {
        "domains": tuple(_domain(pod, one, known.get(one.name)) for one in config.domains),
        "delivery": _delivery(pod, config.delivery, was.delivery),
        "records": _records(pod, config.records, was.records),
        "egress": _egress(pod, config.egress, was.egress),
    }
    return config.model_copy(update=update)


@dataclass(frozen=True, slots=True)
class _Pod:
    """What the slot is to have beside what it has."""

    wanted: PodParts
    has: PodParts

    def carries(self, config: RelayConfig) -> bool:
        """Whether it has all that this configuration needs."""
        if self.wanted.files == self.has.files and self.has_network and self.has_resolver:
            return True
        archive, webhook = _folders(config.records)
        paths = [path for one in config.domains for path in _keys(one)]
        paths += [one.auth_dir or "" for one in config.delivery.routes] + [archive, webhook]
        paths += [one.auth_dir or "" for one in _proxies(config.egress)]
        return self.has_network and self.has_resolver and self.has_same(*paths)

    def has_same(self, *paths: str) -> bool:
        """Whether it has, at each of these, what is to be there; an empty path needs nothing."""
        return all(self.wanted.files.get(path) == self.has.files.get(path) for path in paths if path)

    def has_some(self, *paths: str) -> bool:
        """Whether it has anything at each of these."""
        return all(path in self.has.files for path in paths if path)

    @property
    def has_network(self) -> bool:
        """Whether it was made with the annotations that its network is steered by."""
        noted = self.wanted.annotations.items()
        return all(self.has.annotations.get(name) == value for name, value in noted if name != RESOLVER_DIGEST)

    @property
    def has_resolver(self) -> bool:
        """Whether its sidecar reads this configuration, or none is asked for."""
        wanted = self.wanted.annotations.get(RESOLVER_DIGEST)
        return wanted is None or self.has.annotations.get(RESOLVER_DIGEST) == wanted


def _domain(pod: _Pod, new: SigningDomain, old: SigningDomain | None) -> SigningDomain:
    """Signs as it did, also not at all, until the pod has the new key; without either its mail waits."""
    if old is None or pod.has_same(*_keys(new)) or not pod.has_some(*_keys(old)):
        return new
    return old.model_copy(update={"return_path": new.return_path})


def _keys(domain: SigningDomain) -> Iterator[str]:
    if domain.mode == "Off":
        return
    for one in (domain, domain.ed25519, domain.next, domain.next.ed25519 if domain.next is not None else None):
        if one is not None:
            yield one.key_file


def _delivery(pod: _Pod, new: Delivery, old: Delivery) -> Delivery:
    update: dict[str, object] = {"routes": tuple(_routes(pod, new, old))}
    if not pod.has_resolver:  # what it asks until then is believed only if both say so
        update |= {"resolvers": old.resolvers, "trust_ad": new.trust_ad and old.trust_ad}
    return new.model_copy(update=update)


def _routes(pod: _Pod, new: Delivery, old: Delivery) -> Iterator[RelayRoute]:
    """A route without its password yet goes the way that its domains went; the way out waits for its own."""
    for route in new.routes:
        if route.hands_over or pod.has_same(route.auth_dir or ""):
            yield route
            continue
        for one in old.routes:
            domains = tuple(domain for domain in one.domains if domain in route.domains)
            if domains and not one.hands_over and pod.has_some(one.auth_dir or ""):
                yield one.model_copy(update={"domains": domains})


def _records(pod: _Pod, new: Records, old: Records) -> Records:
    archive, webhook = _folders(new)
    update: dict[str, object] = {}
    if not pod.has_same(archive):
        update["archive"] = old.archive
    if not pod.has_same(webhook):
        update["webhook"] = old.webhook
    return new.model_copy(update=update)


def _folders(records: Records) -> tuple[str, str]:
    """What the archive and the webhook need; empty: nothing."""
    archive, webhook = records.archive, records.webhook
    access = "" if archive is None else archive.path or (archive.s3.credentials_dir if archive.s3 is not None else "")
    return access or "", (webhook.secret_dir or "") if webhook is not None else ""


def _egress(pod: _Pod, new: Egress, old: Egress) -> Egress:
    """Never another address than is to be: what was bound for one that is the slot's no more is not bound again."""
    if new.address is None or new.address != old.address:
        return new
    update: dict[str, object] = {"proxy": _proxy(pod, new.proxy, old.proxy)}
    if new.source is not None and not pod.has_network:
        update["source"] = old.source
    second, was = new.second, old.second
    is_same = second is not None and was is not None and second.address == was.address
    if second is not None and second.source is not None and not pod.has_network:
        update["second"] = was if is_same else None
    elif second is not None and was is not None and is_same:
        update["second"] = second.model_copy(update={"proxy": _proxy(pod, second.proxy, was.proxy)})
    return new.model_copy(update=update)


def _proxy(pod: _Pod, new: Socks5 | None, old: Socks5 | None) -> Socks5 | None:
    if new is None or old is None or pod.has_same(new.auth_dir or "") or not pod.has_some(old.auth_dir or ""):
        return new
    return old


def _proxies(egress: Egress) -> list[Socks5]:
    both = (egress.proxy, egress.second.proxy if egress.second is not None else None)
    return [one for one in both if one is not None]


def _files(mounts: Iterable[tuple[str, Manifest]]) -> dict[str, frozenset[tuple[str, str]]]:
    """What lies at each path that is mounted, and in each folder of it."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for at, source in mounts:
        for path, name, entry in _entries(source):
            inner = path.split("/") if path else []
            for depth in range(len(inner) + 1):
                found["/".join((at, *inner[:depth]))].add((name, f"{entry} {path}"))
    return {path: frozenset(entries) for path, entries in found.items()}


def _entries(source: Manifest) -> Iterator[tuple[str, str, str]]:
    """Path, object and entry of all that a volume brings of objects with names."""
    if claim := source.get("persistentVolumeClaim"):
        yield "", f"claim {claim.get('claimName')}", ""
    own = source.get("secret")
    secrets = [{**own, "name": own.get("secretName")}] if own else []
    secrets += [one["secret"] for one in (source.get("projected") or {}).get("sources") or () if "secret" in one]
    for secret in secrets:
        items = secret.get("items")
        if not items:
            yield "", str(secret.get("name")), ""
        for item in items or ():
            yield item["path"], str(secret.get("name")), item["key"]
