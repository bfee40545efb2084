"""swaks, another people's client, does what EHLO offers it."""

import asyncio
from pathlib import Path

import pytest

from e2e.internet import packages
from tests.lane_relay.accept.clients import RECIPIENT, SENDER
from tests.lane_relay.accept.conftest import Spool, Start, make_config


@pytest.fixture(scope="module", autouse=True)
def _swaks() -> None:
    packages.install(packages.SWAKS)


async def swaks(port: int, *options: str) -> tuple[int, str]:
    """Its exit status, 0 if the message was taken, and what was said."""
    command = [
        "swaks", "--server", f"127.0.0.1:{port}", "--helo", "app.example.net", "--from", SENDER, "--to", RECIPIENT,
        "--header", "Subject: swaks", "--timeout", "20", *options,
    ]  # fmt: skip
    running = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await running.communicate()
    return running.returncode or 0, said.decode(errors="replace")


@pytest.mark.parametrize(("mechanism", "tls"), [("PLAIN", "--tls"), ("LOGIN", "--tls-on-connect")])
async def test_users_authenticate_and_submit(
    start: Start, spool: Spool, tmp_path: Path, mechanism: str, tls: str
) -> None:
    (tmp_path / "app").write_text("secret")
    listener = await start(make_config(users_dir=str(tmp_path)))
    port = listener.ports[tls == "--tls-on-connect"]
    status, said = await swaks(port, tls, "--auth", mechanism, "--auth-user", "app", "--auth-password", "secret")

    assert status == 0, said
    assert [message.user for message in spool.messages] == ["app"]


async def test_it_hears_what_is_wrong_with_a_user_and_a_sender(start: Start, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("secret")
    listener = await start(make_config(users_dir=str(tmp_path), senders=["@else.example"]))
    auth = ("--tls", "--auth", "PLAIN", "--auth-user", "app", "--auth-password")

    assert "535 5.7.8 User name or password is wrong" in (await swaks(listener.ports[0], *auth, "wrong"))[1]
    assert "550 5.7.1 The envelope sender" in (await swaks(listener.ports[0], *auth, "secret"))[1]
    assert "530 5.7.0 Authenticate first" in (await swaks(listener.ports[0]))[1]


@pytest.mark.parametrize("tls", [("--tls",), ("--tls-on-connect",)], ids=["STARTTLS", "implicit TLS"])
async def test_it_speaks_for_a_client_by_the_proxy_protocol(start: Start, spool: Spool, tls: tuple[str, ...]) -> None:
    listener = await start(make_config(proxies=["127.0.0.0/8"], clients=["203.0.113.0/24"]))
    port = listener.ports[tls == ("--tls-on-connect",)]
    proxy = (
        "--proxy-version", "2", "--proxy-family", "AF_INET", "--proxy-protocol", "STREAM", "--proxy-source",
        "203.0.113.7", "--proxy-source-port", "40000", "--proxy-dest", "192.0.2.1", "--proxy-dest-port", "587",
    )  # fmt: skip
    status, said = await swaks(port, *proxy, *tls)

    assert status == 0, said
    assert [message.client for message in spool.messages] == ["203.0.113.7"]
