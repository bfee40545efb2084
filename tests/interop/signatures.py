"""Signatures of a corpus as the relay sends it, verified by OpenDKIM, dkimpy, rspamd and mailauth.

Each message leaves with an RSA and an Ed25519 signature, which do not cover each other; each goes to every verifier in
a file of its own that holds only that signature, for verifiers stop at the first good one. Keys come from bind9, for
OpenDKIM (which asks port 53 only) from its own file of DNS data. A verdict is an empty string or why it was rejected.
"""

import json
import re
import shutil
import smtplib
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dkim
import dns.resolver

from bench.nameserver import NameServer
from lane_relay.mail.dkim import DkimKey, generate_ed25519_key, generate_key
from tests.interop.corpus import messages
from tests.interop.room import Room, peers_of_npm, program
from tests.interop.shapes import SENDER
from tests.lane_relay.running import Relay, Sink, eventually, fixed_route
from tests.ports import free_port

_SIGNATURE: Final = re.compile(rb"DKIM-Signature:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
_SEEDED: Final = 10
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Signed:
    """A signed corpus on disk, while its name server runs."""

    folder: Path
    files: tuple[str, ...]
    """NUMBER-rsa.eml and NUMBER-ed25519.eml."""
    broken: tuple[str, ...]
    """Some of them, changed after they were signed: nobody may accept one."""
    port: int
    """The name server's."""
    records: tuple[tuple[str, str], ...]
    """Name and text of the keys' records."""
    blank: tuple[str, ...]
    """Those of the files whose body is white space alone."""
    control: str
    """Such a message, signed by dkimpy with the RSA key."""


Verify = Callable[[Signed, Sequence[str]], dict[str, str]]
"""Files -> why each was rejected; an empty string: accepted."""


@contextmanager
def signed_corpus(folder: Path, count: int) -> Iterator[Signed]:
    """Sends so many messages through a relay that signs."""
    keys = {"rsa": generate_key(), "ed25519": generate_ed25519_key()}
    records = []
    for selector, pem in keys.items():
        (folder / f"{selector}.pem").write_bytes(pem)
        records.append((f"{selector}._domainkey.brand", DkimKey.load(pem).public_record()))
    zone = "\n".join(f"{name} IN TXT {_quoted(text)}" for name, text in records)
    port = free_port()
    server = NameServer(folder / "dns", port, zone)
    try:
        arrived = _sent(folder, server.address, count)
        names, broken = _split(folder, arrived)
        public = tuple((f"{name}.test", text) for name, text in records)
        blank = [name for name in names if _is_blank((folder / name).read_bytes().partition(b"\r\n\r\n")[2])]
        (folder / "control.eml").write_bytes(_by_another(keys["rsa"]))
        yield Signed(folder, tuple(names), tuple(broken), port, public, tuple(blank), "control.eml")
    finally:
        server.stop()


def _is_blank(body: bytes) -> bool:
    """It has blanks and no other characters."""
    return body.strip(b"\r\n") != b"" and body.strip() == b""


def _by_another(pem: bytes) -> bytes:
    """A message whose body is one blank, signed by dkimpy."""
    content = b"From: otp@brand.test\r\nSubject: control\r\n\r\n \r\n"
    return bytes(dkim.sign(content, b"rsa", b"brand.test", pem, canonicalize=(b"relaxed", b"relaxed"))) + content


def _quoted(text: str) -> str:
    return " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))


def _sent(folder: Path, resolver: str, count: int) -> list[bytes]:
    """The corpus as it arrived."""
    domain = {"name": "brand.test", "selector": "rsa", "keyFile": str(folder / "rsa.pem")}
    domain |= {"ed25519": {"selector": "ed25519", "keyFile": str(folder / "ed25519.pem")}}  # type: ignore[dict-item]
    with Sink("127.0.0.82") as sink:
        delivery = {"routes": [fixed_route(sink)], "resolvers": [resolver]}
        intake = {"clients": ["127.0.0.0/8"]}
        relay = Relay(folder / "signing", {"intake": intake, "delivery": delivery, "domains": [domain]}).start()
        try:
            _await_second_key(relay, sink)
            start = len(sink.arrived)
            with smtplib.SMTP("127.0.0.1", relay.port, local_hostname="client.test", timeout=60) as client:
                for content in messages(count):
                    client.sendmail(SENDER, ["ann@isp.test"], content, ["BODY=8BITMIME", "SMTPUTF8"])
            return [one.content for one in sink.wait(start + count)[start:]]
        finally:
            relay.stop()


def _await_second_key(relay: Relay, sink: Sink) -> None:
    """Ed25519 joins in when its record has been found: until then letters go with one signature."""
    number = 0

    def both() -> bool:
        nonlocal number
        number += 1
        with smtplib.SMTP("127.0.0.1", relay.port, local_hostname="client.test", timeout=60) as client:
            client.sendmail(SENDER, ["ann@isp.test"], messages(1)[0], ["BODY=8BITMIME", "SMTPUTF8"])
        return len(_SIGNATURE.findall(sink.wait(number)[-1].content)) == 2

    eventually(both, "both keys sign", 30)


def _split(folder: Path, arrived: Sequence[bytes]) -> tuple[list[str], list[str]]:
    """Writes one file a signature; (their names, the names of those that were changed)."""
    names, broken = [], []
    for number, content in enumerate(arrived):
        signatures = _SIGNATURE.findall(content)
        if len(signatures) != 2 or not content.startswith(b"".join(signatures)):
            raise AssertionError(f"message {number} left with {len(signatures)} signatures in front")
        rest = content[len(b"".join(signatures)) :]
        for algorithm, signature in zip(("rsa", "ed25519"), signatures, strict=True):
            names.append(f"{number:04}-{algorithm}.eml")
            (folder / names[-1]).write_bytes(signature + rest)
            if number < _SEEDED:
                broken.append(f"{number:04}-{algorithm}-broken.eml")
                (folder / broken[-1]).write_bytes(signature + rest.replace(b"brand.test", b"brant.test", 1) + b"!\r\n")
    return names, broken


def by_dkimpy(signed: Signed, names: Sequence[str]) -> dict[str, str]:
    """Debian and many Python filters use it."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], signed.port
    resolver.cache = dns.resolver.Cache()

    def text(name: bytes, timeout: float = 5) -> bytes:
        del timeout
        return b"".join(next(iter(resolver.resolve(name.decode(), "TXT"))).strings)

    return {name: _by_dkimpy((signed.folder / name).read_bytes(), text) for name in names}


def _by_dkimpy(content: bytes, text: Callable[..., bytes]) -> str:
    try:
        return "" if dkim.verify(content, dnsfunc=text) else "not verified"
    except dkim.DKIMException as error:
        return repr(error)


def by_opendkim(signed: Signed, names: Sequence[str]) -> dict[str, str]:
    """Its filter's own way to read messages from files."""
    (signed.folder / "keys").write_text("".join(f"{name} {text}\n" for name, text in signed.records))
    (signed.folder / "opendkim.conf").write_text(f"Mode v\nSyslog no\nTestDNSData file:{signed.folder}/keys\n")
    path, environment = program("opendkim")
    said = ""
    for name in names:  # one that is rejected ends the program
        command = [path, "-x", "opendkim.conf", "-t", name]
        done = subprocess.run(command, cwd=signed.folder, env=environment, capture_output=True, text=True, check=False)
        said += done.stdout + done.stderr
    lines = {found[1]: found[2] for found in re.finditer(r"^opendkim: (\S+\.eml): (.*)$", said, re.MULTILINE)}
    if set(lines) != set(names):
        raise RuntimeError(f"OpenDKIM has judged {len(lines)} of {len(names)}: {said[-1000:]}")
    return {name: "" if line.endswith("succeeded") else line for name, line in lines.items()}


def by_mailauth(signed: Signed, names: Sequence[str]) -> dict[str, str]:
    """Nodemailer's."""
    command = [
        "node",
        str(_HERE / "npm" / "verify.cjs"),
        str(signed.port),
        *(str(signed.folder / one) for one in names),
    ]
    done = subprocess.run(command, cwd=peers_of_npm(), capture_output=True, text=True, check=False)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    if done.returncode or set(said) != set(names):
        raise RuntimeError(f"mailauth has judged {len(said)} of {len(names)}: {done.stderr[-1000:]}")
    return {name: "" if one.endswith("=pass") else one for name, one in said.items()}


_RSPAMD: Final = """\
options {{ pidfile = "{folder}/pid"; dns {{ nameserver = ["127.0.0.1:{dns}"]; }} filters = "dkim"; tempdir = "{folder}";
  url_tld = "{folder}/domains"; }}
logging {{ type = "console"; level = "info"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
dkim {{ symbol_allow = "ACCEPTED"; symbol_reject = "REJECTED"; symbol_tempfail = "LATER"; symbol_permfail = "BROKEN";
  symbol_na = "NONE"; check_local = true; check_authed = true; }}
"""


def by_rspamd(signed: Signed, names: Sequence[str]) -> dict[str, str]:
    """Its scanner with the module for DKIM alone, asked over HTTP."""
    folder, port = signed.folder / "rspamd", free_port()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "domains").write_text("com\ntest\n")
    (folder / "rspamd.conf").write_text(_RSPAMD.format(folder=folder, dns=signed.port, port=port))
    process = Room(folder).start("/usr/bin/rspamd", "-c", f"{folder}/rspamd.conf", "-f", "-i")
    try:
        eventually(lambda: _pings(port), "rspamd answers")
        return {name: _by_rspamd(port, (signed.folder / name).read_bytes()) for name in names}
    finally:
        process.terminate()
        process.wait(60)


def _pings(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _by_rspamd(port: int, content: bytes) -> str:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/checkv2", data=content)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        symbols = json.load(answer)["symbols"]
    return "" if "ACCEPTED" in symbols and "REJECTED" not in symbols else f"symbols {sorted(symbols)}"


VERIFIERS: Final[dict[str, Verify]] = {
    "dkimpy": by_dkimpy,
    "OpenDKIM": by_opendkim,
    "rspamd": by_rspamd,
    "mailauth": by_mailauth,
}


def fair(signed: Signed, verify: Verify) -> tuple[tuple[str, ...], str]:
    """(the files that this verifier is asked about, why others are left out).

    rspamd 3.4 rejects a body of white space alone whoever has signed it; RFC 6376 section 3.4.4 makes it an empty one.
    """
    if not verify(signed, [signed.control])[signed.control]:
        return signed.files, ""
    asked = tuple(name for name in signed.files if name not in signed.blank)
    return asked, f"; left out: {len(signed.blank)} of blank bodies, as it rejects dkimpy's signature of one as well"
