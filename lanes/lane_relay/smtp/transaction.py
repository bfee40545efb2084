"""One message on its way through `smtp.client`: its commands, its content, and what was said of its recipients.

It knows no states; `smtp.client` moves it.
"""

from collections.abc import Sequence

from lane_api.isppolicy import Stage
from lane_relay.records import Envelope, Reply
from lane_relay.smtp.client_events import RecipientReply
from lane_relay.smtp.data import stuff
from lane_relay.smtp.errors import LocalProtocolError
from lane_relay.smtp.extensions import Extensions

__all__ = ["Transaction", "begin_transaction", "command_text"]


class Transaction:
    """`accepted`, `refused` and `mail_refusal` fill up as the replies come; `step` counts them."""

    __slots__ = ("accepted", "commands", "content", "indexes", "mail_accepted", "mail_refusal", "refused", "step")

    def __init__(self, indexes: tuple[int, ...], commands: list[bytes], content: tuple[bytes, ...]) -> None:
        self.indexes = indexes
        self.commands = commands
        """MAIL, each RCPT, DATA."""
        self.content = content
        """Stuffed, with the end of data."""
        self.accepted: list[int] = []
        self.refused: list[RecipientReply] = []
        self.mail_accepted = False
        self.mail_refusal: Reply | None = None
        self.step = 0

    def settle(self, stage: Stage, reply: Reply) -> tuple[RecipientReply, ...]:
        """Results for all recipients: a refused MAIL speaks for all, a refused RCPT for one, else this."""
        if self.mail_refusal is not None:
            stage, reply = Stage.MAIL, self.mail_refusal
        elif self.refused:
            own = {result.index: result for result in self.refused}
            return tuple([own.get(index) or RecipientReply(index, stage, reply) for index in self.indexes])
        return tuple([RecipientReply(index, stage, reply) for index in self.indexes])


def begin_transaction(
    extensions: Extensions, envelope: Envelope, recipients: Sequence[int], body: Sequence[bytes]
) -> Transaction:
    """The transaction that sends this body to these recipients; raises LocalProtocolError on control characters."""
    parameters = extensions.mail_parameters(envelope, recipients, body)
    commands = [b"MAIL FROM:<%b>%b\r\n" % (command_text(envelope.sender), parameters)]
    if envelope.options and extensions.dsn:
        commands += [_recipient_with_options(extensions, envelope, index) for index in recipients]
    else:
        commands += [b"RCPT TO:<%b>\r\n" % command_text(envelope.recipients[index]) for index in recipients]
    commands.append(b"DATA\r\n")
    return Transaction(tuple(recipients), commands, stuff(body))


def _recipient_with_options(extensions: Extensions, envelope: Envelope, index: int) -> bytes:
    parameters = extensions.recipient_parameters(envelope.options_of(index))
    return b"RCPT TO:<%b>%b\r\n" % (command_text(envelope.recipients[index]), parameters)


def command_text(text: str) -> bytes:
    """The bytes of a name or address that goes into a command; a line end in it would be a command of its own."""
    if not text.isprintable():
        raise LocalProtocolError(f"control characters in {text!r}")
    return text.encode()
