"""The body of `POST /v1/messages` as frozen models: what is parsed here is what `/v1/openapi.json` describes.

Invariant: a request that these models take has bounded lists and names, exactly one kind of content, and text that is
text; whether a lane takes it is judged elsewhere. Of a list only the first bad item is an error, so that a list of bad
ones costs no more. Before it: `reading`. After it: `injection`.
"""

import re
from binascii import Error, a2b_base64
from collections import Counter
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

from msgspec.json import Encoder
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from lane_api.quantities import parse_duration
from lane_relay.smtp.address import normalise_domain

__all__ = [
    "EXAMPLES",
    "MAX_RECIPIENTS",
    "Attachment",
    "Part",
    "Person",
    "Recipient",
    "ReportWishes",
    "Submission",
]

MAX_RECIPIENTS: Final = 10_000
"""Of one request, whatever the lane is configured with."""
_DURATION: Final = r"^([0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h))+$"
_LONGEST_S: Final = 30 * 86400.0
_PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
_MEDIA_TYPE: Final = (
    r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}(; ?[a-z]+=[A-Za-z0-9_.-]+)?$"
)
_ENCODED_BYTES: Final = 240
"""Of an attachment's name: percent-encoded it still fits one line (RFC 5322 section 2.1.1)."""


def _decoded(value: Any) -> Any:
    """Base64 of RFC 4648 section 4, line breaks allowed; raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("must be a text of base64")  # noqa: TRY004 -- pydantic takes no other
    try:
        # Without a copy of a text that has no line breaks, and may be all of the request.
        return a2b_base64(value.translate(_BLANKS) if _BREAK.search(value) else value, strict_mode=True)
    except (Error, ValueError):
        raise ValueError("is not base64 (RFC 4648 section 4, with padding)") from None


def _seconds(value: Any) -> Any:
    if not isinstance(value, str) or len(value) > 24 or not re.match(_DURATION, value):
        raise ValueError("must be a duration, a number and a unit such as 90s, 15m or 4h")
    seconds = parse_duration(value)
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError("must be more than 0s and at most 720h")
    return seconds


_BREAK: Final = re.compile(r"[\r\n]")
_BLANKS: Final = {ord(char): None for char in "\r\n"}
_Line = Annotated[str, StringConstraints(max_length=200, pattern=_PRINTABLE)]
_HeaderText = Annotated[str, StringConstraints(max_length=2000)]
_AddressText = Annotated[str, StringConstraints(min_length=3, max_length=320, pattern=_PRINTABLE)]
_Base64 = Annotated[bytes, BeforeValidator(_decoded), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]
_Duration = Annotated[
    float, BeforeValidator(_seconds), WithJsonSchema({"type": "string", "pattern": _DURATION, "maxLength": 24})
]


_encode: Final = Encoder(order="deterministic").encode


class Part(BaseModel):
    """Unknown fields are errors: a misspelt `expiresIn` must not send a code that is out of date."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)


class _AddressOr(Part):
    """Also written as the address alone."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {next(iter(cls.model_fields)): value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string", "minLength": 3, "maxLength": 320}, made]}


class Person(_AddressOr):
    """An address, with or without a name to show."""

    address: _AddressText
    """Such as `login@notify.example.com`."""
    name: _Line = ""
    """Stands before the address."""


class Recipient(_AddressOr):
    """Who gets a message of their own, and what is put into it for them."""

    to: _AddressText
    """The address."""
    name: _Line = ""
    """Stands in the To field."""
    substitutions: dict[str, JsonValue] = {}
    """Values of the templates' names, laid over those of the request."""


class Attachment(Part):
    """A file."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=_ENCODED_BYTES, pattern=_PRINTABLE)]
    """As its reader sees it, such as `invoice.pdf`."""
    type: Annotated[str, StringConstraints(max_length=255, pattern=_MEDIA_TYPE)] = "application/octet-stream"
    """Its media type."""
    content: _Base64
    """The file in base64."""
    cid: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@+-]{1,200}$")] | None = None
    """Shown in the HTML as `<img src="cid:...">` instead of being listed."""

    @model_validator(mode="after")
    def _fits_a_mail(self) -> Self:
        if self.type.lower().startswith(("multipart/", "message/")):
            raise ValueError(f"type {self.type} cannot be an attachment in base64 (RFC 2046): send the mail as raw")
        if len(self.name.encode()) > _ENCODED_BYTES:
            raise ValueError(f"name has more than {_ENCODED_BYTES} bytes: shorten it")
        return self


class ReportWishes(Part):
    """Delivery status notifications (RFC 3461)."""

    notify: Annotated[tuple[Literal["Never", "Success", "Failure", "Delay"], ...], Field(max_length=4)] | None = None
    """Of what the envelope sender is told; Never stands alone. Default: failures, and delays as the lane has it."""
    ret: Literal["Full", "Headers"] | None = None
    """How much of the message a failure report returns. Default: the lane's choice."""
    envid: Annotated[str, StringConstraints(max_length=100, pattern=r"^[ -~]*$")] = ""
    """A name that reports carry, for the sender to know the message by."""

    @model_validator(mode="after")
    def _never_alone(self) -> Self:
        if self.notify is not None and (not self.notify or ("Never" in self.notify and len(self.notify) > 1)):
            raise ValueError("notify is Never alone, or some of Success, Failure and Delay")
        return self


EXAMPLES: Final[list[JsonValue]] = [
    {
        "from": {"address": "login@notify.example.com", "name": "Example"},
        "recipients": ["ann@isp.example"],
        "subject": "Your code",
        "text": "Your code is 123456.",
        "expiresIn": "5m",
    },
    {
        "from": "news@notify.example.com",
        "recipients": [
            {"to": "ann@isp.example", "name": "Ann", "substitutions": {"name": "Ann", "items": ["tea"]}},
            {"to": "bob@isp.example", "substitutions": {"name": "Bob", "items": []}},
        ],
        "subject": "News for {{ name }}",
        "html": "<p>Hello {{ name }}</p>{% for item in items %}<p>{{ item }}</p>{% endfor %}",
        "headers": {"List-Unsubscribe": "<https://notify.example.com/u?a={{ name|urlencode }}>"},
        "campaign": "spring",
    },
    {
        "recipients": ["ann@isp.example"],
        "raw": "RnJvbTogYXBwQG5vdGlmeS5leGFtcGxlLmNvbQ0KU3ViamVjdDogaGkNCg0KaGkNCg==",
    },
]
"""Requests as people write them; in the document, and the tests send them."""


class Submission(Part):
    """One request: content, and who gets a message of their own made of it."""

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    sender: Person | None = Field(default=None, alias="from")
    """The header From; it must be one of the lane's senders. Absent only with `raw`, which has its own."""
    envelope_sender: _AddressText | None = None
    """Where reports of non-delivery go. Default: the address of `from`."""
    recipients: Annotated[tuple[Recipient, ...], FailFast(), Field(min_length=1, max_length=MAX_RECIPIENTS)]
    """Each gets a message of their own, and sees no other recipient."""
    reply_to: Person | None = None
    """Where answers go. Default: to `from`."""
    subject: Annotated[str, StringConstraints(max_length=2000)] | None = None
    """The Subject field; characters beyond ASCII are encoded."""
    text: str | None = None
    """The plain text; at least one of `text` and `html`."""
    html: str | None = None
    """The same as HTML."""
    headers: Annotated[dict[str, _HeaderText], Field(max_length=50)] = {}
    """Further header fields, such as List-Unsubscribe."""
    attachments: Annotated[tuple[Attachment, ...], FailFast(), Field(max_length=50)] = ()
    """Files, the same for every recipient."""
    raw: _Base64 | None = None
    """A whole message (RFC 5322), instead of subject, text, html, headers and attachments."""
    template: Literal["Jinja", "None"] | None = None
    """Jinja: subject, text, html and headers are templates. Default: Jinja where there are substitutions, else None."""
    substitutions: dict[str, JsonValue] = {}
    """Values of the templates' names for every recipient."""
    campaign: Annotated[_Line, StringConstraints(max_length=100)] = ""
    """What it is part of: campaigns share the lane fairly."""
    expires_in: _Duration | None = None
    """Never attempted after so long, such as `5m` for a code. Default: the lane's lifetime."""
    triggered_at: AwareDatetime | None = None
    """When your system decided to send it (RFC 3339), for the latency that its user sees."""
    correlation_id: _Line = ""
    """Yours; in every record of the message. Default: the X-Correlation-Id field, if there is one."""
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")] | None = None
    """The same request with the same key is sent once within 24 h; also as the field Idempotency-Key."""
    dsn: ReportWishes | None = None
    """Which reports the envelope sender wants."""

    @property
    def is_template(self) -> bool:
        """Content is rendered for each recipient."""
        if self.template is not None:
            return self.template == "Jinja"
        return bool(self.substitutions) or any(one.substitutions for one in self.recipients)

    @cached_property
    def first_places(self) -> tuple[int, ...]:
        """For each recipient, the first place where the same mailbox is to get the same: its own, nearly always.

        Domains are compared without case. With other substitutions it is another message, and wanted.
        """
        mailboxes = [_without_case(one.to) for one in self.recipients]
        times, found = Counter(mailboxes), dict[tuple[str, bytes], int]()
        return tuple(
            found.setdefault((mailbox, _encode(one.substitutions)), place) if times[mailbox] > 1 else place
            for place, (mailbox, one) in enumerate(zip(mailboxes, self.recipients, strict=True))
        )

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if self.raw is not None:
            composed = ("reply_to", "subject", "text", "html", "headers", "attachments", "template", "substitutions")
            beside = [to_camel(name) for name in composed if name in self.model_fields_set]
            if beside:
                raise ValueError(f"raw is the whole message: put {', '.join(beside)} into it, or leave raw out")
            if any(one.substitutions for one in self.recipients):
                raise ValueError("raw is sent as it is: for substitutions use subject, text and html")
        elif self.sender is None:
            raise ValueError("from is missing: write an address of the lane's senders")
        elif self.text is None and self.html is None:
            raise ValueError("there is no content: set text, html or both, or raw")
        if self.template == "None" and (self.substitutions or any(one.substitutions for one in self.recipients)):
            raise ValueError("substitutions are for templates: leave template out or write Jinja")
        return self

    @model_validator(mode="after")
    def _inline_has_a_place(self) -> Self:
        if self.html is None and any(one.cid is not None for one in self.attachments):
            raise ValueError("an attachment with cid is shown inside html, and there is none: take cid out")
        return self


def _without_case(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local}@{normalise_domain(domain) or domain}"
