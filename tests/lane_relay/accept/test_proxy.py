"""The PROXY protocol: who is believed, and what is read."""

import socket
import ssl
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.accept.proxy import HEAD_SIZE, Preface, parse_preface, parse_source
from tests.lane_relay.accept.clients import CONTENT, RECIPIENT, SENDER, Raw, eventually
from tests.lane_relay.accept.conftest import Spool, Start, make_config

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def header(source: str, *, command: int = 0x21, extra: bytes = b"") -> bytes:
    """As a balancer writes it: source, destination, ports, and what else it has to say."""
    address = ip_address(source)
    other = ip_address("192.0.2.1" if address.version == 4 else "2001:db8::1")
    body = address.packed + other.packed + (40000).to_bytes(2, "big") + (587).to_bytes(2, "big") + extra
    family = 0x11 if address.version == 4 else 0x21
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize("source", ["203.0.113.7", "2001:db8::7"])
@pytest.mark.parametrize("extra", [b"", b"\x03\x00\x04abcd"])
def test_the_source_is_read_and_what_else_is_said_is_passed_over(source: str, extra: bytes) -> None:
    whole = header(source, extra=extra)
    preface = parse_preface(whole[:HEAD_SIZE])

    assert preface is not None
    assert preface.length == len(whole) - HEAD_SIZE
    assert parse_source(preface, whole[HEAD_SIZE:]) == ip_address(source)


def test_a_balancer_may_speak_for_itself() -> None:
    assert parse_preface(SIGNATURE + b"\x20\x00\x00\x00") == Preface(0, 0)
    assert parse_source(Preface(0, 0), b"") is None


@pytest.mark.parametrize(
    "head",
    [
        b"", SIGNATURE, b"EHLO app.example\r\n"[:16], b"PROXY TCP4 192.0",
        SIGNATURE + b"\x11\x11\x00\x0c", SIGNATURE + b"\x22\x11\x00\x0c", SIGNATURE + b"\x21\x12\x00\x0c",
        SIGNATURE + b"\x21\x31\x00\xd8", SIGNATURE + b"\x21\x00\x00\x00", SIGNATURE + b"\x21\x11\x00\x0b",
        SIGNATURE + b"\x21\x21\x00\x23", SIGNATURE + b"\x21\x11\xff\xff",
    ],
    ids=["nothing", "cut", "SMTP", "version 1", "version byte", "command", "UDP", "unix", "unspecified", "short",
         "short IPv6", "endless"],
)  # fmt: skip
def test_what_is_no_header_of_version_2_is_none(head: bytes) -> None:
    assert parse_preface(head) is None


@given(st.binary(max_size=20) | st.binary(max_size=4).map(lambda end: SIGNATURE + end))
def test_no_bytes_make_reading_fail(head: bytes) -> None:
    preface = parse_preface(head)
    if preface is not None:
        parse_source(preface, bytes(preface.length))


async def test_the_client_is_who_a_named_balancer_says(start: Start, spool: Spool) -> None:
    listener = await start(make_config(proxies=["127.0.0.0/8"], clients=["203.0.113.0/24"]))
    client = await Raw.connect(listener.ports[0])
    client.writer.write(header("203.0.113.7") + b"EHLO app.example.net\r\n")
    await client.hello()
    await client.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode(), 0)
    client.writer.write(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    await eventually(lambda: spool.messages)

    assert spool.messages[0].client == "203.0.113.7"
    assert b"([203.0.113.7])" in spool.messages[0].body
    stranger = await Raw.connect(listener.ports[0])
    stranger.writer.write(header("198.51.100.7"))
    await stranger.hello()
    assert (await stranger.ask(f"MAIL FROM:<{SENDER}>\r\n".encode()))[0].startswith("530 5.7.0")
    await eventually(lambda: spool.rejections)
    assert spool.rejections[0].client == "198.51.100.7"
    for one in (client, stranger):
        await one.close()


async def test_what_follows_the_header_is_a_handshake_on_the_port_of_implicit_tls(
    start: Start, spool: Spool, trusting: ssl.SSLContext
) -> None:
    listener = await start(make_config(proxies=["127.0.0.0/8"], clients=["2001:db8::/32"]))
    connection = socket.create_connection(("127.0.0.1", listener.ports[1]))
    connection.sendall(header("2001:db8::7", extra=b"\x04\x00\x02xx"))
    connection.setblocking(False)
    client = aiosmtplib.SMTP(hostname="127.0.0.1", sock=connection, use_tls=True, tls_context=trusting, timeout=60)
    async with client:
        await client.sendmail(SENDER, [RECIPIENT], CONTENT)

    assert spool.messages[0].client == "2001:db8::7"


@pytest.mark.parametrize(
    ("senders", "taken"), [(["2001:db8::1", "2001:db8::2"], 1), (["2001:db8::1", "2001:db8:0:1::1"], 2)]
)
async def test_a_strangers_rate_is_that_of_the_64_around_its_address(
    start: Start, spool: Spool, trusting: ssl.SSLContext, tmp_path: Path, senders: list[str], taken: int
) -> None:
    (tmp_path / "app").write_text("secret")
    limits = {"messageRatePerClient": "1/h"}
    listener = await start(make_config(proxies=["127.0.0.0/8"], users_dir=str(tmp_path), limits=limits))
    for source in senders:
        connection = socket.create_connection(("127.0.0.1", listener.ports[1]))
        connection.sendall(header(source))
        connection.setblocking(False)
        client = aiosmtplib.SMTP(hostname="127.0.0.1", sock=connection, use_tls=True, tls_context=trusting, timeout=60)
        async with client:
            await client.login("app", "secret")
            with suppress(aiosmtplib.SMTPResponseException):
                await client.sendmail(SENDER, [RECIPIENT], CONTENT)
    assert len(spool.messages) == taken


@pytest.mark.parametrize("first", [b"EHLO app.example.net\r\n", b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 587\r\n"])
async def test_a_named_balancer_that_says_nothing_of_its_client_is_refused(start: Start, first: bytes) -> None:
    listener = await start(make_config(proxies=["127.0.0.0/8"], clients=["127.0.0.0/8", "203.0.113.0/24"]))
    client = await Raw.connect(listener.ports[0])
    client.writer.write(first)

    assert (await client.rest()).startswith("421 4.7.0 This peer is named in submission.clients.proxies: begin with")
    assert listener.session_count == 0
    await client.close()


async def test_a_balancer_that_is_silent_is_refused_in_time(start: Start) -> None:
    listener = await start(make_config(proxies=["127.0.0.0/8"]), preface_s=0.05)
    client = await Raw.connect(listener.ports[0])

    assert (await client.rest()).startswith("421 4.7.0 This peer is named")
    await client.close()


@pytest.mark.parametrize(
    ("first", "said"),
    [(header("203.0.113.7"), "421 4.7.0 The PROXY protocol is for peers named in submission.clients.proxies"),
     (b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 587\r\n", "421 4.7.0 The PROXY protocol is for peers")],
)  # fmt: skip
async def test_nobody_else_is_believed(start: Start, spool: Spool, first: bytes, said: str) -> None:
    listener = await start(make_config(proxies=["192.0.2.0/24"], clients=["203.0.113.0/24"]))
    client = await Raw.connect(listener.ports[0])
    client.writer.write(first + f"EHLO a\r\nMAIL FROM:<{SENDER}>\r\n".encode())

    assert said in await client.rest()
    assert spool.messages == []
    await client.close()


async def test_a_balancers_health_check_is_its_own(start: Start) -> None:
    listener = await start(make_config(proxies=["127.0.0.0/8"]))
    client = await Raw.connect(listener.ports[0])
    client.writer.write(SIGNATURE + b"\x20\x00\x00\x00")

    assert (await client.ask(b""))[0].startswith("220 ")
    await client.close()
    gone = await Raw.connect(listener.ports[0])
    gone.writer.write(SIGNATURE[:5])
    await gone.close()
    await eventually(lambda: listener.session_count == 0)


async def test_who_is_a_balancer_changes_with_the_configuration(start: Start) -> None:
    listener = await start(make_config(clients=["127.0.0.0/8"]))
    for proxies, said in (([], "220 "), (["127.0.0.0/8"], "421 4.7.0 This peer"), ([], "220 ")):
        listener.apply(make_config(clients=["127.0.0.0/8"], proxies=proxies))
        client = await Raw.connect(listener.ports[0])
        assert (await client.ask(b"x" * 20 if proxies else b""))[0].startswith(said)
        await client.close()


async def test_limits_count_the_clients_behind_a_balancer(start: Start) -> None:
    listener = await start(make_config(proxies=["127.0.0.0/8"], limits={"sessionsPerClient": 1}))
    clients = []
    for source, said in (
        ("203.0.113.7", "220 "),
        ("203.0.113.7", "421 4.7.0 Too many sessions"),
        ("203.0.113.8", "220 "),
    ):
        client = await Raw.connect(listener.ports[0])
        assert (await client.ask(header(source)))[0].startswith(said)
        clients.append(client)
    for client in clients:
        await client.close()
    await eventually(lambda: listener.session_count == 0)


async def test_limits_take_a_strangers_64_for_one_client_and_the_lanes_own_for_as_many_as_they_are(
    start: Start,
) -> None:
    own = "2001:db8:aaaa::/48"
    listener = await start(make_config(proxies=["127.0.0.0/8"], clients=[own], limits={"sessions_per_client": 2}))
    said = {}
    clients = []
    for source in (
        "2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::3", "2001:db8:1:1::1",
        "2001:db8:aaaa::1", "2001:db8:aaaa::2", "2001:db8:aaaa::3",
    ):  # fmt: skip
        client = await Raw.connect(listener.ports[0])
        client.writer.write(header(source))
        said[source] = (await client.reader.readline())[:3]
        clients.append(client)
    assert [one for one, code in said.items() if code != b"220"] == ["2001:db8:1::3"]
    assert said["2001:db8:1::3"] == b"421"
    for client in clients:
        await client.close()
    await eventually(lambda: not listener.session_count)
    assert not listener._sessions._by_client
