"""A reflector that signs well and lies.

`python -m e2e.internet.lying_reflector --listen IP:PORT --key-file FILE --says IP`

Invariant: only the address is wrong; everything else is what an honest reflector says.
Before: `internet`, as an injected fault. After: a relay's prober, which must shut the slot.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from lane_relay.egress.wire import REQUEST_LIMIT, LineBuffer, answer, parse_key, parse_request


async def serve(host: str, port: int, key: bytes, lie: str) -> None:
    """Answers every request with the address `lie`, for ever."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer, line = LineBuffer(REQUEST_LIMIT), None
        while line is None and not buffer.overflow and (data := await reader.read(REQUEST_LIMIT)):
            line = buffer.feed(data)
        nonce = parse_request(line) if line else None
        if nonce is not None:
            writer.write(answer(key, nonce, lie, writer.get_extra_info("peername")[1], time.time()))
        writer.close()

    async with await asyncio.start_server(one, host, port) as server:
        await server.serve_forever()


def main() -> None:
    """Reads the arguments and serves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", required=True, metavar="IP:PORT")
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--says", required=True, metavar="IP")
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    asyncio.run(serve(host, int(port), parse_key(given.key_file.read_bytes()), given.says))


if __name__ == "__main__":
    main()
