"""Silent clients: so many stand, and one that is closed is there again."""

import selectors
import socket

from tests.chaos.crowd import SilentCrowd
from tests.lane_relay.running import eventually


def test_so_many_stand_and_whoever_is_closed_comes_back() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        with SilentCrowd(server.getsockname()[1], ["127.0.9.1", "127.0.9.2"], 6) as crowd:
            first = [server.accept() for _ in range(6)]
            assert sorted(peer[0] for _, peer in first) == ["127.0.9.1"] * 3 + ["127.0.9.2"] * 3
            first[0][0].close()
            first[1][0].sendall(b"421 4.7.0 Too many sessions\r\n")
            later = [server.accept()[0] for _ in range(2)]
            eventually(lambda: crowd.standing == 6, "six stand again")
            assert crowd.attempts == 8
            for one, _ in first[1:]:
                one.setblocking(True)
        with selectors.DefaultSelector() as over:
            for one in later:
                over.register(one, selectors.EVENT_READ)
                assert one.recv(10) == b""
        for one in (*(one for one, _ in first), *later):
            one.close()
