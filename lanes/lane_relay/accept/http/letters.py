"""One message a recipient, made of one request: judged addresses, rendered parts, the bytes, and the lane's verdict.

Each recipient gets a message of their own also where nothing is personal: nobody sees another's address, a report or a
refusal is about one person, and a request that is repeated after a crash has exactly one thing a recipient to make up.
Invariants: whatever stands in a request, a message that comes out has been judged by the same code as one that came in
by SMTP (`accept.message`, `Policy`, `smtp.data`); nothing here waits or knows a socket. Runs in a thread, but for
`judge`; ids and the time are given. Before it: `injection`. After it: `deposit`.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Template
from msgspec import Struct
from msgspec.structs import replace

from lane_api.isppolicy import Stage
from lane_relay.accept.http.compose import Content, Sealed, compose, mailbox_field, refuse_header, refuse_value, seal
from lane_relay.accept.http.request import Recipient, ReportWishes, Submission
from lane_relay.accept.http.templates import BadTemplateError, Meter, check_values, compiled, rendered
from lane_relay.accept.message import LONG_HEADER, MAX_HEADER, Origin, has_long_header, make_message
from lane_relay.accept.policy import Policy
from lane_relay.mail.author import Author
from lane_relay.mail.headers import read_header
from lane_relay.records import Envelope, Message, Notify, RecipientOptions, Reply
from lane_relay.smtp.address import BadAddress, Mailbox, parse_mailbox
from lane_relay.smtp.data import unfit_content

__all__ = ["BadPartError", "Letters", "Refusal"]

_CPU_A_REQUEST_S: Final = 1.0
_CPU_A_RECIPIENT_S: Final = 0.005
_CLOCK_SKEW_S: Final = 300.0
_TOO_LONG: Final = Reply(
    451, ("4.3.1 The request's templates have used up its time: send the remaining recipients in another request",)
)
_IN_THE_FUTURE: Final = Reply(550, ("5.6.0 triggeredAt is in the future: correct the clock or the time zone",))
_NOTIFY: Final = {"Success": Notify.SUCCESS, "Failure": Notify.FAILURE, "Delay": Notify.DELAY}


class Refusal(Struct, frozen=True, gc=False):
    """What is said of a recipient, or of the whole, instead of taking it."""

    reply: Reply
    stage: Stage


class BadPartError(Exception):
    """A part of the request is wrong for every recipient."""

    def __init__(self, pointer: str, detail: str) -> None:
        """`pointer` says which (RFC 6901)."""
        super().__init__(detail)
        self.pointer = pointer
        self.detail = detail


class Letters:
    """The messages of one request."""

    def __init__(self, request: Submission, policy: Policy, origin: Origin, *, max_size: int, boundary: str) -> None:
        """Compiles the templates and encodes the attachments; raises BadPartError."""
        self._request = request
        self._policy = policy
        self._origin = origin
        self._max_size = max_size
        self._boundary = boundary
        self._cpu_left = _CPU_A_REQUEST_S + _CPU_A_RECIPIENT_S * len(request.recipients)
        self._templates: dict[str, Template] = {}
        self._attachments: tuple[Sealed, ...] = tuple(seal(one) for one in request.attachments)
        self._raw = _with_line_ends(request.raw) if request.raw is not None else None
        self._sender = self._mailbox("/from", request.sender.address) if request.sender is not None else None
        self._reply_to = self._mailbox("/replyTo", request.reply_to.address) if request.reply_to is not None else None
        self.envelope_sender: Mailbox | None = self._envelope_sender()
        """Where reports go; None: the raw message has no author to take it from."""
        self._options = _options(request.dsn)
        if request.is_template:
            self._compile()

    # -- the whole

    def refusal(self, now: float) -> Refusal | None:
        """Why the lane takes nothing under this sender, or this content for nobody; `now` in Unix seconds."""
        sender = self.envelope_sender
        refused = (
            self._policy.judge_sender(sender, may_submit=True, user=self._origin.user) if sender is not None else None
        )
        if refused is not None:
            return Refusal(refused, Stage.MAIL)
        triggered = self._request.triggered_at
        if triggered is not None and triggered.timestamp() > now + _CLOCK_SKEW_S:
            return Refusal(_IN_THE_FUTURE, Stage.MAIL)
        return self._refused_content()

    def _refused_content(self) -> Refusal | None:
        if self._raw is not None:
            unfit = LONG_HEADER if has_long_header(self._raw) else unfit_content(self._raw)
            if unfit is None and self.envelope_sender is None:
                header = read_header(self._raw, self._policy.correlation_field, self._policy.campaign_field)
                unfit = self._policy.judge_content(header, smtp_utf8=True, user=self._origin.user)
            return Refusal(unfit, Stage.END_OF_DATA) if unfit is not None else None
        field = f"From: {self._sender}\r\n\r\n".encode()
        foreign = self._policy.judge_content(read_header(field), smtp_utf8=True, user=self._origin.user)
        return Refusal(foreign, Stage.END_OF_DATA) if foreign is not None else None

    def _mailbox(self, pointer: str, text: str) -> Mailbox:
        mailbox = parse_mailbox(text)
        if isinstance(mailbox, BadAddress):
            raise BadPartError(pointer, mailbox.reason)
        return mailbox

    def _envelope_sender(self) -> Mailbox | None:
        if self._request.envelope_sender is not None:
            return self._mailbox("/envelopeSender", self._request.envelope_sender)
        if self._sender is not None or self._raw is None:
            return self._sender
        author = read_header(self._raw[:MAX_HEADER]).author
        return self._mailbox("/raw", author.address) if isinstance(author, Author) else None

    def _compile(self) -> None:
        request = self._request
        parts = {"/subject": request.subject, "/text": request.text, "/html": request.html}
        parts |= {_pointer("/headers", name): value for name, value in request.headers.items()}
        for pointer, source in parts.items():
            if source is None:
                continue
            try:
                self._templates[pointer] = compiled(source, html=pointer == "/html")
            except BadTemplateError as failed:
                raise BadPartError(pointer, str(failed)) from None
        try:
            check_values(request.substitutions)
        except BadTemplateError as failed:
            raise BadPartError("/substitutions", str(failed)) from None

    # -- one recipient

    def judge(self, place: int) -> Mailbox | Refusal:
        """May mail go to the recipient at this place; asked on the loop's thread, where suppressions change."""
        mailbox = parse_mailbox(self._request.recipients[place].to)
        if isinstance(mailbox, BadAddress):
            code = "5.1.2" if mailbox.about_domain else "5.1.3"
            return Refusal(Reply(550, (f"{code} {mailbox.reason}",)), Stage.RCPT)
        refused = self._policy.judge_recipient(mailbox)
        return Refusal(refused, Stage.RCPT) if refused is not None else mailbox

    def make(self, place: int, mailbox: Mailbox, message_id: int, now: float) -> Message | Refusal:
        """The message of the recipient at this place, under this spool id; `now` in Unix seconds."""
        recipient = self._request.recipients[place]
        content = self._raw if self._raw is not None else self._content(recipient, mailbox)
        if isinstance(content, Reply):
            return Refusal(content, Stage.END_OF_DATA)
        if len(content) > self._max_size:
            text = f"5.3.4 The message has {len(content)} octets, the lane takes {self._max_size}"
            return Refusal(Reply(552, (text,)), Stage.END_OF_DATA)
        made = make_message(
            self._policy,
            content,
            self._envelope(mailbox, content),
            self._origin,
            new_id=lambda: message_id,
            now=now,
            expires_in=self._request.expires_in or 0.0,
        )
        return Refusal(made, Stage.END_OF_DATA) if isinstance(made, Reply) else self._with_wishes(made)

    def _envelope(self, recipient: Mailbox, content: bytes) -> Envelope:
        sender = "" if self.envelope_sender is None else str(self.envelope_sender)
        head = content[: content.find(b"\r\n\r\n")] if self._raw is not None else content[:0]
        others = (sender, str(recipient), str(self._sender or ""), str(self._reply_to or ""))
        wishes = self._request.dsn
        return Envelope(
            sender,
            (str(recipient),),
            eight_bit=self._raw is not None and not content.isascii(),
            smtp_utf8=not (head.isascii() and all(map(str.isascii, others))),
            ret={None: "", "Full": "FULL", "Headers": "HDRS"}[wishes.ret if wishes is not None else None],
            envid=_xtext(wishes.envid) if wishes is not None else "",
            options=self._options,
        )

    def _with_wishes(self, message: Message) -> Message:
        request = self._request
        return replace(
            message,
            protocol=self._origin.protocol,
            campaign=request.campaign or message.campaign,
            triggered_at=request.triggered_at.timestamp() if request.triggered_at is not None else message.triggered_at,
            correlation_id=request.correlation_id or message.correlation_id,
        )

    def _content(self, recipient: Recipient, mailbox: Mailbox) -> bytes | Reply:
        """The composed message; a refusal names the part."""
        request = self._request
        try:
            parts = self._rendered(recipient)
        except BadTemplateError as failed:
            return Reply(550, (f"5.6.0 Substitutions: {failed}",))
        if parts is None:
            return _TOO_LONG
        subject = parts("/subject", request.subject)
        headers = tuple((name, parts(_pointer("/headers", name), one) or "") for name, one in request.headers.items())
        for name, value in headers:
            refused = refuse_header(name, value)
            if refused is not None:
                return refused
        refused = refuse_value("The subject", subject or "")
        if refused is not None:
            return refused
        assert self._sender is not None  # noqa: S101 -- the model asks for one where there is no raw message
        assert request.sender is not None  # noqa: S101
        named = "" if request.reply_to is None else mailbox_field(str(self._reply_to), request.reply_to.name)
        return compose(
            Content(
                sender=mailbox_field(str(self._sender), request.sender.name),
                to=mailbox_field(str(mailbox), recipient.name),
                subject=subject,
                reply_to=named,
                headers=headers,
                text=parts("/text", request.text),
                html=parts("/html", request.html),
                attachments=self._attachments,
            ),
            self._boundary,
        )

    def _rendered(self, recipient: Recipient) -> "_Parts | None":
        """The parts for this recipient, or None if the request has used up its time; raises BadTemplateError."""
        if not self._request.is_template:
            return _Parts({})
        if self._cpu_left <= 0:
            return None
        check_values(recipient.substitutions)
        values = {**self._request.substitutions, **recipient.substitutions}
        began, meter, made = time.thread_time(), Meter(), {}
        try:
            for pointer, template in self._templates.items():
                made[pointer] = _one(pointer, template, values, meter)
        finally:
            self._cpu_left -= time.thread_time() - began
        return _Parts(made)


class _Parts:
    """Looks a part up; what is no template is as it was given."""

    __slots__ = ("_made",)

    def __init__(self, made: Mapping[str, str]) -> None:
        self._made = made

    def __call__(self, pointer: str, given: str | None) -> str | None:
        return self._made.get(pointer, given)


def _one(pointer: str, template: Template, values: Mapping[str, Any], meter: Meter) -> str:
    try:
        return rendered(template, values, meter)
    except BadTemplateError as failed:
        raise BadTemplateError(f"{pointer[1:]}: {failed}") from None


def _pointer(parent: str, name: str) -> str:
    return f"{parent}/{name.replace('~', '~0').replace('/', '~1')}"


def _with_line_ends(raw: bytes) -> bytes:
    """Text whose lines end in LF alone, throughout, gets CRLF; what mixes them is for the judge."""
    if b"\r" not in raw:
        raw = raw.replace(b"\n", b"\r\n")
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def _options(wishes: ReportWishes | None) -> tuple[RecipientOptions, ...]:
    if wishes is None or wishes.notify is None:
        return ()
    notify = Notify(0)
    for one in wishes.notify:
        notify |= _NOTIFY.get(one, Notify.NEVER)
    return (RecipientOptions(notify),)


def _xtext(text: str) -> str:
    """RFC 3461 section 4."""
    return "".join(char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char):02X}" for char in text)
