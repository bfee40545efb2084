"""Whether the DKIM selectors that we sign with can be found by those who verify.

Mail of a signing domain waits until `SELECTOR._domainkey.DOMAIN` answers with this very public key; signed earlier it
would fail everywhere. Once live an outage of DNS keeps it live; only a definite other answer takes that back.
Before it: configuration and `answers`. After it: the gate that `deliver` asks for each message, and `/v1`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec import Struct

from lane_api.relayconfig import SigningDomain
from lane_api.selector import SelectorFinding
from lane_relay.clock import Clock
from lane_relay.resolve.answers import Answer, Status

__all__ = ["AskTxt", "SelectorState", "SelectorWatch", "judge_record"]

AskTxt = Callable[[str], Awaitable[Answer[str]]]

_UNTIL_LIVE_S: Final = 15.0
_WHEN_LIVE_S: Final = 3600.0


class SelectorState(Struct, frozen=True):
    """What is known of one domain's selector."""

    domain: str
    name: str
    """Of the TXT record."""
    live: bool = False
    finding: SelectorFinding = SelectorFinding.UNCHECKED
    detail: str = "not checked yet"
    checked_at: float = 0.0
    """Unix time, seconds; 0: never."""


def judge_record(answer: Answer[str], public_key: str) -> tuple[SelectorFinding, str]:
    """(what DNS holds, why it is that). `public_key`: base64, as in the record's `p=`.

    Two records at one selector are undefined (RFC 6376 section 3.6.2.2): a receiver may pick either.
    """
    if not answer.is_definite:
        return SelectorFinding.UNANSWERED, f"DNS does not answer ({answer.status})"
    if answer.status is not Status.FOUND:
        return SelectorFinding.ABSENT, "no TXT record is published"
    keys = [key for key in map(_published_key, answer.records) if key is not None]
    if len(keys) > 1:
        return SelectorFinding.OTHER, f"{len(keys)} keys are published at one name, of which receivers take any"
    if public_key in keys:
        return SelectorFinding.PUBLISHED, "published"
    if "" in keys:
        return SelectorFinding.OTHER, "the published key is revoked (an empty p=)"
    return SelectorFinding.OTHER, "another key is published" if keys else "the TXT record is no DKIM key"


def _published_key(record: str) -> str | None:
    """The `p=` of a key record (RFC 6376 section 3.6.1), white space dropped; None if there is none."""
    for tag in record.split(";"):
        name, equals, value = tag.partition("=")
        if equals and name.strip() == "p":
            return "".join(value.split())
    return None


class SelectorWatch:
    """Watches the selectors of all signing domains. `txt` must ask past caches (`dns.ask_txt_afresh`)."""

    def __init__(self, txt: AskTxt, clock: Clock, on_live: Callable[[str], None]) -> None:
        """`on_live(domain)` is called on the loop each time a domain's mail may go."""
        self._txt = txt
        self._clock = clock
        self._on_live = on_live
        self._keys: dict[str, tuple[str, str]] = {}
        """Domain -> (record name, public key)."""
        self._states: dict[str, SelectorState] = {}
        self._unverified: set[str] = set()
        self._due: dict[str, float] = {}
        self._changed = asyncio.Event()

    def apply(self, domains: tuple[SigningDomain, ...], public_keys: Mapping[str, str]) -> None:
        """The domains to watch, with the base64 public keys of those whose key could be read."""
        keys = {
            domain.name: (f"{domain.selector}._domainkey.{domain.name}", public_keys[domain.name])
            for domain in domains
            if domain.mode == "Sign" and domain.verify_record and domain.name in public_keys
        }
        self._unverified = {domain.name for domain in domains if domain.mode == "Sign" and not domain.verify_record}
        changed = {domain for domain, key in keys.items() if self._keys.get(domain) != key}
        self._keys = keys
        self._states = {
            domain: SelectorState(domain, name) if domain in changed else self._states[domain]
            for domain, (name, _) in keys.items()
        }
        self._due = {domain: 0.0 if domain in changed else self._due[domain] for domain in keys}
        for domain in self._unverified:
            self._on_live(domain)
        self._changed.set()

    def is_live(self, domain: str) -> bool:
        """Mail signed for this domain may leave."""
        state = self._states.get(domain)
        return state.live if state is not None else domain in self._unverified

    def states(self) -> tuple[SelectorState, ...]:
        """All that is known, for `/v1`."""
        return tuple(self._states.values())

    async def run(self) -> None:
        """Checks for ever, one domain's check after the other's; ends by cancellation."""
        while True:
            self._changed.clear()
            now = self._clock.monotonic()
            for domain in [domain for domain, due in self._due.items() if due <= now]:
                if domain in self._keys:
                    await self.check(domain)
            await self._sleep_until(min(self._due.values(), default=now + _WHEN_LIVE_S))

    async def check(self, domain: str) -> None:
        """Looks once."""
        name, public_key = self._keys[domain]
        answer = await self._txt(name)
        if self._keys.get(domain) != (name, public_key):
            return  # changed while we asked; the new one is due at once
        before = self._states[domain].live
        finding, detail = judge_record(answer, public_key)
        after = before if finding is SelectorFinding.UNANSWERED else finding is SelectorFinding.PUBLISHED
        self._states[domain] = SelectorState(domain, name, after, finding, detail, self._clock.now())
        self._due[domain] = self._clock.monotonic() + (_WHEN_LIVE_S if after else _UNTIL_LIVE_S)
        if after and not before:
            self._on_live(domain)

    async def _sleep_until(self, due: float) -> None:
        try:
            async with asyncio.timeout(max(due - self._clock.monotonic(), 0.0)):
                await self._changed.wait()
        except TimeoutError:
            return
