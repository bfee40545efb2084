"""One CONNECT request to a SOCKS5 proxy, the client's side: bytes in, bytes and an outcome out (RFC 1928, RFC 1929).

Theory of operation. Each step writes, then wants a certain number of octets:

    Method    -> the methods that we offer     <- 2: version, the method chosen
    Auth      -> user name and password        <- 2: version, status           (only where there are credentials)
    Request   -> CONNECT, address, port        <- 4: version, reply, reserved, kind of address
    Bound                                      <- the address and port that the proxy bound, as long as its kind says

Targets are addresses, never names: the slot's own resolver decides where mail goes, and no DNS is asked at the proxy.
With credentials that method alone is offered: a proxy may choose the address by the user, and must not forget to ask.
Invariant: no octet is wanted beyond the proxy's last word, for the server behind it may have spoken already.
Before it: `tunnel`, which reads and writes. After it: the target, as if there were no proxy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Final

__all__ = ["MAX_CREDENTIAL", "Connected", "Credentials", "Failure", "Handshake", "Refused"]

MAX_CREDENTIAL: Final = 255
"""Octets of a user name or password (RFC 1929 section 2); at least one."""
_VERSION, _AUTH_VERSION = 5, 1
_NO_AUTH, _PASSWORD, _NO_METHOD = 0x00, 0x02, 0xFF
_CONNECT: Final = 1
_V4, _NAME, _V6 = 1, 3, 4
_PORT_OCTETS: Final = 2
_ADDRESS_OCTETS: Final = {_V4: 4, _V6: 16}


class Failure(Enum):
    """Who or what stands in the way, as far as the proxy tells."""

    PROXY = "proxy"
    """The proxy itself: it takes nobody, or not us."""
    REFUSED = "refused"
    """The target's host refuses the connection."""
    TIMED_OUT = "timed out"
    """Nothing comes back from the target."""
    UNREACHABLE = "unreachable"
    """No way leads to the target."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a proxy is told of us (RFC 1929)."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection to the target stands."""

    bound: str
    """The address that the proxy says it leaves from, canonical; empty: it does not say."""


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no connection, and why."""

    failure: Failure
    text: str


_REPLIES: Final = {
    1: Refused(Failure.UNREACHABLE, "the proxy could not connect and does not say why"),
    2: Refused(Failure.PROXY, "the proxy's rules do not allow it"),
    3: Refused(Failure.UNREACHABLE, "network unreachable from the proxy"),
    4: Refused(Failure.UNREACHABLE, "host unreachable from the proxy"),
    5: Refused(Failure.REFUSED, "connection refused to the proxy"),
    6: Refused(Failure.TIMED_OUT, "nothing came back to the proxy"),  # Dante says so of a time-out
    7: Refused(Failure.PROXY, "the proxy does not know CONNECT"),
    8: Refused(Failure.PROXY, "the proxy does not speak this address family"),
}
"""RFC 1928 section 6."""


class Handshake:
    """The machine: `begin`, then `receive` of at most `wants` octets at a time until there is an outcome."""

    def __init__(self, address: str, port: int, credentials: Credentials | None = None) -> None:
        """Raises ValueError for an address that is none, or credentials that cannot be said."""
        packed = ip_address(address).packed
        kind = _V4 if len(packed) == _ADDRESS_OCTETS[_V4] else _V6
        self._request = bytes((_VERSION, _CONNECT, 0, kind)) + packed + port.to_bytes(_PORT_OCTETS, "big")
        self._login = b"" if credentials is None else _login(credentials)
        self._step: Callable[[bytes], bytes] = self._on_method
        self._held = bytearray()
        self._size = 2
        self._kind = 0
        self.asked = False
        """The request has been made: from now on the proxy is about the target."""
        self.outcome: Connected | Refused | None = None
        """Set once; then nothing is wanted any more."""

    @property
    def wants(self) -> int:
        """Octets that may be read next; 0: none."""
        return 0 if self.outcome is not None else self._size - len(self._held)

    def begin(self) -> bytes:
        """What is said first."""
        return bytes((_VERSION, 1, _PASSWORD if self._login else _NO_AUTH))

    def receive(self, data: bytes) -> bytes:
        """Takes at most `wants` octets, none meaning that the proxy closed; what is to be said then, if anything."""
        if not data:
            self.break_off("it closed the connection without an answer")
            return b""
        self._held += data
        if len(self._held) < self._size or self.outcome is not None:
            return b""
        said = bytes(self._held)
        self._held.clear()
        return self._step(said)

    def break_off(self, why: str) -> None:
        """The connection to the proxy has ended; once the request is made, many proxies say so that it failed."""
        if self.outcome is None:
            failure = Failure.UNREACHABLE if self.asked else Failure.PROXY
            self.outcome = Refused(failure, why)

    def _on_method(self, said: bytes) -> bytes:
        if said[0] != _VERSION:
            return self._refuse(f"it is no SOCKS5 proxy: it answered version {said[0]}")
        wanted = _PASSWORD if self._login else _NO_AUTH
        if said[1] == _NO_METHOD:
            return self._refuse(
                "it takes no user name and password" if self._login else "it asks for credentials, and there are none"
            )
        if said[1] != wanted:
            return self._refuse(f"it chose method {said[1]}, which was not offered")
        if self._login:
            self._step, self._size = self._on_auth, 2
            return self._login
        return self._ask()

    def _on_auth(self, said: bytes) -> bytes:
        if said[1] != 0:
            return self._refuse("it refused our user name and password")
        return self._ask()

    def _ask(self) -> bytes:
        self.asked = True
        self._step, self._size = self._on_reply, 4
        return self._request

    def _on_reply(self, said: bytes) -> bytes:
        if said[0] != _VERSION:
            return self._refuse(f"it answered with version {said[0]}")
        if said[1] != 0:
            unknown = Refused(Failure.PROXY, f"the proxy gave reply {said[1]}, which RFC 1928 does not know")
            self.outcome = _REPLIES.get(said[1], unknown)
            return b""
        self._kind = said[3]
        if self._kind == _NAME:
            self._step, self._size = self._on_name_length, 1
        elif self._kind in _ADDRESS_OCTETS:
            self._step, self._size = self._on_bound, _ADDRESS_OCTETS[self._kind] + _PORT_OCTETS
        else:
            return self._refuse(f"it bound an address of kind {self._kind}, which RFC 1928 does not know")
        return b""

    def _on_name_length(self, said: bytes) -> bytes:
        self._step, self._size = self._on_bound, said[0] + _PORT_OCTETS
        return b""

    def _on_bound(self, said: bytes) -> bytes:
        bound = ""
        if self._kind != _NAME:
            address = ip_address(said[:-_PORT_OCTETS])
            plain = getattr(address, "ipv4_mapped", None) or address
            bound = "" if plain.is_unspecified else str(plain)  # 0.0.0.0: many proxies do not say
        self.outcome = Connected(bound)
        return b""

    def _refuse(self, text: str) -> bytes:
        self.outcome = Refused(Failure.PROXY, text)
        return b""


def _login(credentials: Credentials) -> bytes:
    """The request of RFC 1929 section 2; raises ValueError for what it cannot carry."""
    said = bytes((_AUTH_VERSION,))
    for what, text in (("user name", credentials.user), ("password", credentials.password)):
        octets = text.encode()
        if not 0 < len(octets) <= MAX_CREDENTIAL:
            raise ValueError(f"the proxy's {what} has {len(octets)} octets: 1 to {MAX_CREDENTIAL} are possible")
        said += bytes((len(octets),)) + octets
    return said
