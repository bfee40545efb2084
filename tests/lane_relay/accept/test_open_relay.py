"""The battery of an open-relay tester: nobody who is not the lane's client gets anything in, whatever it writes.

Sources: "nmap N" is test N of smtp-open-relay.nse (nmap.org), whose forms are those of the old relay testers; the
others are ways round a policy that MTAs have had: trusted names in HELO, parameters and foreign commands that carry an
identity (XCLIENT, XFORWARD, PROXY), answers that are not waited for, mechanisms and passwords that are empty.
"""

import asyncio
import ssl
from base64 import b64encode
from pathlib import Path

import pytest

from lane_api.relayconfig import RelayConfig
from tests.lane_relay.accept.clients import SENDER, Raw
from tests.lane_relay.accept.conftest import Spool, Start, make_config

HOST, IP, DOMAIN = "out1.example.com", "127.0.0.1", "nmap.scanme.org"
TO = f"relaytest@{DOMAIN}"
BY_IP = f"antispam@[{IP}]"
NMAP = [
    ("", TO), (f"antispam@{DOMAIN}", TO), (f"antispam@{HOST}", TO), (BY_IP, TO),
    (BY_IP, f"relaytest%{DOMAIN}@[{IP}]"), (BY_IP, f"relaytest%{DOMAIN}@{HOST}"), (BY_IP, f'"{TO}"'),
    (BY_IP, f'"relaytest%{DOMAIN}"'), (BY_IP, f"{TO}@[{IP}]"), (BY_IP, f'"{TO}"@[{IP}]'), (BY_IP, f"{TO}@{HOST}"),
    (BY_IP, f"@[{IP}]:{TO}"), (BY_IP, f"@{HOST}:{TO}"), (BY_IP, f"{DOMAIN}!relaytest"),
    (BY_IP, f"{DOMAIN}!relaytest@[{IP}]"), (BY_IP, f"{DOMAIN}!relaytest@{HOST}"),
]  # fmt: skip
CONTENT = f"From: {SENDER}\r\n\r\nrelayed?\r\n.\r\n"


def transaction(sender: str, recipient: str = TO, parameters: str = "") -> str:
    return f"MAIL FROM:<{sender}>{parameters}\r\nRCPT TO:<{recipient}>\r\nDATA\r\n{CONTENT}"


TRICKS = {
    **{f"nmap {number}": transaction(*pair) for number, pair in enumerate(NMAP, 1)},
    "the lane's own sender": transaction(SENDER),
    "an identity in MAIL": transaction(SENDER, parameters=" AUTH=<app>"),
    "an identity in XCLIENT": f"XCLIENT ADDR=10.0.0.1 LOGIN=app\r\nEHLO a\r\n{transaction(SENDER)}",
    "an identity in XFORWARD": f"XFORWARD ADDR=10.0.0.1\r\n{transaction(SENDER)}",
    "a client in PROXY": f"PROXY TCP4 10.0.0.1 {IP} 40000 587\r\n{transaction(SENDER)}",
    "a trusted name in HELO": f"HELO {HOST}\r\n{transaction(SENDER)}",
    "a trusted address in EHLO": f"EHLO [10.0.0.1]\r\n{transaction(SENDER)}",
    "AUTH in plain text": "AUTH PLAIN AGFwcABzZWNyZXQ=\r\n" + transaction(SENDER),
    "AUTH EXTERNAL": "AUTH EXTERNAL =\r\n" + transaction(SENDER),
    "AUTH ANONYMOUS": "AUTH ANONYMOUS =\r\n" + transaction(SENDER),
    "RCPT before MAIL": f"RCPT TO:<{TO}>\r\nDATA\r\n{CONTENT}",
    "BDAT without more": f"BDAT {len(CONTENT)} LAST\r\n{CONTENT}",
    "BDAT behind a refusal": f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{TO}>\r\nBDAT {len(CONTENT)} LAST\r\n{CONTENT}",
    "RSET and again": f"MAIL FROM:<{SENDER}>\r\nRSET\r\n{transaction(SENDER)}",
    "SEND, SOML, SAML": "".join(f"{verb} FROM:<{SENDER}>\r\nRCPT TO:<{TO}>\r\n" for verb in ("SEND", "SOML", "SAML")),
    "TURN and ETRN": f"TURN\r\nETRN {DOMAIN}\r\n{transaction(SENDER)}",
}

SECRETS = [b"", b"\0", b"\0\0", b"\0app\0", b"\0app\0wrong", b"\0.\0", b"\0..\0x", b"app\0app\0"]
AUTHORS = [
    f"boss@{DOMAIN}", f"{SENDER}, boss@{DOMAIN}", f"{SENDER}\r\nFrom: boss@{DOMAIN}", f"boss@{DOMAIN} <{SENDER}x>",
    f"({SENDER}) boss@{DOMAIN}", f'"{SENDER}" <boss@{DOMAIN}>', f"{SENDER}@{DOMAIN}",
    f"boss@{DOMAIN}\r\nSender: {SENDER}",
]  # fmt: skip
BATTERY = len(TRICKS) + len(SECRETS) + len(NMAP[1:]) + len(AUTHORS)
"""How many tricks there are, whatever the number of event loops that they are tried on."""


def strict(tmp_path: Path) -> RelayConfig:
    (tmp_path / "app").write_text("secret")
    limits = {"tarpit": {"max": "0s"}}
    clients = ["10.0.0.0/8"]
    return make_config(users_dir=str(tmp_path), clients=clients, senders=["@notify.example.com"], limits=limits)


def test_no_trick_is_counted_twice() -> None:
    assert len({*TRICKS.values()}) + len({*SECRETS}) + len({*NMAP[1:]}) + len({*AUTHORS}) == BATTERY == 63


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
async def test_nothing_of_a_stranger_gets_in(start: Start, spool: Spool, tmp_path: Path, trick: str) -> None:
    listener = await start(strict(tmp_path))
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    client.writer.write(trick.encode() + b"QUIT\r\n")
    answers = (await client.rest()).split("\r\n")

    assert spool.messages == []
    assert not any(answer.startswith(("354", "235")) for answer in answers)
    assert answers[-2][:3] in ("221", "421", "500")
    await client.close()


@pytest.mark.parametrize("secret", SECRETS)
async def test_no_empty_or_odd_credentials_let_a_stranger_in(
    start: Start, spool: Spool, trusting: ssl.SSLContext, tmp_path: Path, secret: bytes
) -> None:
    listener = await start(strict(tmp_path))
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.ports[1], ssl=trusting)
    client = Raw(reader, writer)
    await client.hello()
    (answer,) = await client.ask(b"AUTH PLAIN " + (b64encode(secret) or b"=") + b"\r\n")
    assert answer[:3] in ("501", "535")
    client.writer.write(transaction(SENDER).encode() + b"QUIT\r\n")
    assert "354" not in await client.rest()
    assert spool.messages == []
    await client.close()


@pytest.mark.parametrize("pair", NMAP[1:], ids=[f"nmap {number}" for number in range(2, 17)])
async def test_the_lanes_own_client_sends_as_nobody_else(start: Start, spool: Spool, pair: tuple[str, str]) -> None:
    listener = await start(make_config(clients=["127.0.0.0/8"], senders=["@notify.example.com"]))
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    answers = await client.ask(f"MAIL FROM:<{pair[0]}>\r\nRCPT TO:<{pair[1]}>\r\nDATA\r\n".encode(), 3)

    assert [answer[0] for answer in answers] == ["5"] * 3
    assert spool.messages == []
    await client.close()


@pytest.mark.parametrize("author", AUTHORS)
async def test_nor_does_it_write_another_author_above_its_mail(start: Start, spool: Spool, author: str) -> None:
    listener = await start(make_config(clients=["127.0.0.0/8"], senders=["@notify.example.com"]))
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    await client.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{TO}>\r\nDATA\r\n".encode(), 3)
    (answer,) = await client.ask(f"From: {author}\r\n\r\nx\r\n.\r\n".encode())

    assert answer.startswith(("550 5.6.0", "550 5.7.1"))
    assert spool.messages == []
    await client.close()
