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
from dataclasses import replace
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
from lane_relay.socks.protocol import Failure, Handshake, Refused
from lane_relay.socks.tunnel import Door, door_of, open_socket

__all__ = ["Gate", "claim_from"]

DIAL_TIMEOUT_S: Final = 5.0  # three SYNs (1 s, 3 s: RFC 6298); a path that needs more is no path for mail
ANSWER_TIMEOUT_S: Final = 5.0


def claim_from(egress: Egress) -> Claim:
    """The claim that a configuration makes; raises ConfigError that names a reflector which is no tcp://host:port."""
    address = wire.plain_address(str(egress.address)) if egress.address else ""
    reflectors, door = egress.proof.reflectors if egress.proof else (), door_of(egress)
    return Claim(
        address=address,
        source=wire.plain_address(str(egress.source)) if egress.source else "",
        reflectors=tuple(
            one for one in dict.fromkeys(_reflector_from(text) for text in reflectors) if _may_answer(one, address)
        ),
        way="" if door is None else door.way,
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


def _may_answer(reflector: Reflector, address: str) -> bool:
    """A reflector named by an address of the other family cannot say anything about this one; a name may have both."""
    try:
        return not address or ip_address(reflector.host).version == ip_address(address).version
    except ValueError:
        return True


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
        withheld: Callable[[str], str] = lambda _address: "",
    ) -> None:
        """`withheld(address)`: why nothing may leave from it though it is proved, or an empty string."""
        self._withheld = withheld
        self._dial_timeout_s = dial_timeout_s
        self._translated_age_s = translated_age_s
        self._clock = clock
        self._random = random
        self._egress = egress
        self._proof = Proof(claim_from(egress), clock.now())
        self._open = self.status.may_send
        self._told = _words(self.status)
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
        """The state as of now; a proved address that is withheld is told as one that is not proved."""
        status = self._proof.status
        why = self._withheld(status.address) if status.may_send and status.address else ""
        return replace(status, state=ProofState.UNPROVED, message=why, at=0.0) if why else status

    @property
    def is_open(self) -> bool:
        """Whether mail may leave now."""
        return self._open

    def may_send(self) -> bool:
        """The same; also tells the gate that mail flows."""
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
        self._proof.change_claim(claim, self._clock.now())
        self._failures = 0
        self.review()
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
            # wait_for of Python 3.11 forgets a cancellation in the turn of the wake
            async with asyncio.timeout(seconds):
                await self._wake.wait()
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
            self._proof.observe(observation)
            self.review()

    def review(self) -> None:
        """Opens or shuts the gate, keeps the shut time, and tells whoever listens that the state is another."""
        status = self.status
        self._open = status.may_send
        if self._open and self._shut_since is not None:
            self.unproved_s += self._clock.monotonic() - self._shut_since
            self._shut_since = None
        elif not self._open and self._shut_since is None:
            self._shut_since = self._clock.monotonic()
        if _words(status) != self._told:
            self._told = _words(status)
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
        door = door_of(self._egress)
        if door is not None:
            return await self._ask_through(door, reflector, key, str(found[0][4][0]))
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
        """Binds, connects, asks."""
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
        return await self._question(reflector, key, sock)

    async def _ask_through(self, door: Door, reflector: Reflector, key: bytes, address: str) -> Observation:
        """The same through a proxy; one that says it left from another address is believed."""
        tried: list[Handshake] = []
        try:
            async with asyncio.timeout(self._dial_timeout_s):
                found = await open_socket(door, address, reflector.port, tried)
        except TimeoutError:
            if tried and tried[0].asked:
                return self._seen(reflector, Outcome.TIMED_OUT)
            return self._seen(reflector, Outcome.NO_PROXY, detail=f"{door} did not answer in time")
        if isinstance(found, Refused):
            outcome = _OF_PROXY[found.failure]
            detail = "" if outcome in (Outcome.REFUSED, Outcome.TIMED_OUT) else f"{door}: {found.text}"
            return self._seen(reflector, outcome, detail=detail)
        sock, connected = found
        with sock:
            if door.is_wrong(connected):
                return self._seen(reflector, Outcome.SEEN, connected.bound, f"proxy {door} says that it left from")
            return await self._question(reflector, key, sock)

    async def _question(self, reflector: Reflector, key: bytes, sock: socket.socket) -> Observation:
        """Asks over a connection that stands, and reads one line."""
        loop = asyncio.get_running_loop()
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


_OF_PROXY: Final = {
    Failure.PROXY: Outcome.NO_PROXY,
    Failure.REFUSED: Outcome.REFUSED,
    Failure.TIMED_OUT: Outcome.TIMED_OUT,
    Failure.UNREACHABLE: Outcome.UNREACHABLE,
}


def _words(status: ProofStatus) -> tuple[ProofState, str]:
    """What listeners are told of."""
    return status.state, status.message


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
