"""A real server that speaks S3 (versitygw over a folder), and a way to it that can be cut, slowed and made to fail."""

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from e2e.cluster import programs
from e2e.cluster.identity import Purpose, layout
from tests.lane_relay.running import eventually
from tests.ports import free_port

ACCESS, SECRET = "lane-archive", "not-a-real-secret"
BUCKET = "mail-evidence"


class FaultyWay:
    """A TCP proxy: open, or broken in one of the ways in which networks and servers break."""

    def __init__(self, port: int) -> None:
        self.fault = ""
        """Empty, `refuse`, `stall`, `500` or `cut`: hang up after the request has gone through."""
        self.port = 0
        self.connections = 0
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._held: set[asyncio.Task[None] | None] = set()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(60)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))  # transports close a step later
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        self._held.add(task)  # the loop holds tasks weakly
        try:
            await self._break_or_pass(reader, writer)
        except OSError:
            pass
        finally:
            writer.transport.abort()
            self._held.discard(task)

    async def _break_or_pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.fault
        if fault == "refuse":
            return
        if fault == "stall":
            await asyncio.sleep(3600)
        if fault == "500":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            if fault == "cut":
                pump = asyncio.ensure_future(_pump(reader, back))
                await there.readuntil(b"\r\n")
                pump.cancel()
            else:
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            back.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()


class S3Server:
    """Where it is, and what it keeps."""

    def __init__(self, folder: Path, way: FaultyWay) -> None:
        self.folder = folder
        self.way = way

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.way.port}"

    def credentials(self, folder: Path, *, secret: str = SECRET) -> Path:
        """A folder as a Secret is mounted."""
        folder.mkdir(exist_ok=True)
        (folder / "access_key_id").write_text(ACCESS + "\n")
        (folder / "secret_access_key").write_text(secret + "\n")
        return folder

    def config(self, credentials: Path, prefix: str = "lanes") -> dict[str, object]:
        """The archive as RelayConfig has it."""
        s3 = {"bucket": BUCKET, "prefix": prefix, "endpoint": self.endpoint, "credentialsDir": str(credentials)}
        return {"s3": s3}

    def objects(self) -> dict[str, Path]:
        """Name -> file of everything in the bucket."""
        bucket = self.folder / BUCKET
        found = (path for path in bucket.rglob("*") if path.is_file())
        return {
            str(path.relative_to(bucket)): path
            for path in found
            if not path.relative_to(bucket).parts[0].startswith(".")
        }


def program() -> Path:
    """The server's program, built when there is none."""
    here = layout(os.environ, purpose=Purpose.TESTS)
    programs.ensure(here, ("versitygw",))
    return programs.path(here, "versitygw")


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """One server with one empty bucket."""
    (folder / "root" / BUCKET).mkdir(parents=True)
    (folder / "meta").mkdir()
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}
    process = subprocess.Popen(
        [program(), "--port", f"127.0.0.1:{port}", "--quiet", "posix", "--sidecar", folder / "meta", folder / "root"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    way = FaultyWay(port)
    try:
        eventually(lambda: _listens(port), "the S3 server listens", 20)
        way.start()
        yield S3Server(folder / "root", way)
    finally:
        way.stop()
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


if __name__ == "__main__":  # `make peers`: a build takes longer than a test may
    program()
