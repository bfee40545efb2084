"""A real authoritative server (bind9) on loopback, with zones made by the test; started and ended by id."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.ports import free_port

ZONE = """$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
two MX 20 mx2
two MX 10 mx1
*.wild MX 10 mx1
null MX 0 .
alias CNAME two
dangling CNAME nothing
badhost MX 10 gone
literal MX 10 192.0.2.1.
plain A 127.0.0.9
plain AAAA ::1
mx1 A 127.0.0.2
mx2 A 127.0.0.3
mx2 A 127.0.0.4
mxalias MX 10 mxcname
mxcname CNAME mx1
loop MX 10 out.example.org.
backup MX 10 mx1
backup MX 20 out.example.org.
backup MX 20 mx2
byaddress MX 10 mx1
byaddress MX 20 ours
byaddress MX 20 mx2
ours A 127.0.0.8
equal MX 10 mx1
equal MX 10 mx2
six MX 10 mxsix
mxsix AAAA ::6
both MX 10 mxboth
mxboth A 127.0.0.7
mxboth AAAA ::7
s1._domainkey TXT "v=DKIM1; k=rsa; p=AAAA" "BBBB"
text TXT "hello"
_dmarc.good TXT "v=DMARC1; p=none"
b.good MX 10 out
b.good TXT "v=spf1 include:_spf.example.test" " -all"
_spf TXT "v=spf1 ip4:127.0.0.41 ?all"
_mta-sts.b.good TXT "v=STSv1; id=20261101;"
_smtp._tls.b.good TXT "v=TLSRPTv1; rua=mailto:tls@example.test"
_dmarc.twice TXT "v=DMARC1; p=none"
_dmarc.twice TXT "v=DMARC1; p=reject"
_dmarc.vague TXT "v=DMARC1; sp=none"
_mta-sts.twice TXT "v=STSv1;"
_smtp._tls.twice TXT "v=TLSRPTv1;"
out A 127.0.0.41
$GENERATE 1-90 many MX "$ host$"
$GENERATE 1-90 many A 127.1.0.$
"""
REVERSE = """$TTL 300
@ SOA ns.example.test. hostmaster.example.test. 1 3600 600 86400 60
@ NS ns.example.test.
41 PTR OUT.example.test.
42 PTR pool-42.example.test.
43 PTR out.example.test.
44 CNAME 44.delegated
44.delegated PTR out.example.test.
"""


class Named:
    """One running server."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.server = f"127.0.0.1:{port}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Runs it until it answers."""
        program = shutil.which("named", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program, "these tests need bind9: apt-get install -y --no-install-recommends bind9"
        self._process = await asyncio.create_subprocess_exec(
            program, "-4", "-n", "1", "-g", "-c", str(self.folder / "named.conf"),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stderr is not None
        async with asyncio.timeout(60):
            while line := await self._process.stderr.readline():
                if line.rstrip().endswith(b" running"):
                    self._reader = asyncio.create_task(_drain(self._process.stderr))
                    return
        raise AssertionError("named ended before it ran")

    async def stop(self) -> None:
        """Ends it."""
        if self._process is None:
            return
        self._process.terminate()
        await self._process.wait()
        await self._reader
        self._process = None


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass


@asynccontextmanager
async def running_named(folder: Path) -> AsyncIterator[Named]:
    """A server for `example.test`, for 127.0.0.0/24, and for `broken.test`, which it cannot load: SERVFAIL."""
    port = free_port()
    (folder / "example.zone").write_text(ZONE)
    (folder / "reverse.zone").write_text(REVERSE)
    (folder / "broken.zone").write_text("this is no zone\n")
    (folder / "named.conf").write_text(
        f"""options {{ directory "{folder}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
        recursion no; pid-file none; session-keyfile "{folder}/session.key"; }};
        controls {{ }};
        zone "example.test" {{ type primary; file "example.zone"; }};
        zone "0.0.127.in-addr.arpa" {{ type primary; file "reverse.zone"; }};
        zone "broken.test" {{ type primary; file "broken.zone"; }};
        """
    )
    server = Named(folder, port)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
