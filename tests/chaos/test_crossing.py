"""What goes through a door between two slots, and what it leaves behind when a peer dies."""

import gc
import socket
import struct
from pathlib import Path

from tests.chaos.crossing import Door
from tests.lane_relay.whole.test_handover import Lane

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close that says RST."""


def test_a_peer_that_resets_its_connection_while_the_door_holds_it_leaves_no_socket_open(tmp_path: Path) -> None:
    """An unclosed socket would fail here: its ResourceWarning is an error."""
    lane = Lane(tmp_path)
    lane.certify("door", ("localhost",))
    with socket.create_server(("127.0.0.1", 0)) as slot, Door(tmp_path, slot.getsockname()[1]) as door:
        stop = door.stop_at("connect", "made")
        client = socket.create_connection(("127.0.0.1", door.port))
        assert stop.reached.wait(60)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.close()
        stop.go_on()
        assert stop.over.wait(60)
    gc.collect()
