"""5,000 who connect and say nothing, at the probes' port and at the admin API's: nobody else notices."""

import socket
from contextlib import ExitStack

import psutil
import pytest

from tests.lane_relay.running import Relay, Sink
from tests.lane_relay.whole.test_end_to_end import AdminClient

CROWD = 5000
SOURCES = tuple(f"127.0.0.{last}" for last in range(81, 86))
MOST_CONNECTIONS = 1000
MOST_BYTES = 64 * 2**20

pytestmark = pytest.mark.timeout(300)


def _crowd(stack: ExitStack, port: int, count: int) -> None:
    """Silent connections from several addresses; some say half of a request."""
    for number in range(count):
        source = (SOURCES[number % len(SOURCES)], 0)
        one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60, source_address=source))
        if number % 10 == 0:
            one.sendall(b"GET /read")


def _connections(relay: Relay) -> int:
    assert relay.process is not None
    return psutil.Process(relay.process.pid).num_fds()


def test_5000_idle_clients_at_each_port_of_ours_harm_neither_probes_nor_mail(relay: Relay, sink: Sink) -> None:
    admin = AdminClient(relay)
    relay.start()
    relay.submit(1)
    sink.wait(1)
    before = relay.resident_bytes()
    with ExitStack() as stack:
        for step in range(1, 6):
            for port in (relay.health_port, admin.port):
                _crowd(stack, port, CROWD // 5)
            assert relay.probe("/readyz")[0] == 200
            assert relay.probe("/livez")[0] == 200
            assert admin.ask("GET", "/v1/slot")[0] == 200
            relay.submit(step * 10)
            sink.wait(step + 1)
        assert relay.unaccounted() == 0
        assert _connections(relay) < MOST_CONNECTIONS
        assert relay.resident_bytes() - before < MOST_BYTES
