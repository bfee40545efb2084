"""What comes to the log, and what anybody could fill it with."""

import socket

import pytest

from tests.lane_relay.running import Relay

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x00\xf4\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n"]
)
def test_a_peer_that_speaks_no_http_gets_its_answer_and_no_line_in_the_log(relay: Relay, said: bytes) -> None:
    relay.start()
    before = relay.log()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", relay.health_port), timeout=60) as peer:
            peer.sendall(said)
            assert b" 400 " in peer.recv(4096)
    assert relay.probe("/livez")[0] == 200
    assert relay.log() == before
