"""DKIM at the first attempt: keys, threads that sign, and the gate that holds what must not leave yet.

RSA takes a millisecond and releases the interpreter lock, so as many threads as cores sign side by side; each hands a
whole batch back in one call into the loop. The signature of a message is made once and kept for its other recipients.
Before it: `prepared`. After it: `mail.dkim`. Invariant: nothing leaves unsigned unless its domain says Off; what cannot
be signed is held, and holds up nobody else.
"""

import asyncio
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from lane_api.relayconfig import SigningDomain
from lane_relay.clock import Clock
from lane_relay.deliver.prepared import Held
from lane_relay.errors import ConfigError
from lane_relay.mail.dkim import DkimKey, Publication, cover
from lane_relay.records import Message, TrackedRecord

__all__ = ["Signer", "SigningKey", "available_cores", "quota_cores"]

Then = Callable[[bytes | Held], None]
_Job = tuple[int, bytes, str, "tuple[SigningKey, ...]", float, int]
"""Message id, content, domain, keys, Unix time, epoch."""
_Signed = tuple[int, int, bytes | Held]
"""Message id, epoch, and the fields or why there are none."""

_BATCH: Final = 16
_KEPT: Final = 4096
"""Signatures kept for further recipients and retries; 600 bytes each."""
_RENEWED_AFTER_S: Final = 24 * 3600.0
_CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")


class SigningKey(TrackedRecord, frozen=True):
    """One key of a domain."""

    selector: str
    key: DkimKey
    record_name: str
    """Where the world looks for its public half: SELECTOR._domainkey.DOMAIN."""


def quota_cores(cpu_max: str, cores: int) -> int:
    """Whole threads that a cgroup's `cpu.max` (`quota period` or `max period`) lets run at once, at most `cores`."""
    quota, _, period = cpu_max.strip().partition(" ")
    if not quota.isdecimal() or not period.isdecimal() or not int(period):
        return cores
    return max(1, min(cores, math.ceil(int(quota) / int(period))))


def available_cores() -> int:
    """Cores that this process may use: its affinity, bounded by its cgroup's quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        return quota_cores(_CPU_MAX.read_text(), cores)
    except OSError:
        return cores


class Signer:
    """Signs for the configured domains. `is_live(record_name)` tells whether a key's record can be found."""

    def __init__(self, is_live: Callable[[str], bool], clock: Clock, threads: int | None = None) -> None:
        """`threads`: default: as many as cores."""
        self._is_live = is_live
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._domains: dict[str, SigningDomain] = {}
        self._keys: dict[str, SigningKey] = {}
        """By domain: the key without which its mail waits."""
        self._second: dict[str, SigningKey] = {}
        """By domain: the Ed25519 key that signs beside it once its own record is live; nothing waits for it."""
        self._next: dict[str, SigningKey] = {}
        """By domain: the key that is to sign after the present one; DNS is asked for it, and it signs trials only."""
        self._next_second: dict[str, SigningKey] = {}
        """By domain: its Ed25519 key."""
        self._stamps: dict[str, tuple[int, int, int]] = {}
        """By field of the configuration: the file as it was last read."""
        self.problems: dict[str, str] = {}
        """By domain: why its key is not in use."""
        self._kept: dict[int, bytes] = {}
        self._epoch = 0
        """Of domains and keys: what was signed in an earlier one does not leave."""
        self._began = clock.monotonic()
        self._under_way: dict[int, tuple[Message, list[Then]]] = {}
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"signer-{number}", daemon=True)
            for number in range(threads or available_cores())
        ]
        for thread in self._threads:
            thread.start()
        self.signed = 0

    # -- keys

    def apply(self, domains: tuple[SigningDomain, ...]) -> None:
        """The domains to sign for; their key files are read anew."""
        before, self._domains = self._domains, {domain.name.lower(): domain for domain in domains}
        # an old key under a new selector would fail everywhere: only what is unchanged keeps its last good key
        same = {name for name, domain in self._domains.items() if before.get(name) == domain}
        for keys in self._all():
            for name in [name for name in keys if name not in same]:
                del keys[name]
        self._stamps.clear()
        self._begin_epoch()
        self.problems.clear()
        self.reload()

    def reload(self) -> bool:
        """Reads key files that changed; True if any did. A file that cannot be used leaves the last good key."""
        changed = False
        for name, domain in self._domains.items():
            if domain.mode != "Sign":
                continue
            changed |= self._reload_one(name, "", domain.selector, domain.key_file, self._keys)
            if domain.ed25519 is not None:
                second = domain.ed25519
                changed |= self._reload_one(name, "ed25519.", second.selector, second.key_file, self._second)
            if domain.next is not None:
                changed |= self._reload_one(name, "next.", domain.next.selector, domain.next.key_file, self._next)
            if domain.next is not None and domain.next.ed25519 is not None:
                second = domain.next.ed25519
                changed |= self._reload_one(name, "next.ed25519.", second.selector, second.key_file, self._next_second)
        if changed:
            self._begin_epoch()
        return changed

    def is_old(self) -> bool:
        """Some of what was signed may be a day old: `renew`, long before it expires (`mail.dkim.EXPIRES_AFTER_S`)."""
        return self._clock.monotonic() - self._began >= _RENEWED_AFTER_S

    def _begin_epoch(self) -> None:
        self._epoch += 1
        self._began = self._clock.monotonic()
        self._kept.clear()

    def _all(self) -> tuple[dict[str, SigningKey], ...]:
        return (self._keys, self._second, self._next, self._next_second)

    def _reload_one(self, name: str, part: str, selector: str, file: str, keys: dict[str, SigningKey]) -> bool:
        field = f"domains[{name}].{part}keyFile"
        try:
            found = Path(file).stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if self._stamps.get(field) == stamp:
                return False
            key = _load(Path(file), rsa=not part.endswith("ed25519."))
        except (OSError, ConfigError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            if not part.startswith("next."):  # no mail waits for a key that does not sign yet
                self.problems.setdefault(name, f"{field} {file}: {reason}")
            return False
        self._stamps[field] = stamp
        keys[name] = SigningKey(selector, key, f"{selector}._domainkey.{name}")
        if self.problems.get(name, "").startswith(f"{field} "):
            del self.problems[name]
        return True

    def publications(self) -> tuple[Publication, ...]:
        """What DNS has to answer for the keys in use; those of domains whose record is not verified are left out."""
        return tuple(
            Publication(name, one.record_name, one.key.public_half(), holds_mail=keys is self._keys)
            for keys in self._all()
            for name, one in keys.items()
            if self._domains[name].verify_record
        )

    def renew(self) -> None:
        """What was signed so far does not leave: another set of keys signs from now on."""
        self._begin_epoch()

    def trial(self, record_name: str, now: float) -> bytes:
        """A small message signed with the key of this record, for a check of key and record; empty: it is gone."""
        for keys in self._all():
            for name, one in keys.items():
                if one.record_name == record_name:
                    content = b"From: <postmaster@%b>\r\nSubject: trial\r\n\r\n" % name.encode("ascii")
                    return one.key.sign(cover(content), domain=name, selector=one.selector, now=now) + content
        return b""

    # -- signing

    def signature(self, message: Message, then: Then) -> bytes | Held | None:
        """The DKIM-Signature field with its line end (b"": goes unsigned), or why not; None: `then` gets it later."""
        held = self.why_held(message)
        if held is not None:
            return held
        domain = self._domain_of(message)
        if domain is None or domain.mode == "Off":
            return b""
        kept = self._kept.get(message.id)
        if kept is not None:
            return kept
        waiting = self._under_way.get(message.id)
        if waiting is not None:
            waiting[1].append(then)
            return None
        self._under_way[message.id] = (message, [then])
        keys = self._keys_of(domain)
        self._jobs.put((message.id, message.body, domain.name, keys, self._clock.now(), self._epoch))
        return None

    def why_held(self, message: Message) -> Held | None:
        """Why the message must not leave now, or None."""
        domain = self._domain_of(message)
        if domain is None:
            if self._is_our_own(message):
                return None  # every domain says Off: there is nobody to sign for us
            return Held(message.from_domain, f"no key is configured for From domain {message.from_domain}")
        if domain.mode == "Off":
            return None
        key = self._keys.get(domain.name)
        if key is None:
            return Held(domain.name, self.problems.get(domain.name, "the key has not been read"))
        if domain.verify_record and not self._is_live(key.record_name):
            return Held(domain.name, f"DNS does not answer {key.record_name} with our key")
        return None

    def _keys_of(self, domain: SigningDomain) -> tuple[SigningKey, ...]:
        """Those that sign now: nothing is signed for a record that nobody can find."""
        first, second = self._keys[domain.name], self._second.get(domain.name)
        if second is None or (domain.verify_record and not self._is_live(second.record_name)):
            return (first,)
        return (first, second)

    def holds_some(self) -> bool:
        """Mail of some domain must not leave now."""
        return any(
            domain.mode == "Sign"
            and not (name in self._keys and (not domain.verify_record or self._is_live(self._keys[name].record_name)))
            for name, domain in self._domains.items()
        )

    @staticmethod
    def _is_our_own(message: Message) -> bool:
        """A notification that no client submitted."""
        return not message.envelope.sender and not message.client

    def _domain_of(self, message: Message) -> SigningDomain | None:
        """The From domain's own entry or that of the nearest parent (relaxed alignment, RFC 9989).

        Our own notifications, which no client submitted, are signed by the lane's first domain that signs.
        """
        name = message.from_domain
        while name:
            found = self._domains.get(name)
            if found is not None:
                return found
            name = name.partition(".")[2]
        if not self._is_our_own(message):
            return None
        return next((domain for domain in self._domains.values() if domain.mode == "Sign"), None)

    def close(self) -> None:
        """Ends the threads after what they are at; nobody is called back any more."""
        self._under_way.clear()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _done(self, results: list[_Signed]) -> None:
        for message_id, epoch, field in results:
            known = self._under_way.pop(message_id, None)
            if known is None:  # closed meanwhile
                continue
            if isinstance(field, bytes) and epoch == self._epoch:
                self._keep(message_id, field)
            for then in known[1]:
                found = field if epoch == self._epoch else self.signature(known[0], then)
                if found is not None:
                    then(found)

    def _keep(self, message_id: int, field: bytes) -> None:
        self.signed += 1
        if len(self._kept) >= _KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[message_id] = field

    # -- in the threads

    def _work(self) -> None:
        while True:
            batch = self._take()
            if batch is None:
                return
            results = [(job[0], job[-1], _sign(job)) for job in batch]
            try:
                self._loop.call_soon_threadsafe(self._done, results)
            except RuntimeError:  # the loop has ended before us
                return

    def _take(self) -> list[_Job] | None:
        """What waits, shared fairly among the threads; None to end."""
        first = self._jobs.get()
        if first is None:
            return None
        batch = [first]
        for _ in range(min(self._jobs.qsize() // len(self._threads), _BATCH - 1)):
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)
                break
            batch.append(job)
        return batch


def _load(path: Path, *, rsa: bool) -> DkimKey:
    """The key of this kind; raises ConfigError, OSError."""
    key = DkimKey.load(path.read_bytes())
    if key.is_rsa is not rsa:
        raise ConfigError(f"the key is of another kind: {'RSA' if rsa else 'Ed25519'} is wanted here")
    return key


def _sign(job: _Job) -> bytes | Held:
    """The field, or why there is none: what cannot be signed must not end the thread that signs the others."""
    _, content, domain, keys, now, _ = job
    try:
        covered = cover(content)
        return b"".join([one.key.sign(covered, domain=domain, selector=one.selector, now=now) for one in keys])
    except Exception as error:  # noqa: BLE001 -- a thread's edge; the reason is shown by `explain`
        return Held(domain, f"cannot be signed with selector {keys[0].selector}: {error}")
