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
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from lane_api.relayconfig import SigningDomain
from lane_relay.clock import Clock
from lane_relay.deliver.prepared import Held
from lane_relay.errors import ConfigError
from lane_relay.mail.dkim import DkimKey, prepare
from lane_relay.records import Message

__all__ = ["Signer", "available_cores", "quota_cores"]

Then = Callable[[bytes | Held], None]
_Job = tuple[int, bytes, str, str, DkimKey, float, int]
"""Message id, content, domain, selector, key, Unix time, epoch."""
_Signed = tuple[int, int, bytes | Held]
"""Message id, epoch, and the field or why there is none."""

_BATCH: Final = 16
_KEPT: Final = 4096
"""Signatures kept for further recipients and retries; 600 bytes each."""
_CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")


def quota_cores(cpu_max: str, cores: int) -> int:
    """Whole threads that a cgroup's `cpu.max` (`quota period` or `max period`) lets run at once, at most `cores`."""
    quota, _, period = cpu_max.strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or not int(period):
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
    """Signs for the configured domains. `is_live(domain)` tells whether its selector can be found."""

    def __init__(self, is_live: Callable[[str], bool], clock: Clock, threads: int | None = None) -> None:
        """`threads`: default: as many as cores."""
        self._is_live = is_live
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._domains: dict[str, SigningDomain] = {}
        self._keys: dict[str, DkimKey] = {}
        self._stamps: dict[str, tuple[int, int, int]] = {}
        self.problems: dict[str, str] = {}
        """By domain: why its key is not in use."""
        self._kept: dict[int, bytes] = {}
        self._epoch = 0
        """Of domains and keys: what was signed in an earlier one does not leave."""
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
        self._keys = {name: key for name, key in self._keys.items() if before.get(name) == self._domains.get(name)}
        self._stamps.clear()
        self._begin_epoch()
        self.problems.clear()
        self.reload()

    def reload(self) -> bool:
        """Reads key files that changed; True if any did. A file that cannot be used leaves the last good key."""
        changed = False
        for name, domain in self._domains.items():
            if domain.mode == "Sign":
                changed |= self._reload_one(name, Path(domain.key_file))
        if changed:
            self._begin_epoch()
        return changed

    def _begin_epoch(self) -> None:
        self._epoch += 1
        self._kept.clear()

    def _reload_one(self, name: str, path: Path) -> bool:
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if self._stamps.get(name) == stamp:
                return False
            key = DkimKey.load(path.read_bytes())
        except (OSError, ConfigError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self.problems[name] = f"domains[{name}].keyFile {path}: {reason}"
            return False
        self._stamps[name] = stamp
        self._keys[name] = key
        self.problems.pop(name, None)
        return True

    def public_keys(self) -> Mapping[str, str]:
        """By domain, the base64 that its record publishes as `p=`."""
        return {name: key.public_record().rpartition("p=")[2] for name, key in self._keys.items()}

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
        key = self._keys[domain.name.lower()]
        self._jobs.put((message.id, message.body, domain.name, domain.selector, key, self._clock.now(), self._epoch))
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
        if domain.name.lower() not in self._keys:
            return Held(domain.name, self.problems.get(domain.name, "the key has not been read"))
        if not self._is_live(domain.name):
            return Held(domain.name, f"DNS does not answer {domain.selector}._domainkey.{domain.name} with our key")
        return None

    def holds_some(self) -> bool:
        """Mail of some domain must not leave now."""
        return any(
            domain.mode == "Sign" and not (name in self._keys and self._is_live(domain.name))
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


def _sign(job: _Job) -> bytes | Held:
    """The field, or why there is none: what cannot be signed must not end the thread that signs the others."""
    _, content, domain, selector, key, now, _ = job
    try:
        return key.sign(prepare(content, domain=domain, selector=selector, now=now))
    except Exception as error:  # noqa: BLE001 -- a thread's edge; the reason is shown by `explain`
        return Held(domain, f"cannot be signed with selector {selector}: {error}")
