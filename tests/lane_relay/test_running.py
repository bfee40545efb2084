"""The receiver that the relay's tests deliver to: it goes without a trace, whoever is still connecting."""

import gc
import socket
import threading
import warnings

from tests.lane_relay.running import Sink


def test_a_sink_that_ends_while_clients_come_in_leaves_no_socket_open() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(6):
            with Sink("127.0.0.71") as sink:
                clients: list[socket.socket] = []
                knocking = threading.Thread(target=knock, args=(sink, clients))
                knocking.start()
                while len(clients) < 5:
                    pass
            knocking.join()
            for client in clients:
                client.close()
            del sink
            gc.collect()
    assert [str(one.message) for one in seen] == []


def knock(sink: Sink, clients: list[socket.socket]) -> None:
    """Connects until nobody listens, two hundred times at most."""
    for _ in range(200):
        try:
            clients.append(socket.create_connection((sink.address, sink.port)))
        except OSError:
            return
