"""A lane's DKIM keys: made once where there is none, adopted, and turned where the spec asks for it.

Comes after the assignment, as a part of `provision`; after it, desired state and status learn selectors, public halves
and names of entries, and never a key. Invariants: what receivers know has no owner and outlives the lane; a given key
is read and never written; what `deliverability.dkim` finds due is done in one write of the Secret that was read, so
that it is done wholly or not at all, and by one operator only. Lanes that share a domain share no key: each has a
selector of its own, by its name, and turns its key by itself.
"""

import asyncio
import datetime as dt
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import structlog

from lane_api.domains import DkimSpec, LaneDomain
from lane_operator import credentials
from lane_operator.deliverability import dkim as rotation
from lane_operator.deliverability.dkim import Answers, Rotation, Step
from lane_operator.errors import ForbiddenError
from lane_operator.inputs import DkimKey, KeyTurn, Lane, Manifest, Observation
from lane_operator.packed import entry_of

__all__ = ["Vault", "dkim_key", "dkim_secret_name"]

KEY, SELECTOR, RECORD = "private.key", "selector", "record"
ED25519_KEY, ED25519_RECORD = "ed25519.key", "ed25519.record"
_ENTRIES = (KEY, SELECTOR, RECORD, ED25519_KEY, ED25519_RECORD)
GIVEN_KEYS = (KEY, "tls.key")
ROTATION = "rotation"
_SELECTOR = re.compile(rb"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_SECOND = "-ed25519"
"""Behind the selector, for the second key's: one name in DNS holds one key (RFC 6376 section 3.6.2.2)."""
_SECOND_ROOM = 63 - len(_SECOND)
NAME_LIMIT = 253  # of an object's name (RFC 1123 subdomain)
log = structlog.get_logger(__name__)


class Vault(Protocol):
    """The lane's Secrets, with the reading and writing of `provision`."""

    own: set[str]
    """Names of those that are ours to keep while the lane lives."""

    async def read(self, name: str) -> Manifest | None:
        """The Secret of that name."""

    async def met(self, name: str) -> Manifest | None:
        """The same, where it may be there: of a new lane only what is known, for what is not `once` meets by making."""

    async def once(
        self, name: str, make: Callable[[], dict[str, bytes]], *, owned: bool, labels: Mapping[str, str] | None = None
    ) -> Manifest:
        """That Secret; made if there is none."""

    async def replace(self, secret: Manifest, content: Mapping[str, bytes | None]) -> Manifest:
        """Replaces entries of one that is ours and still the one that was read; None takes an entry out."""


@dataclass(frozen=True, slots=True)
class _Case:
    """One domain of a lane that signs with keys of ours, at one moment."""

    lane: Lane
    domain: str
    spec: DkimSpec
    observation: Observation
    now: dt.datetime


async def dkim_key(vault: Vault, lane: Lane, domain: LaneDomain, seen: Observation, now: dt.datetime) -> DkimKey | None:
    """The domain's signing key; None where it does not sign, or a given key cannot be used.

    `seen` is what the lane's slots said last, by which a key is turned.
    """
    spec = domain.signing
    if spec.mode != "Sign":
        return None
    if spec.secret_name:
        return _given(await vault.read(spec.secret_name), spec.secret_name, spec.selector or "")
    case = _Case(lane, domain.name, spec, seen, now)
    secret = await _own(vault, case)
    secret = await _turned(vault, case, secret)
    return _key(case, secret)


def dkim_secret_name(lane: str, domain: str) -> str:
    """The Secret of a generated DKIM key; a long domain's name is cut and told apart by a digest."""
    name = f"{lane}-dkim-{domain}"
    if len(name) <= NAME_LIMIT:
        return name
    return f"{name[: NAME_LIMIT - 17]}-{hashlib.sha256(domain.encode()).hexdigest()[:16]}"


def _given(secret: Manifest | None, name: str, selector: str) -> DkimKey | None:
    entry = next((one for one in GIVEN_KEYS if one in ((secret or {}).get("data") or {})), None)
    if secret is None or entry is None:
        return None
    record = _record(entry_of(secret, entry))
    return DkimKey(selector, name, entry, record) if record else None


async def _own(vault: Vault, case: _Case) -> Manifest:
    """The Secret of generated keys; what is missing or damaged of the key that signs is made again."""
    name = dkim_secret_name(case.lane.name, case.domain)
    secret = await vault.met(name)
    if secret is None:
        content = await _new_pair(case.now, case.spec.selector)
        secret = await vault.once(name, lambda: content, owned=False)
    vault.own.add(name)
    place = _rotation(secret).signs
    record = _record(_entry(secret, place, KEY))
    if not record:
        secret = await vault.replace(secret, _at(place, await _new_pair(case.now, case.spec.selector)))
    elif not _selector(secret, place):
        named = case.spec.selector or _new_selector(case.now, record)
        secret = await vault.replace(secret, _at(place, {SELECTOR: named.encode()}))
    if case.spec.ed25519 and not _second_record(_entry(secret, place, ED25519_KEY)):
        secret = await vault.replace(secret, _at(place, _new_second()))
    return secret


async def _turned(vault: Vault, case: _Case, secret: Manifest) -> Manifest:
    """The Secret after the step of its rotation that is due, if one is; one step a pass."""
    stands = _rotation(secret)
    step = _due(case, secret, stands)
    if step is None:
        return secret
    other = _selector(secret, stands.spare)
    content: dict[str, bytes | None] = {ROTATION: rotation.write(rotation.after(stands, step, case.now, other))}
    if step is Step.MAKE:
        content |= _at(stands.spare, await _new_pair(case.now))
    elif step in (Step.RETIRE, Step.DROP):
        content |= {_name(stands.spare, entry): None for entry in _ENTRIES}
    said = log.bind(lane="/".join(case.lane.key), domain=case.domain, step=step.value, secret=_name_of(secret))
    try:
        turned = await vault.replace(secret, content)
    except ForbiddenError as error:  # no mail waits for a turn that somebody forbids: the present key goes on signing
        said.warning("DKIM key not turned", error=str(error))
        return secret
    said.info("DKIM key turned")
    return turned


def _due(case: _Case, secret: Manifest, stands: Rotation) -> Step | None:
    """The step; none while the lane goes, and no beginning while its slots get another image, which may not know it."""
    if case.lane.deleting_since is not None:
        return None
    rotates = case.spec.rotate_every is not None
    if rotates and stands.other == "Next" and not _record(_entry(secret, stands.spare, KEY)):
        return Step.MAKE  # damaged by a hand: nothing was signed with it
    upgrade = case.lane.status.upgrade
    return rotation.due(
        stands,
        case.spec,
        _made(secret),
        _answers(case, secret, stands),
        case.now,
        may_begin=upgrade is None or upgrade.phase == "Done",
    )


def _answers(case: _Case, secret: Manifest, stands: Rotation) -> Answers:
    following = _selector(secret, stands.spare) if stands.other == "Next" else ""
    signing = case.spec.selector or _selector(secret, stands.signs)
    return rotation.answers(case.observation, case.domain, signing, following)


def _key(case: _Case, secret: Manifest) -> DkimKey:
    """The key that signs, by reference, and the rotation that it is part of."""
    stands = _rotation(secret)
    key = _at_place(case, secret, stands.signs)
    key = replace(key, selector=case.spec.selector or key.selector)
    key = replace(key, second=_second(case, secret, stands.signs, key.selector))
    if case.spec.rotate_every is None and stands == Rotation():
        return key
    other = _at_place(case, secret, stands.spare) if stands.other else None
    turn = KeyTurn(
        phase=rotation.phase(stands),
        ends=rotation.ends(stands, case.spec, _made(secret)),
        following=other if stands.other == "Next" else None,
        before=other if stands.other == "Before" else None,
        retired=stands.retired,
    )
    return replace(key, turn=turn)


def _at_place(case: _Case, secret: Manifest, place: Literal[1, 2]) -> DkimKey:
    """The key in one of a Secret's two places."""
    selector = _selector(secret, place)
    record = _record(_entry(secret, place, KEY))
    second = _second(case, secret, place, selector)
    return DkimKey(selector, _name_of(secret), _name(place, KEY), record, second, place)


def _second(case: _Case, secret: Manifest, place: Literal[1, 2], selector: str) -> DkimKey | None:
    record = _second_record(_entry(secret, place, ED25519_KEY)) if case.spec.ed25519 else ""
    name = f"{selector[:_SECOND_ROOM]}{_SECOND}"
    return DkimKey(name, _name_of(secret), _name(place, ED25519_KEY), record, place=place) if record else None


def _name(place: int, entry: str) -> str:
    """What an entry of a place is called; those of the first are called as they were before there was a second."""
    return entry if place == 1 else f"{place}.{entry}"


def _at(place: int, content: Mapping[str, bytes]) -> dict[str, bytes | None]:
    return {_name(place, entry): value for entry, value in content.items()}


def _entry(secret: Manifest, place: int, entry: str) -> bytes:
    return entry_of(secret, _name(place, entry))


def _name_of(secret: Manifest) -> str:
    return str(secret["metadata"]["name"])


def _made(secret: Manifest) -> dt.datetime | None:
    """When the Secret was made; the API server always says."""
    text = secret["metadata"].get("creationTimestamp")
    return dt.datetime.fromisoformat(text) if text else None


def _rotation(secret: Manifest) -> Rotation:
    """Where it stands. Where a hand has taken the entry away, the key that is there and can be used signs."""
    found = rotation.read(entry_of(secret, ROTATION))
    if found != Rotation() or _record(_entry(secret, 1, KEY)) or not _record(_entry(secret, 2, KEY)):
        return found
    return Rotation(signs=2)


def _new_selector(now: dt.datetime, record: str) -> str:
    """Of the key with this record: the day, for people, and the key, since a name in DNS that may have had another key,
    of a lane of this name or of one that shares the domain, is not used again: caches would answer that one."""
    return f"lw{now:%Y%m%d}-{hashlib.sha256(record.encode()).hexdigest()[:10]}"


def _selector(secret: Manifest, place: int) -> str:
    """The selector of a generated key; empty for what is no name in DNS."""
    found = _SELECTOR.fullmatch(_entry(secret, place, SELECTOR))
    return found[0].decode() if found else ""


async def _new_pair(now: dt.datetime, selector: str | None = None) -> dict[str, bytes]:
    """The entries of a new RSA key and of the Ed25519 key beside it, under this selector or one of their own."""
    key = await asyncio.to_thread(credentials.make_dkim_key)  # a tenth of a second of CPU
    record = credentials.dkim_record(key)
    named = selector or _new_selector(now, record)
    return {KEY: key, RECORD: record.encode(), SELECTOR: named.encode(), **_new_second()}


def _new_second() -> dict[str, bytes]:
    """The entries of a new Ed25519 key."""
    key = credentials.make_ed25519_key()
    return {ED25519_KEY: key, ED25519_RECORD: credentials.ed25519_record(key).encode()}


def _record(key: bytes) -> str:
    """The DNS record of a key; empty for one that cannot be used."""
    try:
        return credentials.dkim_record(key)
    except ValueError:
        return ""


def _second_record(key: bytes) -> str:
    """The DNS record of an Ed25519 key; empty for one that cannot be used."""
    try:
        return credentials.ed25519_record(key)
    except ValueError:
        return ""
