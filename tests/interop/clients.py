"""Programs and libraries that only hand mail in: smtplib, aiosmtplib, swaks, msmtp.

`submit` hands one shape to a relay, over STARTTLS with AUTH or in the clear; it raises if the client says that it
failed. `leaves_out` names the shapes that a client itself cannot hand in, and why.
"""

import asyncio
import re
import smtplib
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import aiosmtplib

from tests.interop.room import program
from tests.interop.shapes import SENDER, Shape
from tests.lane_relay.running import PASSWORD, USER


@dataclass(frozen=True)
class Relays:
    """Where to."""

    folder: Path
    guarded: int
    """Port of the one that asks for AUTH."""
    trusting: int
    authority: Path

    def context(self) -> ssl.SSLContext:
        """Checks the relay's certificate."""
        return ssl.create_default_context(cafile=str(self.authority))


class Client(Protocol):
    """One of them."""

    name: str
    leaves_out: Mapping[str, str]
    """Shape -> why this client cannot hand it in as it is."""

    def submit(self, relays: Relays, shape: Shape, recipients: Sequence[str], *, tls: bool) -> None:
        """Hands it in."""


def _said(done: "subprocess.CompletedProcess[bytes]") -> str:
    return f"status {done.returncode}: {(done.stdout + done.stderr)[-800:].decode(errors='replace')}"


def _options(shape: Shape) -> list[str]:
    return ["BODY=8BITMIME"] * shape.eight_bit + ["SMTPUTF8"] * shape.utf8


class Smtplib:
    """The standard library's; one command at a time."""

    name = "smtplib"
    leaves_out: Mapping[str, str] = MappingProxyType({})

    def submit(self, relays: Relays, shape: Shape, recipients: Sequence[str], *, tls: bool) -> None:
        port = relays.guarded if tls else relays.trusting
        with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=60) as client:
            if tls:
                client.starttls(context=relays.context())
                client.login(USER, PASSWORD)
            refused = client.sendmail(SENDER, list(recipients), shape.content, _options(shape))
        if refused:
            raise RuntimeError(str(refused))


class Careless(Smtplib):
    """A seeded fault: it loses the blanks at the ends of lines."""

    name = "careless"

    def submit(self, relays: Relays, shape: Shape, recipients: Sequence[str], *, tls: bool) -> None:
        lost = replace(shape, content=re.sub(rb"[ \t]+\r\n", b"\r\n", shape.content))
        super().submit(relays, lost, recipients, tls=tls)


class Aiosmtplib:
    """asyncio's."""

    name = "aiosmtplib"
    leaves_out: Mapping[str, str] = MappingProxyType({})

    def submit(self, relays: Relays, shape: Shape, recipients: Sequence[str], *, tls: bool) -> None:
        async def send() -> None:
            client = aiosmtplib.SMTP(
                hostname="127.0.0.1", port=relays.guarded if tls else relays.trusting, start_tls=tls, timeout=60,
                tls_context=relays.context() if tls else None, local_hostname="client.test",
            )  # fmt: skip
            async with client:
                transport = client.transport
                if tls:
                    await client.login(USER, PASSWORD)
                refused, _ = await client.sendmail(
                    SENDER, list(recipients), shape.content, mail_options=_options(shape)
                )
                if refused:
                    raise RuntimeError(str(refused))
            if isinstance(transport, asyncio.WriteTransport):  # it leaves the end of TLS to a loop that ends here
                transport.abort()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        asyncio.run(send())


class Swaks:
    """Perl's; it sends what its file holds."""

    name = "swaks"
    leaves_out: Mapping[str, str] = MappingProxyType(
        {"utf8": "it knows no SMTPUTF8", "no-body": "it puts a line behind a header without a body"}
    )

    def submit(self, relays: Relays, shape: Shape, recipients: Sequence[str], *, tls: bool) -> None:
        folder = relays.folder / self.name
        folder.mkdir(exist_ok=True)
        data = folder / shape.name
        data.write_bytes(shape.content.replace(b"\r\n", b"\n")[:-1])  # it ends the last line itself
        secure = ["--tls-verify", "--tls", "--tls-ca-path", str(relays.authority)]
        secure += ["--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD]
        done = subprocess.run(
            ["swaks", "--server", f"127.0.0.1:{relays.guarded if tls else relays.trusting}", "--helo", "client.test",
            "--from", SENDER, "--to", ",".join(recipients), "--data", f"@{data}", "--timeout", "60", "--silent", "2",
            *(secure if tls else [])],
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(_said(done))


class Msmtp:
    """C; GnuTLS."""

    name = "msmtp"
    leaves_out: Mapping[str, str] = MappingProxyType({"utf8": "it knows no SMTPUTF8"})

    def submit(self, relays: Relays, shape: Shape, recipients: Sequence[str], *, tls: bool) -> None:
        folder = relays.folder / self.name
        folder.mkdir(exist_ok=True)
        config = folder / "msmtprc"
        lines = ["account default", "host 127.0.0.1", "domain client.test", "timeout 60", "set_from_header off"]
        lines += [f"port {relays.guarded if tls else relays.trusting}"]
        if tls:
            lines += ["tls on", "tls_starttls on", f"tls_trust_file {relays.authority}", "auth plain", f"user {USER}"]
            lines += [f'password "{PASSWORD}"', "dsn_notify failure,delay", "dsn_return headers"]
        config.write_text("\n".join(lines) + "\n")
        config.chmod(0o600)
        msmtp, environment = program("msmtp")
        done = subprocess.run(
            [msmtp, "-C", str(config), f"--from={SENDER}", "--", *recipients], env=environment,
            input=shape.content.replace(b"\r\n", b"\n"), capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(_said(done))


LIBRARIES: tuple[Client, ...] = (Smtplib(), Aiosmtplib())
CLIENTS: tuple[Client, ...] = (*LIBRARIES, Swaks(), Msmtp())
