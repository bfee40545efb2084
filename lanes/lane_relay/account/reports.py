"""The reports that a sender gets, as messages of the relay's own; pure but for the id that each is given.

Invariant: a report goes to the envelope sender of the message it is about, from the null sender, and is signed by the
domain of that message. Before: `settle` said whom it is about. After: `settler` deposits it as intake does.
"""

from msgspec.structs import replace

from lane_relay.account.settle import Outcome, OutcomeOf
from lane_relay.guard import contain
from lane_relay.mail.dsn import News, ReportedRecipient, ReportRequest, status_report
from lane_relay.records import Attempt, Envelope, Message, Reply, message_id_text, received_at

__all__ = ["compose"]


def compose(
    attempt: Attempt,
    outcomes: tuple[OutcomeOf, ...],
    about: tuple[int, ...],
    news: News,
    *,
    report_id: int,
    hostname: str,
    now: float,
    retry_until: float = 0.0,
) -> Message:
    """The report about these recipients of the attempt; its message has a sender, for `settle` says so."""
    message = attempt.message
    envelope = message.envelope
    author = message.from_domain or hostname
    request = ReportRequest(
        id=message_id_text(report_id),
        now=now,
        hostname=hostname,
        author=f"MAILER-DAEMON@{author}",
        sender=envelope.sender,
        arrived=received_at(message.id),
        content=message.body,
        message_id=message.message_id,
        recipients=tuple([_reported(attempt, one) for one in outcomes if one.result.index in about]),
        news=news,
        envid=envelope.envid,
        full=envelope.ret == "FULL",
        retry_until=retry_until,
    )
    body = _written(request)
    ascii_header = body[: body.find(b"\r\n\r\n")].isascii()
    return Message(
        report_id,
        Envelope("", (envelope.sender,), eight_bit=not body.isascii(), smtp_utf8=not ascii_header),
        body,
        message_id=f"<dsn-{request.id}@{hostname}>",
        correlation_id=message.correlation_id,
        from_domain=author,
    )


def _written(request: ReportRequest) -> bytes:
    """The report; one that others' words break goes out without them, for nobody is given up without a report."""
    try:
        return status_report(request) or b""
    except Exception as error:  # noqa: BLE001 -- whatever it is
        contain("reports", error, id=request.id)
        bare = [replace(one, reply=Reply(one.reply.code, ("",)), orcpt="") for one in request.recipients]
        return status_report(replace(request, recipients=tuple(bare), content=b"", envid="")) or b""


def _reported(attempt: Attempt, one: OutcomeOf) -> ReportedRecipient:
    envelope, index = attempt.message.envelope, one.result.index
    return ReportedRecipient(
        envelope.recipients[index],
        one.result.reply,
        attempt.peer.host if attempt.peer is not None and not one.result.own_words else "",
        attempt.ended_at if attempt.started_at else 0.0,
        expired=one.outcome is Outcome.EXPIRED,
        orcpt=envelope.options_of(index).orcpt,
    )
