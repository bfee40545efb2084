"""Clients that say nothing, from addresses of their own: as many as wanted, and those that are closed come back.

Before: `faults`. After: a relay's port.
"""

import errno
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import Final, Self

CAME_BACK_A_SECOND: Final = 100
"""Of those that were closed, together."""
GREETED_WITHIN_S: Final = 10.0
_TICK_S: Final = 0.1


class SilentCrowd:
    """Use as a context: all have tried to connect when it begins, and all are gone when it is over."""

    def __init__(self, port: int, addresses: Sequence[str], count: int) -> None:
        """`count` clients of 127.0.0.1:`port`, from the addresses in turn."""
        self._port, self._addresses, self._count = port, addresses, count
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, float] = {}
        """When each was begun; infinite once it has been greeted."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._come_back)
        self.attempts = 0
        """Connections that were begun."""

    def __enter__(self) -> Self:
        for _ in range(self._count):
            self._connect()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        for one in tuple(self._open):
            self._close(one)
        self._selector.close()

    @property
    def standing(self) -> int:
        """Connections that nobody has closed yet."""
        return len(self._open)

    def _connect(self) -> None:
        address = self._addresses[self.attempts % len(self._addresses)]
        self.attempts += 1
        client = socket.socket()
        client.bind((address, 0))
        client.setblocking(False)
        begun = client.connect_ex(("127.0.0.1", self._port))
        if begun not in (0, errno.EINPROGRESS):
            client.close()
            return
        self._open[client] = time.monotonic()
        self._selector.register(client, selectors.EVENT_READ)

    def _come_back(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            for key, _ in self._selector.select(_TICK_S):
                assert isinstance(key.fileobj, socket.socket)
                self._listen_to(key.fileobj)
            self._give_up(began - GREETED_WITHIN_S)
            for _ in range(min(int(CAME_BACK_A_SECOND * _TICK_S), self._count - len(self._open))):
                self._connect()
            self._over.wait(_TICK_S - (time.monotonic() - began))

    def _listen_to(self, client: socket.socket) -> None:
        """The banner is read; whoever is closed, or hears 421, has gone."""
        said = b""
        with suppress(OSError):
            said = client.recv(4096)
        if not said or said.startswith(b"421"):
            self._close(client)
        else:
            self._open[client] = inf

    def _give_up(self, since: float) -> None:
        """Whoever was not greeted may stand here alone: a full queue of a listener forgets a handshake's last word."""
        for one in [client for client, begun in self._open.items() if begun < since]:
            self._close(one)

    def _close(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._open[client]
        client.close()
