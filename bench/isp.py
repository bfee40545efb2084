"""`python -m bench.isp ADDRESS [GREETING|RCPT|DATA]`: a small ISP in a process of its own, for `second_isp`.

Says on standard output of each numbered message when its last byte came (monotonic, which all processes share), or, if
it answers 421 at the stage given, how often it has done so.
"""

import asyncio
import sys
import time

__all__: list[str] = []

_BUSY = b"421 4.7.0 try again later\r\n"
_GREETING = b"220 mx.test ESMTP\r\n"


class Isp:
    """`busy`: GREETING, or the verb that is answered 421: RCPT, or DATA (to the whole message); empty: none."""

    def __init__(self, busy: str) -> None:
        self._busy = busy
        self._refused = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            if self._busy == "GREETING":
                self._refuse(writer)
                return
            writer.write(_GREETING)
            while line := await reader.readline():
                verb = line[:4].upper().decode("latin-1")
                content = b""
                if verb == "DATA":
                    writer.write(b"354 go on\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                if verb == self._busy:
                    self._refuse(writer)
                    return
                writer.write(b"250-mx\r\n250-PIPELINING\r\n250 8BITMIME\r\n" if verb == "EHLO" else b"250 ok\r\n")
                if content:
                    print(content.split(b"Subject: ")[1].split(b"\r\n")[0].decode(), time.monotonic(), flush=True)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _refuse(self, writer: asyncio.StreamWriter) -> None:
        writer.write(_BUSY)
        self._refused += 1
        print(self._refused, time.monotonic(), flush=True)


async def _run(address: str, busy: str) -> None:
    server = await asyncio.start_server(Isp(busy).serve, address, 25)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
