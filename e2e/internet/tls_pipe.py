"""TLS between a byte stream and a session, without a socket: ciphertext in, plain text and ciphertext out.

Invariant: `outgoing` must be sent after every call, in order. Before and after: `listener` (server side) and
`e2e.load.smtp_client` (client side).
"""

from __future__ import annotations

import ssl

_CHUNK = 65536


class TlsPipe:
    """One TLS connection over memory buffers."""

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self.established = False

    def begin(self) -> bytes:
        """Starts the handshake; what to send (a client's first words, nothing for a server)."""
        self._shake()
        return self._outgoing.read()

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """Takes ciphertext; returns (plain text, what to send). Raises ssl.SSLError if the peer breaks TLS."""
        self._incoming.write(data)
        if not self.established and not self._shake():
            return b"", self._outgoing.read()
        plain = bytearray()
        try:
            while chunk := self._object.read(_CHUNK):
                plain += chunk
        except ssl.SSLWantReadError:
            pass
        return bytes(plain), self._outgoing.read()

    def send(self, plain: bytes) -> bytes:
        """Encrypts; what to send."""
        self._object.write(plain)
        return self._outgoing.read()

    def version(self) -> str:
        """The protocol version agreed, such as TLSv1.3."""
        return self._object.version() or ""

    def cipher(self) -> str:
        """The cipher suite agreed."""
        cipher = self._object.cipher()
        return cipher[0] if cipher else ""

    def _shake(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.established = True
        return True
