"""A door for people: a port on the machine's loopback whose connections continue inside the control plane's namespace.

Run as a script, on the standard library alone: `forward.py NETNS HOST PORT LISTEN_PORT`. The listening socket is made
before the process enters the namespace, so it stays outside, and every later connection starts inside.
"""

import asyncio
import ctypes
import os
import socket
import sys
from contextlib import suppress

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_CHUNK = 65536


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _serve(listener: socket.socket, host: str, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        for end in (writer, inner_writer):
            end.close()

    server = await asyncio.start_server(connected, sock=listener)
    async with server:
        await server.serve_forever()


def main(netns: str, host: str, port: str, listen: str) -> None:
    """Listen outside, enter the namespace, forward until killed."""
    listener = socket.create_server(("127.0.0.1", int(listen)), backlog=512)
    handle = os.open(netns, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns", netns)
    os.close(handle)
    asyncio.run(_serve(listener, host, int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:5])
