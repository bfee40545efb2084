"""A receiving machine, a policy for it, and a peer that talks to it."""

from collections.abc import Sequence

from lane_api.isppolicy import Stage
from lane_relay.records import Reply
from lane_relay.smtp.address import Mailbox
from lane_relay.smtp.server import AuthAttempt, Event, MessageReceived, Options, Server

OPTIONS = Options("relay.example.com", max_size=2000, max_recipients=3)
STORED = Reply(250, ("2.0.0 Ok: queued",))
EHLO = b"EHLO client.example.net\r\n"
GROUP = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"


class Policy:
    """A policy that refuses what it is told to, and remembers what was refused."""

    def __init__(self, senders: dict[str, Reply] | None = None, recipients: dict[str, Reply] | None = None) -> None:
        self.senders, self.recipients = senders or {}, recipients or {}
        self.may_submit = False
        self.refusals: list[tuple[Stage, int, str | None, tuple[str, ...]]] = []

    def sender(self, sender: Mailbox | None, size: int) -> Reply | None:
        return self.senders.get(str(sender or ""))

    def recipient(self, recipient: Mailbox, count: int) -> Reply | None:
        return self.recipients.get(str(recipient))

    def refused(self, stage: Stage, reply: Reply, sender: str | None, recipients: Sequence[str]) -> bool:
        self.refusals.append((stage, reply.code, sender, tuple(recipients)))
        return not self.may_submit


def server(
    policy: Policy | None = None, *, options: Options = OPTIONS, tls: bool = False, greeted: bool = True
) -> Server:
    made = Server(options, policy or Policy(), tls=tls)
    if greeted:
        made.receive(EHLO)
        made.take_output()
    return made


def talk(machine: Server, data: bytes) -> tuple[list[Event], bytes]:
    """Feeds bytes and answers every wait: messages are stored, nobody authenticates."""
    events: list[Event] = []
    event = machine.receive(data)
    while event is not None:
        events.append(event)
        if isinstance(event, MessageReceived):
            event = machine.reply(STORED)
        elif isinstance(event, AuthAttempt):
            event = machine.auth_result(event.username, Reply(535, ("5.7.8 no",)))
        else:
            event = None
    return events, machine.take_output()


def codes(output: bytes) -> list[int]:
    return [int(line[:3]) for line in output.split(b"\r\n") if line[3:4] == b" " or len(line) == 3]
