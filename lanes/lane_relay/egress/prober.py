"""Asks the reflectors, over the very address and port that mail uses, and holds the gate that `deliver` asks.

Thin: what an answer means is `proof`'s business, what bytes mean is `wire`'s. This module dials and waits.
Invariant: one round at a time; a round asks all reflectors at once and ends within DIAL_TIMEOUT_S + ANSWER_TIMEOUT_S.
Before it: the configuration's `egress`. After it: `Gate.may_send`.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from lane_api.names import REFLECTOR_PORT
from lane_api.relayconfig import Egress
from lane_relay.clock import Clock
from lane_relay.egress import wire
from lane_relay.egress.proof import (
    TRANSLATED_PROOF_AGE_S,
    Claim,
    Observation,
    Outcome,
    Proof,
    ProofState,
    ProofStatus,
    Reflector,
    retry_delay,
)
from lane_relay.errors import ConfigError

__all__ = ["Gate", "claim_from"]

DIAL_TIMEOUT_S: Final = 5.0  # three SYNs (1 s, 3 s: RFC 6298); a path that needs more is no path for mail
ANSWER_TIMEOUT_S: Final = 5.0


def claim_from(egress: Egress) -> Claim:
    """The claim that a configuration makes; raises ConfigError that names a reflector which is no tcp://host:port."""
    reflectors = egress.proof.reflectors if egress.proof else ()
    return Claim(
        address=wire.plain_address(str(egress.address)) if egress.address else "",
        source=wire.plain_address(str(egress.source)) if egress.source else "",
        reflectors=tuple(dict.fromkeys(_reflector_from(text) for text in reflectors)),
    )


def _reflector_from(text: str) -> Reflector:
    """Host and port of `tcp://host[:port]`."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme != "tcp" or not parts.hostname or parts.path not in ("", "/"):
        raise ConfigError(
            f"egress.proof.reflectors: {text!r} is no reflector: write tcp://host:port, port 25 by default"
        )
    return Reflector(parts.hostname, port or REFLECTOR_PORT)


class Gate:
    """Whether mail may leave, kept true by asking reflectors; `run` is its only task."""

    def __init__(
        self,
        egress: Egress,
        clock: Clock,
        random: Callable[[], float],
        *,
        dial_timeout_s: float = DIAL_TIMEOUT_S,
        translated_age_s: float = TRANSLATED_PROOF_AGE_S,
    ) -> None:
        self._dial_timeout_s = dial_timeout_s
        self._translated_age_s = translated_age_s
        self._clock = clock
        self._random = random
        self._egress = egress
        self._proof = Proof(claim_from(egress), clock.now())
        self._open = self._proof.status.may_send
        self._failures = 0
        self._wake = asyncio.Event()
        self._flow_wakes = False
        self.on_change: Callable[[ProofStatus], None] = lambda _status: None
        """Called on the loop whenever the state changes."""
        self.unproved_s = 0.0
        """Seconds in this process life during which the gate was shut, up to `_shut_since`."""
        self._shut_since = None if self._open else clock.monotonic()

    @property
    def status(self) -> ProofStatus:
        """The state as of now."""
        return self._proof.status

    def may_send(self) -> bool:
        """Whether mail may leave now; also tells the gate that mail flows."""
        if self._flow_wakes:
            self._flow_wakes = False
            self._wake.set()
        return self._open

    def shut_seconds(self) -> float:
        """Seconds in this process life during which nothing could leave."""
        return self.unproved_s + (0.0 if self._shut_since is None else self._clock.monotonic() - self._shut_since)

    def apply(self, egress: Egress) -> None:
        """Takes a new configuration; raises ConfigError. A new address or source shuts the gate until proved."""
        if egress == self._egress:
            return
        claim = claim_from(egress)
        self._egress = egress
        before = self._proof.status
        self._proof.change_claim(claim, self._clock.now())
        self._failures = 0
        self._announce(before)
        self._wake.set()

    async def run(self) -> None:
        """Asks in rounds for ever; cancelling it leaves the gate as it stands."""
        while True:
            self._wake.clear()
            if self._proof.claim.address and self._proof.claim.reflectors:
                await self._round()
            await self._pause()

    async def _pause(self) -> None:
        """Waits until the next round is due, something woke it, or, where the engine translates, mail flows."""
        state = self._proof.status.state
        if not self._proof.claim.address or not self._proof.claim.reflectors:
            await self._wake.wait()
            return
        every = self._egress.proof.every if self._egress.proof else self._translated_age_s
        if state is not ProofState.PROVED:
            await self._wait(min(every, retry_delay(self._failures, self._random())))
            self._failures += 1
            return
        self._failures = 0
        if self._proof.claim.source or every <= self._translated_age_s:
            await self._wait(every)
        elif not await self._wait(self._translated_age_s):
            self._flow_wakes = True  # the next may_send asks for a new proof
            await self._wait(every - self._translated_age_s)
            self._flow_wakes = False

    async def _wait(self, seconds: float) -> bool:
        """Whether something woke us before the time was over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        return self._wake.is_set()

    async def _round(self) -> None:
        """Asks every reflector at once and judges each answer as it comes."""
        claim = self._proof.claim
        self._proof.begin_round()
        try:
            key = wire.parse_key(await asyncio.to_thread(Path(self._egress.proof.key_file).read_bytes))  # type: ignore[union-attr]  # a claim with reflectors has a proof
        except (OSError, ValueError) as failed:
            for reflector in claim.reflectors:
                self._take(claim, self._seen(reflector, Outcome.NO_KEY, detail=str(failed)))
            return
        async with asyncio.TaskGroup() as group:
            for reflector in claim.reflectors:
                group.create_task(self._ask_and_take(reflector, claim, key))

    async def _ask_and_take(self, reflector: Reflector, claim: Claim, key: bytes) -> None:
        """One reflector, asked and judged."""
        self._take(claim, await self._ask(reflector, claim, key))

    def _take(self, claim: Claim, observation: Observation) -> None:
        """Judges one answer, unless the claim it was asked for is no longer ours."""
        if claim is self._proof.claim:
            before = self._proof.status
            self._proof.observe(observation)
            self._announce(before)

    def _announce(self, before: ProofStatus) -> None:
        """Opens or shuts the gate, keeps the shut time, and tells whoever listens that the state is another."""
        status = self._proof.status
        self._open = status.may_send
        if self._open and self._shut_since is not None:
            self.unproved_s += self._clock.monotonic() - self._shut_since
            self._shut_since = None
        elif not self._open and self._shut_since is None:
            self._shut_since = self._clock.monotonic()
        if (status.state, status.message) != (before.state, before.message):
            self.on_change(status)

    def _seen(self, reflector: Reflector, outcome: Outcome, address: str = "", detail: str = "") -> Observation:
        """An observation made now."""
        return Observation(reflector, outcome, self._clock.now(), address, detail)

    async def _ask(self, reflector: Reflector, claim: Claim, key: bytes) -> Observation:
        """What came of asking one reflector once; never raises for what network or peer do."""
        family = socket.AF_INET6 if ip_address(claim.address).version == 6 else socket.AF_INET
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._dial_timeout_s):
                found = await loop.getaddrinfo(reflector.host, reflector.port, family=family, type=socket.SOCK_STREAM)
        except (socket.gaierror, TimeoutError, UnicodeError) as failed:
            return self._seen(reflector, Outcome.NO_NAME, detail=str(failed))
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as failed:  # no descriptor is left, or the kernel does not speak this family
            return self._seen(reflector, Outcome.NO_SOURCE, detail=f"no socket: {failed.strerror}")
        with sock:
            sock.setblocking(False)
            return await self._converse(reflector, claim, key, sock, found[0][4])

    async def _converse(
        self, reflector: Reflector, claim: Claim, key: bytes, sock: socket.socket, where: tuple[str, int] | object
    ) -> Observation:
        """Binds, connects, asks, reads one line."""
        loop = asyncio.get_running_loop()
        try:
            if claim.source:
                sock.bind((claim.source, 0))
        except OSError as failed:
            return self._seen(reflector, Outcome.NO_SOURCE, detail=f"{claim.source}: {failed.strerror}")
        try:
            async with asyncio.timeout(self._dial_timeout_s):
                await loop.sock_connect(sock, where)  # type: ignore[arg-type]  # as getaddrinfo gave it
        except TimeoutError:
            return self._seen(reflector, Outcome.TIMED_OUT)
        except OSError as failed:
            outcome = _outcome_of(failed)
            detail = os.strerror(failed.errno or 0) if outcome is Outcome.UNREACHABLE else ""
            return self._seen(reflector, outcome, detail=detail)
        bound = wire.plain_address(sock.getsockname()[0])
        if claim.source and bound != claim.source:
            return self._seen(reflector, Outcome.SEEN, bound)
        nonce = secrets.token_bytes(wire.NONCE_BYTES)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                line = await _exchange(loop, sock, wire.request(nonce))
        except (TimeoutError, OSError):
            line = None
        if line is None:
            return self._seen(reflector, Outcome.SILENT)
        said = wire.parse_answer(line, key, nonce)
        if isinstance(said, wire.BadAnswer):
            return self._seen(reflector, Outcome.BAD_ANSWER, detail=said.reason)
        return self._seen(reflector, Outcome.SEEN, said.address)


def _outcome_of(failed: OSError) -> Outcome:
    """What a failed connect means; the kernel's own time-out is one too."""
    if failed.errno == errno.ECONNREFUSED:
        return Outcome.REFUSED
    return Outcome.TIMED_OUT if failed.errno == errno.ETIMEDOUT else Outcome.UNREACHABLE


async def _exchange(loop: asyncio.AbstractEventLoop, sock: socket.socket, asked: bytes) -> bytes | None:
    """The line that comes back, or None if the far end hangs up or talks too long."""
    await loop.sock_sendall(sock, asked)
    line = wire.LineBuffer(wire.ANSWER_LIMIT)
    while True:
        data = await loop.sock_recv(sock, wire.ANSWER_LIMIT)
        if not data:
            return None
        complete = line.feed(data)
        if complete is not None or line.overflow:
            return complete
