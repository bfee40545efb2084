"""Opens a connection through a SOCKS5 proxy: connects, walks the handshake, hands the socket over.

Thin: what the octets mean is `protocol`'s business. The callers set time limits by cancelling.
Invariant: after `Connected` the socket has given nothing of what the target said.
Before it: the configuration's `egress.proxy`. After it: `deliver` and the prober, which use the socket as any other.
"""

import asyncio
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lane_api.relayconfig import Egress, SecondAddress
from lane_relay.socks.protocol import Connected, Credentials, Failure, Handshake, Refused

__all__ = ["Door", "door_of", "open_socket"]

_AUTH_FILES: Final = ("username", "password")


@dataclass(frozen=True, slots=True)
class Door:
    """One proxy, and what tells its address from others."""

    host: str
    port: int
    bound: str
    """What it is to say that it leaves from, canonical."""
    auth_dir: str = field(default="", repr=False)
    """Folder with `username` and `password`, read for each connection so that a changed Secret is used; empty: none."""

    def __str__(self) -> str:
        """For messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def way(self) -> str:
        """What leaves through it leaves by, to be compared."""
        return f"{self} as {self.bound}"

    def credentials(self) -> Credentials | None:
        """What the folder holds; raises ValueError that names the folder where it holds no such thing."""
        if not self.auth_dir:
            return None
        folder = Path(self.auth_dir)
        try:
            user, password = (folder.joinpath(name).read_text().strip() for name in _AUTH_FILES)
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"{folder} has no readable username and password") from None
        return Credentials(user, password)

    def is_wrong(self, connected: Connected) -> bool:
        """The proxy says that it left from another address than the slot's."""
        return connected.bound not in ("", self.bound)


def door_of(egress: Egress | SecondAddress) -> Door | None:
    """The proxy of a configuration, if it has one."""
    proxy = egress.proxy
    if proxy is None:
        return None
    return Door(str(proxy.host), proxy.port, str(proxy.bound or egress.address), proxy.auth_dir or "")


async def open_socket(
    door: Door, address: str, port: int, tried: list[Handshake] | None = None
) -> tuple[socket.socket, Connected] | Refused:
    """A socket to the target, or why there is none; whoever cancels closes nothing, for it closes itself.

    `tried` gets the handshake, so that who gives up knows how far it came.
    """
    try:
        handshake = Handshake(address, port, door.credentials())
    except ValueError as error:
        return Refused(Failure.PROXY, str(error))
    if tried is not None:
        tried.append(handshake)
    family = socket.AF_INET6 if ":" in door.host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:  # no descriptor is left, or the kernel does not speak this family
        return Refused(Failure.PROXY, f"no socket: {error.strerror}")
    try:
        outcome = await _walk(sock, door, handshake)
    except BaseException:
        sock.close()
        raise
    if isinstance(outcome, Refused):
        sock.close()
        return outcome
    return sock, outcome


async def _walk(sock: socket.socket, door: Door, handshake: Handshake) -> Connected | Refused:
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(sock, (door.host, door.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each step is one small write
        said = handshake.begin()
        while handshake.outcome is None:
            if said:
                await loop.sock_sendall(sock, said)
            said = handshake.receive(await loop.sock_recv(sock, handshake.wants))
    except OSError as error:
        handshake.break_off(os.strerror(error.errno) if error.errno else str(error))
    return handshake.outcome or Refused(Failure.PROXY, "it said nothing")
