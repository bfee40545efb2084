"""SASL PLAIN (RFC 4616) and LOGIN as the receiving side runs them: lines in, a challenge or credentials out.

Before it: `smtp.server`, which has checked that TLS is active. After it: whoever checks the password.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Final

from lane_relay.records import Record, Reply

__all__ = ["Challenge", "Credentials", "SaslExchange", "begin_sasl"]

_FIRST_CHALLENGES: Final = {"PLAIN": b"334 \r\n", "LOGIN": b"334 VXNlcm5hbWU6\r\n"}
"""LOGIN has no RFC: every client expects `Username:` and `Password:` in base64."""
_ASK_PASSWORD: Final = b"334 UGFzc3dvcmQ6\r\n"


class Challenge(Record, frozen=True, gc=False):
    """The reply line that asks for the next answer."""

    line: bytes


class Credentials(Record, frozen=True, gc=False):
    """What the exchange came to."""

    username: str
    password: str


class SaslExchange:
    """One exchange; `answer` takes the client's lines one by one."""

    __slots__ = ("_mechanism", "_username")

    def __init__(self, mechanism: str) -> None:
        self._mechanism = mechanism
        self._username: str | None = None

    @property
    def first_challenge(self) -> bytes:
        """The reply when AUTH came without an initial response."""
        return _FIRST_CHALLENGES[self._mechanism]

    def answer(self, line: str) -> Challenge | Credentials | Reply:
        """The next step; a Reply ends the exchange without credentials."""
        if line == "*":
            return Reply(501, ("5.7.0 Authentication cancelled",))
        text = _decode(line)
        if text is None:
            return Reply(501, ("5.5.2 Not base64 of UTF-8 text",))
        if self._mechanism == "LOGIN":
            if self._username is None:
                self._username = text
                return Challenge(_ASK_PASSWORD)
            return Credentials(self._username, text)
        parts = text.split("\0")
        # Authorization identity, authentication identity, password; nobody acts for somebody else here.
        if len(parts) != 3 or parts[0] not in ("", parts[1]):
            return Reply(535, ("5.7.8 Credentials malformed",))
        return Credentials(parts[1], parts[2])


def begin_sasl(mechanism: str) -> SaslExchange | None:
    """An exchange of this mechanism, or None if it is not offered."""
    name = mechanism.upper()
    return SaslExchange(name) if name in _FIRST_CHALLENGES else None


def _decode(line: str) -> str | None:
    """The text of a base64 answer, or None; a lone `=` is the empty initial response (RFC 4954 section 4)."""
    try:
        return "" if line == "=" else b64decode(line.encode("ascii"), validate=True).decode()
    except (Base64Error, UnicodeError):
        return None
