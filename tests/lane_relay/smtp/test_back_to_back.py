"""Our client machine against our server machine in memory, and against aiosmtpd over a socket."""

import asyncio
from collections.abc import Sequence

import pytest
from aiosmtpd.smtp import SMTP, Session
from aiosmtpd.smtp import Envelope as PeerEnvelope
from hypothesis import example, given
from hypothesis import strategies as st

from lane_api.isppolicy import Stage
from lane_relay.records import Envelope, Reply
from lane_relay.smtp.address import Mailbox
from lane_relay.smtp.client import Client, Event, Ready, TransactionDone, Write
from lane_relay.smtp.server import MessageReceived, Options, Server

ENVELOPE = Envelope("a@x.example", ("b@y.example", "no@y.example", "c@y.example"), eight_bit=True)


class Policy:
    """Refuses `no@`."""

    def sender(self, sender: Mailbox | None, size: int) -> Reply | None:
        return None

    def recipient(self, recipient: Mailbox, count: int) -> Reply | None:
        return Reply(550, ("5.1.1 no",)) if recipient.local == "no" else None

    def refused(self, stage: Stage, reply: Reply, sender: str | None, recipients: Sequence[str]) -> bool:
        return True


class Wire:
    """The two machines, joined by a cut that moves `piece` bytes at a time."""

    def __init__(self, piece: int) -> None:
        self.client = Client("client.example")
        self.server = Server(Options("server.example"), Policy())
        self.piece = piece
        self.events: list[Event] = []
        self.stored: list[MessageReceived] = []
        self.to_client(self.server.greet())

    def to_client(self, data: bytes) -> None:
        for at in range(0, len(data), self.piece):
            for event in self.client.receive(data[at : at + self.piece]):
                self.events.append(event)
                if isinstance(event, Write):
                    self.to_server(b"".join(event.chunks))

    def to_server(self, data: bytes) -> None:
        for at in range(0, len(data), self.piece):
            event = self.server.receive(data[at : at + self.piece])
            while isinstance(event, MessageReceived):
                self.stored.append(event)
                event = self.server.reply(Reply(250, ("2.0.0 ok",)))
        self.to_client(self.server.take_output())


_bodies = st.lists(st.text(". aü\t", max_size=5).map(str.encode), max_size=8).map(
    lambda lines: b"Subject: x\r\n\r\n" + b"".join(line + b"\r\n" for line in lines)
)


@given(bodies=st.lists(_bodies, min_size=1, max_size=4), piece=st.integers(1, 400))
@example(bodies=[b"Subject: x\r\n\r\n"], piece=4)  # a first read one octet shorter than an end of content
def test_what_our_client_sends_our_server_receives(bodies: list[bytes], piece: int) -> None:
    wire = Wire(piece)
    for body in bodies:
        wire.to_server(wire.client.send(ENVELOPE, (0, 1, 2), (body,)))

    assert [stored.content for stored in wire.stored] == bodies
    assert {stored.envelope.recipients for stored in wire.stored} == {("b@y.example", "c@y.example")}
    done = [event for event in wire.events if isinstance(event, TransactionDone)]
    assert [[result.reply.code for result in event.results] for event in done] == [[250, 550, 250]] * len(bodies)


class _Peer:
    """aiosmtpd's handler: keeps what it gets and refuses `no@`."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def handle_RCPT(  # noqa: N802 - the name aiosmtpd calls
        self, server: SMTP, session: Session, envelope: PeerEnvelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("no@"):
            return "550 5.1.1 no"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: PeerEnvelope) -> str:  # noqa: N802 - the same
        assert isinstance(envelope.original_content, bytes)
        self.contents.append(envelope.original_content)
        return "250 2.0.0 ok"


@pytest.mark.parametrize("count", [1, 3])
async def test_another_implementation_receives_what_our_client_sends(count: int) -> None:
    peer = _Peer()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(peer, hostname="peer.example", loop=loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    client = Client("client.example")
    body = b"Subject: x\r\n\r\n.one\r\n..two\r\n\xc3\xbc\r\n"
    sent, done = 0, list[TransactionDone]()
    async with asyncio.timeout(60):
        while len(done) < count:
            for event in client.receive(await reader.read(65536)):
                if isinstance(event, Write):
                    writer.writelines(event.chunks)
                elif isinstance(event, TransactionDone):
                    done.append(event)
                if isinstance(event, Ready | TransactionDone) and sent < count:
                    sent += 1
                    writer.write(client.send(ENVELOPE, (0, 1), (body,)))
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()

    assert peer.contents == [body] * count
    assert [[result.reply.code for result in event.results] for event in done] == [[250, 550]] * count
