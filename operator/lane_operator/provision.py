"""Sees to it that a lane's own credentials are there: made once, never made again because they could not be read.

Comes after the assignment (there is one leaf a slot) and before desired state, which learns names and record texts,
and never a key. Invariants: a Secret is made by `create`, which fails where one exists; any other answer than "there
is none" makes nothing. An entry that a hand has damaged is made again, but only in a Secret that was read and is ours;
the authority before stays trusted, since a slot shows its old leaf until the kubelet has brought the new one. The keys
that receivers, clients and auditors know (DKIM, users, audit, feedback) have no owner: like the queue volume they stay
when a lane goes, and a lane of its name adopts them.
"""

import base64
import datetime as dt
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from lane_api.names import API_VERSION, LANE_LABEL, MANAGED_BY, SLOT_LABEL
from lane_operator import credentials
from lane_operator.cache import Cache
from lane_operator.credentials import Pem
from lane_operator.desired import BOUNCE_KEY, NAMESPACE_KEY, audit_secret, feedback_secret, proof_secret, proxy_secret
from lane_operator.dkim_keys import dkim_key, dkim_secret_name
from lane_operator.egress import PROXY_PARTS, proxy_entry
from lane_operator.errors import ConflictError, ForbiddenError, UnavailableError
from lane_operator.inputs import Claim, DkimKey, Lane, Manifest, Observation, Pool, SecretFacts
from lane_operator.kube import SECRET, SENDING_LANE, Kube
from lane_operator.packed import entry_of
from lane_operator.together import together

__all__ = ["Provisioned", "dkim_secret_name", "kept_secrets", "provision"]

TOKEN, CERTIFICATE, KEY, AUTHORITY, PREVIOUS = "token", "tls.crt", "tls.key", "ca.crt", "previous.crt"
NEXT, NEXT_KEY = "next.crt", "next.key"
"""The authority that is trusted already and signs a day later."""
PROOF_KEY = "key"
FEEDBACK_KEYS = ("feedback.key", "suppression.key", BOUNCE_KEY)
NAMESPACE_SECRET = "lanewright-suppressions"  # noqa: S105 -- a name
"""Of each namespace with lanes that share their suppression lists; no lane's."""
SIGNING_KEY, SIGNING_PUBLIC, RECIPIENTS_KEY = "signing.key", "signing.pub", "recipients.key"
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
    foreign: str = ""
    """A Secret that is to be ours and that somebody else made, with the fix; what is in it serves as it is."""


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
    seen: Observation | None = None,
) -> Provisioned:
    """Makes what is missing and reads what the lane names; raises KubeError (nothing is made on a guess).

    `sharers` are the lanes of the namespace that share the suppression list; `seen` is what the slots said last.
    """
    if lane.namespace not in served:
        return Provisioned(
            secrets=dict.fromkeys(needed),
            waiting=True,
            forbidden=f"the operator has no rights to Secrets in namespace {lane.namespace}: "
            "add it to servedNamespaces in the values of the lanewright chart",
        )
    desk = _Desk(kube, cache, lane, now, seen or Observation())
    try:
        return await _provision(desk, pool, tuple(claims), tuple(needed), sharers)
    except ForbiddenError as error:
        return Provisioned(secrets=dict.fromkeys(needed), waiting=True, forbidden=str(error))


async def _provision(
    desk: "_Desk", pool: Pool | None, claims: tuple[Claim, ...], needed: tuple[str, ...], sharers: tuple[str, ...]
) -> Provisioned:
    lane = desk.lane
    made: list[Awaitable[None]] = [desk.dkim(), desk.admins(claims, sharers), desk.audit()]
    if lane.spec.submission.auth.secret_name is None:
        made.append(desk.users())
    if lane.spec.feedback is not None:
        made.append(desk.feedback(sharers))
    # the key makes a reflector's answer believed: nobody gets it by naming a pool that gives him nothing
    if pool is not None and pool.spec.verification.secret_name and proof_secret(lane, pool) in needed:
        made.append(desk.proof(pool.namespace, pool.spec.verification.secret_name))
    if pool is not None and proxy_secret(lane, pool) in needed:
        made.append(desk.proxies(pool.namespace, claims))
    await together(made)
    secrets = {name: await desk.facts(name) for name in needed}
    signing = [domain.name for domain in lane.spec.domains if domain.dkim.mode == "Sign"]
    return Provisioned(
        secrets=secrets,
        foreign=desk.foreign,
        dkim=desk.keys,
        authority=desk.trusted.decode(),
        tokens=desk.tokens,
        own=frozenset(desk.own),
        waiting=None in secrets.values() or any(domain not in desk.keys for domain in signing),
    )


@dataclass(frozen=True, slots=True)
class _Authority:
    """The lane's CA."""

    pair: Pem = field(repr=False)
    trusted: bytes
    """Its certificate, and those of the one before and of the next."""
    at_slots: bytes
    """What slots trust: also the authorities of lanes that share the suppression list, whose slots read on in it."""


class _Desk:
    """One lane's Secrets, read from the cache, else by name, made where there is none."""

    def __init__(self, kube: Kube, cache: Cache, lane: Lane, now: dt.datetime, seen: Observation) -> None:
        self.lane = lane
        self.own: set[str] = set()
        self.foreign = ""
        """See `Provisioned`."""
        self.keys: Mapping[str, DkimKey] = {}
        self.tokens: Mapping[str, str] = {}
        self.trusted = b""
        """Of the lane's authority: its certificate, and those of the one before and of the next."""
        self._kube = kube
        self._cache = cache
        self._now = now
        self._seen = seen
        self._is_new = not cache.children(lane.key)  # then its Secrets are made without a look before

    async def facts(self, name: str) -> SecretFacts | None:
        """What may be known of a Secret of the lane's namespace."""
        secret = await self.read(name)
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

        secret = await self.once(name, make, owned=True)
        pair, successor = _pair(secret), Pem(entry_of(secret, NEXT), entry_of(secret, NEXT_KEY))
        if not credentials.is_pair(pair):
            before = credentials.readable(pair.certificate) or entry_of(secret, PREVIOUS)
            secret = await self.replace(secret, make() | ({PREVIOUS: before} if before else {}))
        elif credentials.authority_is_due(pair, self._now):
            secret = await self._hand_on(secret, pair, successor, make)
        others = [await self.read(f"{name}-ca") for name in sharers]
        own, *shared = (_trusted(one) for one in (secret, *filter(None, others)))
        return _Authority(_pair(secret), own, b"".join((own, *shared)))

    async def _hand_on(
        self, secret: Manifest, pair: Pem, successor: Pem, make: Callable[[], dict[str, bytes]]
    ) -> Manifest:
        """From one authority to the next, in two steps, for slots get their Secrets at different times: first all
        learn to trust it, a day later it signs. One that had a leaf of it at once would be refused by the others."""
        if not credentials.is_pair(successor):
            made = make()
            return await self.replace(secret, {NEXT: made[CERTIFICATE], NEXT_KEY: made[KEY]})
        if not credentials.may_sign(pair, successor, self._now):
            return secret
        signs = {CERTIFICATE: successor.certificate, KEY: successor.key, PREVIOUS: pair.certificate}
        return await self.replace(secret, {**signs, NEXT: b"", NEXT_KEY: b""})

    async def admins(self, claims: Iterable[Claim], sharers: tuple[str, ...]) -> None:
        """The lane's CA, and each slot's token and leaf."""
        authority = await self.authority(sharers)
        secrets = {claim.slot_name: await self.admin(authority, claim.slot_name) for claim in claims}
        self.trusted = authority.trusted
        self.tokens = {slot: entry_of(secret, TOKEN).decode() for slot, secret in secrets.items()}

    async def admin(self, authority: _Authority, slot: str) -> Manifest:
        """A slot's token and leaf; the leaf is renewed in good time, the token only where there is none."""
        name, names = f"{slot}-admin", self._names(slot)

        def make_leaf() -> dict[str, bytes]:
            leaf = credentials.make_leaf(authority.pair, names, self._now)
            return {CERTIFICATE: leaf.certificate, KEY: leaf.key, AUTHORITY: authority.at_slots}

        def make_token() -> dict[str, bytes]:
            return {TOKEN: credentials.make_token().encode()}

        secret = await self.once(name, lambda: make_leaf() | make_token(), owned=True, labels={SLOT_LABEL: slot})
        leaf, due = _pair(secret), dict[str, bytes]()
        if (
            credentials.leaf_is_due(leaf, names, self._now)
            or not credentials.signed_by(leaf.certificate, authority.pair.certificate)
            or entry_of(secret, AUTHORITY) != authority.at_slots
        ):
            due |= make_leaf()
        if not credentials.is_token(entry_of(secret, TOKEN)):
            due |= make_token()
        return await self.replace(secret, due) if due else secret

    async def users(self) -> None:
        """The users Secret, with one random user."""
        await self.once(
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

        secret = await self.once(name, lambda: signing() | recipients(), owned=False)
        missing = (signing() if not entry_of(secret, SIGNING_KEY) else {}) | (
            recipients() if not entry_of(secret, RECIPIENTS_KEY) else {}
        )
        if missing:
            await self.replace(secret, missing)

    async def feedback(self, sharers: tuple[str, ...] = ()) -> None:
        """The keys of return paths, suppressions and bounces by webhook; made once: mail in the world and digests on
        volumes need them.

        A lane whose list is the namespace's has a copy of the namespace's key, and keeps it whatever becomes of that.
        """
        name = feedback_secret(self.lane)
        secret = await self.once(
            name, lambda: {entry: credentials.make_recipients_key() for entry in FEEDBACK_KEYS}, owned=False
        )
        missing = [entry for entry in FEEDBACK_KEYS if not entry_of(secret, entry)]
        if missing:
            secret = await self.replace(secret, {entry: credentials.make_recipients_key() for entry in missing})
        asked = self.lane.spec.feedback
        if asked is not None and asked.suppression.scope == "Namespace" and not entry_of(secret, NAMESPACE_KEY):
            await self.replace(secret, {NAMESPACE_KEY: await self._namespace_key(sharers)})

    async def _namespace_key(self, sharers: tuple[str, ...]) -> bytes:
        """The key that all lanes of the namespace share: a copy that another has, else the namespace's, else new."""
        copies = [entry_of(await self.read(f"{name}-feedback") or {}, NAMESPACE_KEY) for name in sharers]
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
        key = entry_of(secret or {}, NAMESPACE_KEY)
        if not key:
            raise UnavailableError(f"Secret {name} holds no {NAMESPACE_KEY}: delete it, to have it made again")
        return key

    async def dkim(self) -> None:
        """The key of each From domain that signs and has a usable one."""
        domains = self.lane.spec.domains
        keys = await together(dkim_key(self, self.lane, one, self._seen, self._now) for one in domains)
        self.keys = {one.name: key for one, key in zip(domains, keys, strict=True) if key is not None}

    async def proof(self, namespace: str, source: str) -> None:
        """The lane's copy of the key that the pool shares with its reflectors; follows it when it changes."""
        origin = await self._kube.get(SECRET, namespace, source)
        key = (origin or {}).get("data", {}).get(PROOF_KEY)
        name = f"{self.lane.name}-proof"
        if key is None:
            copy = await self.read(name)
            if copy is not None and not _is_ours(copy):
                self.foreign = self._stranger(name, "and is used instead of", f"{source} in namespace {namespace}")
            return
        copy = await self.once(name, lambda: {PROOF_KEY: base64.b64decode(key)}, owned=True)
        is_old = (copy.get("data") or {}).get(PROOF_KEY) != key
        if not _is_ours(copy):  # it would not follow the pool's when that changes
            what = "and has another key than" if is_old else "and will not follow"
            self.foreign = self._stranger(name, what, f"{source} in namespace {namespace}")
            if is_old:
                raise ForbiddenError(self.foreign)
        elif is_old:
            await self.replace(copy, {PROOF_KEY: base64.b64decode(key)})

    async def proxies(self, namespace: str, claims: tuple[Claim, ...]) -> None:
        """The lane's copy of what its slots' proxies ask for: of each slot's own proxy, and follows when that changes.

        What is no longer there to be copied stays: a slot that runs goes on with what it has.
        """
        wanted: dict[str, bytes] = {}
        for claim in claims:
            first = claim.address.proxy if claim.address is not None else None
            second = claim.address.second.proxy if claim.address is not None and claim.address.second else None
            for proxy in (first, second):
                if proxy is None or not proxy.secret_name:
                    continue
                origin = await self._kube.get(SECRET, namespace, proxy.secret_name)
                for part in PROXY_PARTS:
                    if found := entry_of(origin or {}, part):
                        wanted[proxy_entry(claim.slot_name, part, second=proxy is second)] = found
        if not wanted:
            return
        copy = await self.once(f"{self.lane.name}-proxy", lambda: wanted, owned=True)
        if any(entry_of(copy, name) != value for name, value in wanted.items()):
            await self.replace(copy, wanted)

    def _stranger(self, name: str, what: str, source: str) -> str:
        return (
            f"Secret {name} in namespace {self.lane.namespace} was not made by the operator {what} Secret {source}, "
            "whose copy it is to be: see that that one has the reflectors' key, then delete this one, and the operator "
            "makes it"
        )

    async def read(self, name: str) -> Manifest | None:
        """The Secret of that name, as the cache or else the API server has it."""
        cached = self._cache.get(SECRET.kind, self.lane.namespace, name)
        return cached if cached is not None else await self._kube.get(SECRET, self.lane.namespace, name)

    async def once(
        self, name: str, make: Callable[[], dict[str, bytes]], *, owned: bool, labels: Mapping[str, str] | None = None
    ) -> Manifest:
        """The Secret of that name; made if there is none."""
        self.own.add(name)
        return await self.met(name) or await self._made(name, make(), owned=owned, labels=labels)

    async def met(self, name: str) -> Manifest | None:
        """A Secret that is to be ours, where it may be there; of a new lane what is not known is found by making it."""
        cached = self._cache.get(SECRET.kind, self.lane.namespace, name)
        return cached if cached is not None or self._is_new else await self.read(name)

    async def _made(
        self, name: str, content: Mapping[str, bytes], *, owned: bool, labels: Mapping[str, str] | None = None
    ) -> Manifest:
        """The Secret with this content, or the one that is there."""
        secret: Manifest | None
        try:
            secret = await self._kube.create(self._manifest(name, content, owned=owned, labels=labels or {}))
        except ConflictError:  # made by somebody else: theirs is the one
            secret = await self._kube.get(SECRET, self.lane.namespace, name)
        if secret is None:
            raise UnavailableError(f"Secret {name} came and went")
        self._cache.put(SECRET.kind, secret)
        return secret

    async def replace(self, secret: Manifest, content: Mapping[str, bytes | None]) -> Manifest:
        """Replaces entries of a Secret of ours that is still the one that was read; None takes an entry out."""
        metadata = secret["metadata"]
        if not _is_ours(secret):
            raise ForbiddenError(
                f"Secret {metadata['name']} is not the lane's and holds nothing that could be used: delete or rename "
                "it, or give the lane another name"
            )
        log.info("credentials renewed", secret=metadata["name"], entries=sorted(content))
        encoded = {name: base64.b64encode(value).decode() for name, value in content.items() if value is not None}
        kept = {name: value for name, value in (secret.get("data") or {}).items() if name not in content}
        operations = [{"op": "add", "path": "/data", "value": {**kept, **encoded}}]
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


def _trusted(secret: Manifest) -> bytes:
    """Certificates of an authority, of the one before, and of the one that is to follow."""
    return b"".join(credentials.readable(entry_of(secret, entry)) for entry in (CERTIFICATE, PREVIOUS, NEXT))


def _pair(secret: Manifest) -> Pem:
    return Pem(entry_of(secret, CERTIFICATE), entry_of(secret, KEY))


def _is_ours(secret: Manifest) -> bool:
    return MANAGED_BY.items() <= (secret["metadata"].get("labels") or {}).items()
