"""Sees to it that a lane's own credentials are there: made once, never made again because they could not be read.

Comes after the assignment (there is one leaf a slot) and before desired state, which learns names and record texts,
and never a key. Invariants: a Secret is made by `create`, which fails where one exists; any other answer than "there
is none" makes nothing. An entry that a hand has damaged is made again, but only in a Secret that was read and is ours;
the authority before stays trusted, since a slot shows its old leaf until the kubelet has brought the new one. The keys
that receivers, clients and auditors know (DKIM, users, audit, feedback) have no owner: like the queue volume they stay
when a lane goes, and a lane of its name adopts them.
"""

import asyncio
import base64
import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from lane_api.names import API_VERSION, LANE_LABEL, MANAGED_BY, SLOT_LABEL
from lane_operator import credentials
from lane_operator.cache import Cache
from lane_operator.credentials import Pem
from lane_operator.desired import NAMESPACE_KEY, audit_secret, feedback_secret, proof_secret
from lane_operator.errors import ConflictError, ForbiddenError, UnavailableError
from lane_operator.inputs import Claim, DkimKey, Lane, Manifest, Pool, SecretFacts
from lane_operator.kube import SECRET, SENDING_LANE, Kube

__all__ = ["Provisioned", "dkim_secret_name", "kept_secrets", "provision"]

TOKEN, CERTIFICATE, KEY, AUTHORITY, PREVIOUS = "token", "tls.crt", "tls.key", "ca.crt", "previous.crt"
DKIM_KEY, DKIM_SELECTOR, DKIM_RECORD = "private.key", "selector", "record"
ED25519_KEY, ED25519_RECORD = "ed25519.key", "ed25519.record"
PROOF_KEY = "key"
FEEDBACK_KEYS = ("feedback.key", "suppression.key")
NAMESPACE_SECRET = "lanewright-suppressions"  # noqa: S105 -- a name
"""Of each namespace with lanes that share their suppression lists; no lane's."""
SIGNING_KEY, SIGNING_PUBLIC, RECIPIENTS_KEY = "signing.key", "signing.pub", "recipients.key"
_SELECTOR = re.compile(rb"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_SECOND = "-ed25519"
"""Behind the selector, for the second key's: one name in DNS holds one key (RFC 6376 section 3.6.2.2)."""
_SECOND_ROOM = 63 - len(_SECOND)
NAME_LIMIT = 253  # of an object's name (RFC 1123 subdomain)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What the next steps may know: names and public halves; tokens only for our own visits to the slots."""

    secrets: Mapping[str, SecretFacts | None] = field(default_factory=dict)
    dkim: Mapping[str, DkimKey] = field(default_factory=dict)
    authority: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Slot name -> bearer token of its /v1."""
    own: frozenset[str] = frozenset()
    """Names of the Secrets that are ours to keep while the lane lives."""
    waiting: bool = False
    """A Secret that a person must make is not there yet, or holds no usable key."""
    forbidden: str = ""
    """Why the lane's Secrets are out of our reach."""


def dkim_secret_name(lane: str, domain: str) -> str:
    """The Secret of a generated DKIM key; a long domain's name is cut and told apart by a digest."""
    name = f"{lane}-dkim-{domain}"
    if len(name) <= NAME_LIMIT:
        return name
    return f"{name[: NAME_LIMIT - 17]}-{hashlib.sha256(domain.encode()).hexdigest()[:16]}"


def kept_secrets(lane: Lane) -> frozenset[tuple[str, str]]:
    """(kind, name) of the credentials that outlive the lane."""
    names = {f"{lane.name}-users", audit_secret(lane), feedback_secret(lane)} | {
        dkim_secret_name(lane.name, domain.name) for domain in lane.spec.domains
    }
    return frozenset((SECRET.kind, name) for name in names)


async def provision(
    kube: Kube,
    cache: Cache,
    lane: Lane,
    pool: Pool | None,
    claims: Iterable[Claim],
    needed: Iterable[str],
    served: frozenset[str],
    now: dt.datetime,
    sharers: tuple[str, ...] = (),
) -> Provisioned:
    """Makes what is missing and reads what the lane names; raises KubeError (nothing is made on a guess).

    `sharers` are the lanes of the namespace that share the suppression list.
    """
    if lane.namespace not in served:
        return Provisioned(
            secrets=dict.fromkeys(needed),
            waiting=True,
            forbidden=f"the operator has no rights to Secrets in namespace {lane.namespace}: "
            "add it to servedNamespaces in the values of the lanewright chart",
        )
    desk = _Desk(kube, cache, lane, now)
    try:
        return await _provision(desk, pool, tuple(claims), tuple(needed), sharers)
    except ForbiddenError as error:
        return Provisioned(secrets=dict.fromkeys(needed), waiting=True, forbidden=str(error))


async def _provision(
    desk: "_Desk", pool: Pool | None, claims: tuple[Claim, ...], needed: tuple[str, ...], sharers: tuple[str, ...]
) -> Provisioned:
    lane = desk.lane
    authority = await desk.authority(sharers)
    admin = {claim.slot_name: await desk.admin(authority, claim.slot_name) for claim in claims}
    if lane.spec.submission.auth.secret_name is None:
        await desk.users()
    await desk.audit()
    if lane.spec.feedback is not None:
        await desk.feedback(sharers)
    dkim = {domain.name: key for domain in lane.spec.domains if (key := await desk.dkim(domain.name)) is not None}
    # the key makes a reflector's answer believed: nobody gets it by naming a pool that gives him nothing
    if pool is not None and pool.spec.verification.secret_name and proof_secret(lane, pool) in needed:
        await desk.proof(pool.namespace, pool.spec.verification.secret_name)
    secrets = {name: await desk.facts(name) for name in needed}
    signing = [domain.name for domain in lane.spec.domains if domain.dkim.mode == "Sign"]
    return Provisioned(
        secrets=secrets,
        dkim=dkim,
        authority=authority.trusted.decode(),
        tokens={slot: _entry(secret, TOKEN).decode() for slot, secret in admin.items()},
        own=frozenset(desk.own),
        waiting=None in secrets.values() or any(domain not in dkim for domain in signing),
    )


@dataclass(frozen=True, slots=True)
class _Authority:
    """The lane's CA."""

    pair: Pem = field(repr=False)
    trusted: bytes
    """Its certificate, and that of the one before."""
    at_slots: bytes
    """What slots trust: also the authorities of lanes that share the suppression list, whose slots read on in it."""


class _Desk:
    """One lane's Secrets, read from the cache, else by name, made where there is none."""

    def __init__(self, kube: Kube, cache: Cache, lane: Lane, now: dt.datetime) -> None:
        self.lane = lane
        self.own: set[str] = set()
        self._kube = kube
        self._cache = cache
        self._now = now

    async def facts(self, name: str) -> SecretFacts | None:
        """What may be known of a Secret of the lane's namespace."""
        secret = await self._read(name)
        if secret is None:
            return None
        version = f"{secret['metadata']['uid']}/{secret['metadata']['resourceVersion']}"
        return SecretFacts(name, frozenset(secret.get("data") or ()), hashlib.sha256(version.encode()).hexdigest()[:16])

    async def authority(self, sharers: tuple[str, ...] = ()) -> _Authority:
        """The lane's CA; a damaged one is made again. Of sharers that have none yet nothing is trusted yet."""
        name = f"{self.lane.name}-ca"

        def make() -> dict[str, bytes]:
            made = credentials.make_ca(f"{self.lane.namespace}/{self.lane.name}", self._now)
            return {CERTIFICATE: made.certificate, KEY: made.key}

        secret = await self._once(name, make, owned=True)
        if credentials.authority_is_due(_pair(secret), self._now):
            before = credentials.readable(_entry(secret, CERTIFICATE)) or _entry(secret, PREVIOUS)
            secret = await self._replace(secret, make() | ({PREVIOUS: before} if before else {}))
        others = [await self._read(f"{name}-ca") for name in sharers]
        own, *shared = (_trusted(one) for one in (secret, *filter(None, others)))
        return _Authority(_pair(secret), own, b"".join((own, *shared)))

    async def admin(self, authority: _Authority, slot: str) -> Manifest:
        """A slot's token and leaf; the leaf is renewed in good time, the token only where there is none."""
        name, names = f"{slot}-admin", self._names(slot)

        def make_leaf() -> dict[str, bytes]:
            leaf = credentials.make_leaf(authority.pair, names, self._now)
            return {CERTIFICATE: leaf.certificate, KEY: leaf.key, AUTHORITY: authority.at_slots}

        def make_token() -> dict[str, bytes]:
            return {TOKEN: credentials.make_token().encode()}

        secret = await self._once(name, lambda: make_leaf() | make_token(), owned=True, labels={SLOT_LABEL: slot})
        leaf, due = _pair(secret), dict[str, bytes]()
        if (
            credentials.leaf_is_due(leaf, names, self._now)
            or not credentials.signed_by(leaf.certificate, authority.pair.certificate)
            or _entry(secret, AUTHORITY) != authority.at_slots
        ):
            due |= make_leaf()
        if not credentials.is_token(_entry(secret, TOKEN)):
            due |= make_token()
        return await self._replace(secret, due) if due else secret

    async def users(self) -> None:
        """The users Secret, with one random user."""
        await self._once(
            f"{self.lane.name}-users",
            lambda: {self.lane.name: credentials.make_password().encode()},
            owned=False,
        )

    async def audit(self) -> None:
        """The keys of the lane's records; made once, for what they signed and hashed is judged by them for years."""
        name = audit_secret(self.lane)

        def signing() -> dict[str, bytes]:
            key = credentials.make_ed25519_key()
            return {SIGNING_KEY: key, SIGNING_PUBLIC: credentials.signing_public(key)}

        def recipients() -> dict[str, bytes]:
            return {RECIPIENTS_KEY: credentials.make_recipients_key()}

        secret = await self._once(name, lambda: signing() | recipients(), owned=False)
        missing = (signing() if not _entry(secret, SIGNING_KEY) else {}) | (
            recipients() if not _entry(secret, RECIPIENTS_KEY) else {}
        )
        if missing:
            await self._replace(secret, missing)

    async def feedback(self, sharers: tuple[str, ...] = ()) -> None:
        """The keys of return paths and suppressions; made once: mail in the world and digests on volumes need them.

        A lane whose list is the namespace's has a copy of the namespace's key, and keeps it whatever becomes of that.
        """
        name = feedback_secret(self.lane)
        secret = await self._once(
            name, lambda: {entry: credentials.make_recipients_key() for entry in FEEDBACK_KEYS}, owned=False
        )
        missing = [entry for entry in FEEDBACK_KEYS if not _entry(secret, entry)]
        if missing:
            secret = await self._replace(secret, {entry: credentials.make_recipients_key() for entry in missing})
        asked = self.lane.spec.feedback
        if asked is not None and asked.suppression.scope == "Namespace" and not _entry(secret, NAMESPACE_KEY):
            await self._replace(secret, {NAMESPACE_KEY: await self._namespace_key(sharers)})

    async def _namespace_key(self, sharers: tuple[str, ...]) -> bytes:
        """The key that all lanes of the namespace share: a copy that another has, else the namespace's, else new."""
        copies = [_entry(await self._read(f"{name}-feedback") or {}, NAMESPACE_KEY) for name in sharers]
        found = next(filter(None, copies), b"")
        if found:
            return found
        name = NAMESPACE_SECRET
        secret = await self._kube.get(SECRET, self.lane.namespace, name)
        if secret is None:
            made = self._manifest(name, {NAMESPACE_KEY: credentials.make_recipients_key()}, owned=False, labels={})
            del made["metadata"]["labels"][LANE_LABEL]  # it is no lane's, and goes with none
            try:
                secret = await self._kube.create(made)
            except ConflictError:  # made for another lane since we looked
                secret = await self._kube.get(SECRET, self.lane.namespace, name)
        key = _entry(secret or {}, NAMESPACE_KEY)
        if not key:
            raise UnavailableError(f"Secret {name} holds no {NAMESPACE_KEY}: delete it, to have it made again")
        return key

    async def dkim(self, domain: str) -> DkimKey | None:
        """The domain's signing key; None where it does not sign, or a given key cannot be used."""
        spec = next(one.dkim for one in self.lane.spec.domains if one.name == domain)
        if spec.mode != "Sign":
            return None
        if spec.secret_name:
            return await self._given_dkim(spec.secret_name, spec.selector or "")
        secret = await self._own_dkim(dkim_secret_name(self.lane.name, domain), spec.selector)
        if spec.ed25519:
            secret = await self._own_ed25519(secret)
        name, selector = secret["metadata"]["name"], spec.selector or _selector(secret)
        record = _second_record(_entry(secret, ED25519_KEY)) if spec.ed25519 else ""
        second = DkimKey(f"{selector[:_SECOND_ROOM]}{_SECOND}", name, ED25519_KEY, record) if record else None
        return DkimKey(selector, name, DKIM_KEY, _record(_entry(secret, DKIM_KEY)), second)

    async def _own_dkim(self, name: str, selector: str | None) -> Manifest:
        """The Secret of a generated key; what is missing or damaged in it is made again."""
        self.own.add(name)
        secret = await self._read(name)
        named = {DKIM_SELECTOR: (selector or _new_selector(self.lane, self._now)).encode()}
        if secret is None or not _record(_entry(secret, DKIM_KEY)):
            key = await asyncio.to_thread(credentials.make_dkim_key)  # a tenth of a second of CPU
            content = {DKIM_KEY: key, DKIM_RECORD: credentials.dkim_record(key).encode(), **named, **_new_second()}
            return await (
                self._once(name, lambda: content, owned=False) if secret is None else self._replace(secret, content)
            )
        return secret if _selector(secret) else await self._replace(secret, named)

    async def _own_ed25519(self, secret: Manifest) -> Manifest:
        """The Secret with an Ed25519 key beside the RSA one, also where an earlier version made it without."""
        return secret if _second_record(_entry(secret, ED25519_KEY)) else await self._replace(secret, _new_second())

    async def proof(self, namespace: str, source: str) -> None:
        """The lane's copy of the key that the pool shares with its reflectors; follows it when it changes."""
        origin = await self._kube.get(SECRET, namespace, source)
        key = (origin or {}).get("data", {}).get(PROOF_KEY)
        name = f"{self.lane.name}-proof"
        if key is None:
            return
        copy = await self._once(name, lambda: {PROOF_KEY: base64.b64decode(key)}, owned=True)
        if (copy.get("data") or {}).get(PROOF_KEY) != key:
            await self._replace(copy, {PROOF_KEY: base64.b64decode(key)})

    async def _given_dkim(self, name: str, selector: str) -> DkimKey | None:
        secret = await self._read(name)
        entry = next((one for one in (DKIM_KEY, KEY) if one in ((secret or {}).get("data") or {})), None)
        if secret is None or entry is None:
            return None
        record = _record(_entry(secret, entry))
        return DkimKey(selector, name, entry, record) if record else None

    async def _read(self, name: str) -> Manifest | None:
        cached = self._cache.get(SECRET.kind, self.lane.namespace, name)
        return cached if cached is not None else await self._kube.get(SECRET, self.lane.namespace, name)

    async def _once(
        self, name: str, make: Callable[[], dict[str, bytes]], *, owned: bool, labels: Mapping[str, str] | None = None
    ) -> Manifest:
        """The Secret of that name; made if there is none."""
        self.own.add(name)
        secret = await self._read(name)
        if secret is None:
            try:
                secret = await self._kube.create(self._manifest(name, make(), owned=owned, labels=labels or {}))
            except ConflictError:  # made by somebody else since we looked: theirs is the one
                secret = await self._kube.get(SECRET, self.lane.namespace, name)
            if secret is None:
                raise UnavailableError(f"Secret {name} came and went")
            self._cache.put(SECRET.kind, secret)
        return secret

    async def _replace(self, secret: Manifest, content: Mapping[str, bytes]) -> Manifest:
        """Replaces entries of a Secret of ours that is still the one that was read."""
        metadata = secret["metadata"]
        if not MANAGED_BY.items() <= (metadata.get("labels") or {}).items():
            raise ForbiddenError(
                f"Secret {metadata['name']} is not the lane's and holds nothing that could be used: delete or rename "
                "it, or give the lane another name"
            )
        log.info("credentials renewed", secret=metadata["name"], entries=sorted(content))
        encoded = {name: base64.b64encode(value).decode() for name, value in content.items()}
        operations = [{"op": "add", "path": "/data", "value": {**(secret.get("data") or {}), **encoded}}]
        changed = await self._kube.patch_json(
            SECRET, metadata["namespace"], metadata["name"], operations, metadata["resourceVersion"]
        )
        self._cache.put(SECRET.kind, changed)
        return changed

    def _names(self, slot: str) -> tuple[str, ...]:
        return (f"{slot}.{self.lane.name}-slots.{self.lane.namespace}.svc",)

    def _manifest(self, name: str, content: Mapping[str, bytes], *, owned: bool, labels: Mapping[str, str]) -> Manifest:
        owner = {
            "apiVersion": API_VERSION,
            "kind": SENDING_LANE.kind,
            "name": self.lane.name,
            "uid": self.lane.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        return {
            "apiVersion": SECRET.api_version,
            "kind": SECRET.kind,
            "metadata": {
                "name": name,
                "namespace": self.lane.namespace,
                "labels": {**MANAGED_BY, LANE_LABEL: self.lane.name, **labels},
                # a foreground deletion takes whatever names the lane as its owner, also what its drain still needs
                **({"ownerReferences": [owner]} if owned and self.lane.deleting_since is None else {}),
            },
            "type": "Opaque",
            "data": {entry: base64.b64encode(value).decode() for entry, value in content.items()},
        }


def _entry(secret: Manifest, name: str) -> bytes:
    """One entry of a Secret; empty where it is missing."""
    return base64.b64decode((secret.get("data") or {}).get(name, ""))


def _trusted(secret: Manifest) -> bytes:
    """Certificates of an authority, and of the one before."""
    return b"".join(credentials.readable(_entry(secret, entry)) for entry in (CERTIFICATE, PREVIOUS))


def _pair(secret: Manifest) -> Pem:
    return Pem(_entry(secret, CERTIFICATE), _entry(secret, KEY))


def _new_selector(lane: Lane, now: dt.datetime) -> str:
    """Of a key made now: the day, for people, and the lane, since lanes that share a domain have a key each."""
    return f"lw{now:%Y%m%d}-{hashlib.sha256(f'{lane.namespace}/{lane.name}'.encode()).hexdigest()[:6]}"


def _selector(secret: Manifest) -> str:
    """The selector of a generated key; empty for what is no name in DNS."""
    found = _SELECTOR.fullmatch(_entry(secret, DKIM_SELECTOR))
    return found[0].decode() if found else ""


def _record(key: bytes) -> str:
    """The DNS record of a key; empty for one that cannot be used."""
    try:
        return credentials.dkim_record(key)
    except ValueError:
        return ""


def _new_second() -> dict[str, bytes]:
    """The entries of a new Ed25519 key."""
    key = credentials.make_ed25519_key()
    return {ED25519_KEY: key, ED25519_RECORD: credentials.ed25519_record(key).encode()}


def _second_record(key: bytes) -> str:
    """The DNS record of an Ed25519 key; empty for one that cannot be used."""
    try:
        return credentials.ed25519_record(key)
    except ValueError:
        return ""
