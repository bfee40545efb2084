"""The MTA-STS policies that a slot has, in memory and in one file: bounded in number and in bytes.

A policy's text may have 64 KB, of which short host names make more than four times as much in memory: 20,000 of them,
published by whoever wants mail from us, would be gigabytes.
Invariants: never more than both bounds; the policy that was used longest ago is the first to go; the file is replaced
whole or not at all. Before it: `sts`. After it: nothing.
"""

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from lane_relay.errors import NOT_OURS
from lane_relay.resolve.sts_policy import StsPolicy

__all__ = ["PolicyStore"]

_log = logging.getLogger(__name__)

_MAX_POLICIES: Final = 20_000
_MAX_BYTES: Final = 32 * 2**20
"""Of memory; with the hosts that mail domains have, 20,000 policies take a third of it."""
_A_POLICY: Final = 512
"""Bytes of its objects, its domain and its place, without hosts."""
_A_HOST: Final = 60
"""Bytes that a host's name takes beside its letters (measured: 57 and what malloc rounds up)."""


class PolicyStore:
    """Policies by domain."""

    def __init__(
        self, file: Path | None, now: float, *, most: int = _MAX_POLICIES, most_bytes: int = _MAX_BYTES
    ) -> None:
        """`file`: where policies outlive the process; it is read now, without what has ended."""
        self._file = file
        self._most = most
        self._most_bytes = most_bytes
        self._policies: dict[str, StsPolicy] = {}
        """The one used longest ago first."""
        self.bytes = 0
        """What they take in memory, about."""
        self._changed = False
        for domain, policy in (_load(file) if file is not None else {}).items():
            if policy.expires_at > now:
                self._add(domain, policy)

    def __len__(self) -> int:
        return len(self._policies)

    def get(self, domain: str) -> StsPolicy | None:
        """The policy, be it over or not."""
        return self._policies.get(domain)

    def use(self, domain: str) -> None:
        """The domain's policy is the last to go."""
        self._policies[domain] = self._policies.pop(domain)

    def put(self, domain: str, policy: StsPolicy) -> None:
        """Another policy of this domain; the ones used longest ago make room."""
        self._add(domain, policy)
        self._changed = True

    def _add(self, domain: str, policy: StsPolicy) -> None:
        self._drop(domain)
        self._policies[domain] = policy
        self.bytes += _cost(domain, policy)
        while len(self._policies) > self._most or (self.bytes > self._most_bytes and len(self._policies) > 1):
            self._drop(next(iter(self._policies)))

    def _drop(self, domain: str) -> None:
        policy = self._policies.pop(domain, None)
        if policy is not None:
            self.bytes -= _cost(domain, policy)

    def to_save(self, now: float) -> bytes | None:
        """Forgets what has ended and gives the file's content, if there is anything new to keep."""
        if not self._changed or self._file is None:
            return None
        self._changed = False
        for domain in [domain for domain, policy in self._policies.items() if policy.expires_at <= now]:
            self._drop(domain)
        return msgspec.json.encode(self._policies)

    def write(self, content: bytes) -> None:
        """Keeps what `to_save` gave, for the next process; it may be called in a thread. Raises OSError."""
        assert self._file is not None  # noqa: S101 -- to_save gives nothing without
        aside = self._file.with_suffix(".new")
        with aside.open("wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        aside.replace(self._file)


def _cost(domain: str, policy: StsPolicy) -> int:
    return _A_POLICY + len(domain) + sum([_A_HOST + len(host) for host in policy.mx])


def _load(file: Path) -> dict[str, StsPolicy]:
    """What the file has; a damaged one costs a fetch a domain."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, StsPolicy])
    except FileNotFoundError:
        return {}
    except (OSError, *NOT_OURS) as error:
        _log.warning("the kept MTA-STS policies cannot be read and are fetched again: %s", error)
        return {}
