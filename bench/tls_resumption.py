"""CPU of the client's side of a TLS 1.3 handshake, full and resumed, in one run: `python -m bench.tls_resumption`.

Both ends are OpenSSL in memory, so that no socket and no loop is counted; the client's thread time alone is summed.
Rounds are interleaved; the median of each is printed with the smallest and the largest.
"""

import ssl
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from lane_relay.deliver.tls import make_contexts
from tests.lane_relay.deliver.certificates import make_authority

_ROUNDS: Final = 5
_HANDSHAKES: Final = 300
_NAME: Final = "mx.peer.test"


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[float, object]:
    """Seconds of CPU on the client's side, up to the first words of the server, and the session that it leaves."""
    to_client, from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    to_server, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    began = time.thread_time()
    ours = client.wrap_bio(to_client, from_client, server_hostname=_NAME, session=session)
    spent = time.thread_time() - began
    theirs = server.wrap_bio(to_server, from_server, server_side=True)
    waiting = {"client", "server"}
    while waiting:
        began = time.thread_time()
        if _step(ours):
            waiting.discard("client")
        spent += time.thread_time() - began
        to_server.write(from_client.read())
        if _step(theirs):
            waiting.discard("server")
        to_client.write(from_server.read())
    theirs.write(b"250 peer.test\r\n")
    to_client.write(from_server.read())
    began = time.thread_time()
    ours.read(100)
    spent += time.thread_time() - began
    if ours.session_reused != (session is not None):
        raise RuntimeError("the session was not taken as it was meant to be: the figures would lie")
    return spent, ours.session


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _line(name: str, seconds: list[float]) -> str:
    return f"{name}: {median(seconds) * 1e6:.0f} us ({min(seconds) * 1e6:.0f}-{max(seconds) * 1e6:.0f})"


def main() -> None:
    """Prints the figures for certificates that are not checked and that are."""
    with tempfile.TemporaryDirectory() as found:
        folder, root = Path(found), make_authority()
        middle = root.issue("authority.two", authority=True)
        server = middle.issue(_NAME).context(folder, middle)
        (folder / "root.pem").write_bytes(root.pem)
        contexts = make_contexts(str(folder / "root.pem"))
        for name, client in (("unchecked", contexts.unchecked), ("checked", contexts.checked)):
            _, session = _handshake(client, server, None)
            full: list[float] = []
            resumed: list[float] = []
            for _ in range(_ROUNDS):
                full.append(median(_handshake(client, server, None)[0] for _ in range(_HANDSHAKES)))
                again = [_handshake(client, server, session) for _ in range(_HANDSHAKES)]  # type: ignore[arg-type]
                resumed.append(median(spent for spent, _ in again))
            print(f"{name}: {_line('full', full)}, {_line('resumed', resumed)}, {median(resumed) / median(full):.2f} x")


if __name__ == "__main__":
    main()
