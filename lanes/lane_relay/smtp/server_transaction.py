"""The envelope that `smtp.server` is being told: MAIL opens it, each RCPT adds to it, content closes it.

It knows no states and writes nothing: each answer is None for yes, a Reply where a command is malformed, or a Refusal
where mail is refused, which the server tells its policy.
"""

from functools import lru_cache
from typing import Final

from lane_api.isppolicy import Stage
from lane_relay.records import Envelope, RecipientOptions, Record, Reply
from lane_relay.smtp.address import BadAddress, Mailbox, parse_mailbox
from lane_relay.smtp.command import (
    NO_OPTIONS,
    NO_PARAMETERS,
    MailParameters,
    parse_path,
    read_mail_parameters,
    read_recipient_parameters,
)
from lane_relay.smtp.data import too_big
from lane_relay.smtp.server_events import MessageReceived, Options, SessionPolicy

__all__ = ["InboundTransaction", "Refusal"]


_CACHED_SENDERS: Final = 1024
"""A lane has few of them; of one that is different in every message the last ones are kept for nothing."""
_parse_sender: Final = lru_cache(maxsize=_CACHED_SENDERS)(parse_mailbox)


class Refusal(Record, frozen=True, gc=False):
    """Mail that is not taken, as counters and records are to know it."""

    stage: Stage
    reply: Reply
    sender: str | None
    recipients: tuple[str, ...]


class InboundTransaction:
    """Sender and recipients of one message; used again and again by its session."""

    __slots__ = ("_asked", "_known", "_options", "_policy", "is_turned_down", "parameters", "recipients", "sender")

    def __init__(self, options: Options, policy: SessionPolicy) -> None:
        self._options = options
        self._policy = policy
        self.sender: str | None = None
        """None: no transaction is open."""
        self.recipients: list[str] = []
        self._asked: list[RecipientOptions] = []
        """Of each recipient; empty until one asks for something."""
        self._known: set[str] = set()
        """The recipients, once there are two."""
        self.parameters = NO_PARAMETERS
        self.is_turned_down = False
        """It, or a recipient of it, was refused, and that is no error of the peer's."""

    def end(self) -> None:
        """Forgets all of it."""
        self.sender = None
        self.is_turned_down = False
        self.parameters = NO_PARAMETERS
        if self.recipients:
            self.recipients = []
            self._asked = []
            if self._known:
                self._known = set()

    def received(self, content: bytes) -> MessageReceived:
        """The message, for its content has come."""
        parameters = self.parameters
        envelope = Envelope(
            self.sender or "", tuple(self.recipients), parameters.eight_bit, parameters.smtp_utf8, parameters.ret,
            parameters.envid, tuple(self._asked),
        )  # fmt: skip
        if not parameters.by_mode:
            return MessageReceived(envelope, content)
        if parameters.by_mode == "R":
            return MessageReceived(envelope, content, expires_in=parameters.by_time)
        return MessageReceived(envelope, content, notice_in=max(parameters.by_time, 0))

    def open(self, argument: str) -> Reply | Refusal | None:
        """The argument of MAIL; a transaction that is refused is not open."""
        self.is_turned_down = False
        path = parse_path("FROM", argument)
        if path is None:
            return _say(501, "5.5.4 Write MAIL FROM:<address>")
        parameters = read_mail_parameters(path.parameters)
        if isinstance(parameters, Reply):
            return parameters
        sender = _parse_sender(path.address) if path.address else None
        refusal = self._judge_sender(sender, parameters)
        if refusal is not None:
            return Refusal(Stage.MAIL, refusal, path.address, ())
        self.sender = str(sender) if sender is not None else ""
        self.parameters = parameters
        return None

    def _judge_sender(self, sender: Mailbox | BadAddress | None, parameters: MailParameters) -> Reply | None:
        if isinstance(sender, BadAddress):
            return _say(553, f"{'5.1.8' if sender.about_domain else '5.1.7'} Sender: {sender.reason}")
        if sender is not None and not parameters.smtp_utf8 and not sender.local.isascii():
            return _say(553, "5.6.7 This sender needs the SMTPUTF8 parameter")
        if parameters.size > self._options.max_size:
            return too_big(self._options.max_size)
        return self._policy.sender(sender, parameters.size)

    def add(self, argument: str) -> Reply | Refusal | None:
        """The argument of RCPT; who is named again is one recipient, as named first, for nobody wants it twice."""
        path = parse_path("TO", argument)
        if path is None or not path.address:
            return _say(501, "5.5.4 Write RCPT TO:<address>")
        options = read_recipient_parameters(path.parameters)
        if isinstance(options, Reply):
            return options
        recipient = parse_mailbox(path.address)
        name = str(recipient)
        if self.recipients and self._is_known(name):
            return None
        refusal = self._judge_recipient(recipient)
        if refusal is not None:
            return Refusal(Stage.RCPT, refusal, self.sender, (path.address,))
        if self._asked or options is not NO_OPTIONS:
            self._asked += [NO_OPTIONS] * (len(self.recipients) - len(self._asked))
            self._asked.append(options)
        self.recipients.append(name)
        if self._known:
            self._known.add(name)
        return None

    def _is_known(self, name: str) -> bool:
        """A message has one recipient nearly always: of more there is a set."""
        if not self._known:
            self._known = set(self.recipients)
        return name in self._known

    def _judge_recipient(self, recipient: Mailbox | BadAddress) -> Reply | None:
        if isinstance(recipient, BadAddress):
            return _say(553, f"{'5.1.2' if recipient.about_domain else '5.1.3'} Recipient: {recipient.reason}")
        if not self.parameters.smtp_utf8 and not recipient.local.isascii():
            return _say(553, "5.6.7 This recipient needs the SMTPUTF8 parameter of MAIL")
        if len(self.recipients) >= self._options.max_recipients:
            # RFC 5321 section 4.5.3.1.10: the client sends the rest in another transaction.
            return _say(452, f"4.5.3 At most {self._options.max_recipients} recipients a message")
        return self._policy.recipient(recipient, len(self.recipients))


def _say(code: int, text: str) -> Reply:
    return Reply(code, (text,))
