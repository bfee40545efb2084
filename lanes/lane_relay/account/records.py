"""Accounting records: one JSON object per event and recipient; `log_record` has their fields.

Before: `settle` decided. After: `journal`.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from msgspec.json import Encoder
from msgspec.structs import replace

from lane_api.isppolicy import Category, Stage
from lane_api.relayconfig import LaneIdentity, SlotIdentity
from lane_relay.account.log_record import (
    EnhancedCode,
    LogRecord,
    PeerAddress,
    RecordType,
    Response,
    SourceAddress,
)
from lane_relay.account.settle import Outcome
from lane_relay.audit.recipients import digest, hide
from lane_relay.guard import contain
from lane_relay.records import (
    Attempt,
    Envelope,
    Message,
    Notify,
    RecipientResult,
    Reply,
    TlsPolicy,
    TlsResult,
    message_id_text,
    notify_words,
    received_at,
)

__all__ = ["SCHEMA", "LogRecord", "PeerAddress", "RecordType", "RecordWriter", "Response", "SourceAddress"]

SCHEMA: Final = 1
_WORD = re.compile(r"[^\s<>()\[\]:;,\"']+")
_MASKED: Final = "(address)"
_CACHED_CODES: Final = 256
"""Some forty are in use (RFC 3463 and its registry)."""
_NO_TLS: Final = TlsResult()
_MOST_ORIGINALS: Final = 2**20
"""Octets of original recipients in one record: 10,000 recipients of the largest ones would be beyond its readers."""


_TYPE_OF: Final = {
    Outcome.DELIVERED: RecordType.DELIVERY,
    Outcome.DEFERRED: RecordType.TRANSIENT_FAILURE,
    Outcome.BOUNCED: RecordType.BOUNCE,
    Outcome.EXPIRED: RecordType.EXPIRATION,
    Outcome.SUPPRESSED: RecordType.SUPPRESSION,
    Outcome.HANDED_OVER: RecordType.HAND_OVER,
    Outcome.DROPPED: RecordType.ADMIN_ACTION,
}


class RecordWriter:
    """Makes records of one slot; each is one JSON object without a line end, and `{` is its first byte."""

    def __init__(
        self,
        lane: LaneIdentity,
        slot: SlotIdentity,
        policy_id: Callable[[str], str] = lambda _domain: "",
        recipients_key: bytes | None = None,
    ) -> None:
        """Whose records they are; `policy_id` tells the id of a domain's MTA-STS policy.

        With a key, recipients are keyed digests in every record (`audit.recipients`).
        """
        self._policy_id = policy_id
        self._lane = f"{lane.namespace}/{lane.name}"
        self._slot = slot.name
        self._hides = recipients_key is not None
        self._encode_plain: Callable[[LogRecord], bytes] = Encoder().encode
        self._key = recipients_key

    def _encode(self, record: LogRecord) -> bytes:
        """One line; of what could not be put into it, the words of others are left out."""
        try:
            if self._key is None:
                return self._encode_plain(record)
            return _encode_hidden(self._key, self._encode_plain, record)
        except Exception as error:  # noqa: BLE001 -- a record is made of peers' words, and each has to be there
            contain("records", error, id=record.id)
            return self._encode_plain(_without_their_words(self._key, record))

    def reception(self, message: Message, now: float) -> bytes:
        """A message was accepted, or made by the relay itself (no client)."""
        redirected = message.redirected_from
        return self._reception(
            message,
            now,
            message.protocol or ("ESMTP" if message.client else ""),
            {"redirected_from": "\n".join(redirected)} if redirected else {},
            peer=PeerAddress("", message.client) if message.client else None,
            user=message.user,
            triggered=message.triggered_at or None,
        )

    def taken_over(self, message: Message, now: float, giver: str, origin: str) -> bytes:
        """A message came from another slot of the lane, which has it as `origin`; its client spoke to that one."""
        return self._reception(message, now, "HandOver", {"from_slot": giver, "origin": origin})

    def _reception(
        self,
        message: Message,
        now: float,
        protocol: str,
        meta: dict[str, str],
        *,
        peer: PeerAddress | None = None,
        user: str = "",
        triggered: float | None = None,
    ) -> bytes:
        envelope = message.envelope
        if envelope.options or envelope.envid:
            meta = meta | _asked(envelope, hides=self._hides)
        return self._encode(
            LogRecord(
                type=RecordType.RECEPTION,
                schema=SCHEMA,
                lane=self._lane,
                slot=self._slot,
                timestamp=round(now, 3),
                id=message_id_text(message.id),
                sender=message.envelope.sender,
                recipient=_one_or_all(message.envelope.recipients),
                size=len(message.body),
                peer_address=peer,
                created=received_at(message.id),
                reception_protocol=protocol,
                user=user,
                message_id=message.message_id,
                correlation_id=message.correlation_id,
                campaign=message.campaign,
                triggered=triggered,
                meta=meta,
            )
        )

    def attempt(self, attempt: Attempt, result: RecipientResult, outcome: Outcome) -> bytes:
        """One recipient of one attempt."""
        message, peer, tls, verdict = attempt.message, attempt.peer, attempt.tls or _NO_TLS, result.verdict
        return self._encode(
            LogRecord(
                type=_TYPE_OF[outcome],
                schema=SCHEMA,
                lane=self._lane,
                slot=self._slot,
                timestamp=round(attempt.ended_at, 3),
                id=message_id_text(message.id),
                sender=message.envelope.sender,
                recipient=message.envelope.recipients[result.index],
                queue=attempt.entry.domain,
                site=attempt.site,
                size=attempt.entry.size,
                response=_response(result.reply, str(result.stage)),
                said_by="relay" if result.own_words else "",
                peer_address=PeerAddress(peer.host, peer.address) if peer is not None else None,
                created=received_at(message.id),
                num_attempts=attempt.entry.attempts,
                bounce_classification=None if outcome is Outcome.DELIVERED else verdict.category,
                egress_source=self._slot,
                source_address=SourceAddress(peer.source) if peer is not None else None,
                delivery_protocol="ESMTP" if peer is not None else "",
                tls_cipher=tls.cipher,
                tls_protocol_version=tls.version,
                tls_verified=tls.verified,
                tls_policy=tls.how,
                tls_policy_id=self._policy_id(attempt.entry.domain) if tls.how == TlsPolicy.MTA_STS else "",
                tls_host=tls.host,
                tls_failure=tls.failure.value if tls.failure else "",
                tls_resumed=tls.resumed,
                session_id=str(attempt.session) if attempt.session else "",
                stage=str(result.stage),
                rule=verdict.rule,
                message_id=message.message_id,
                correlation_id=message.correlation_id,
                campaign=message.campaign,
                triggered=message.triggered_at or None,
            )
        )

    def rejection(
        self,
        reply: Reply,
        now: float,
        *,
        stage: Stage,
        client: str = "",
        helo: str = "",
        user: str = "",
        sender: str | None = None,
        recipients: tuple[str, ...] = (),
    ) -> bytes:
        """Intake said no, with this reply."""
        return self._encode(
            LogRecord(
                type=RecordType.REJECTION,
                schema=SCHEMA,
                lane=self._lane,
                slot=self._slot,
                timestamp=round(now, 3),
                sender=sender,
                recipient=_one_or_all(recipients),
                response=_response(reply, ""),
                peer_address=PeerAddress(helo, client) if client else None,
                stage=str(stage),
                user=user,
            )
        )

    def returned(
        self,
        kind: RecordType,
        now: float,
        *,
        id: int,  # noqa: A002 -- the record's own name for it
        recipient: str = "",
        site: str = "",
        response: Response | None = None,
        category: Category | None = None,
        rule: str = "",
        reporter: PeerAddress | None = None,
        message_id: str = "",
        meta: dict[str, str] | None = None,
    ) -> bytes:
        """Something came back after the peer had taken the message: an OOB or a Feedback."""
        return self._encode(
            LogRecord(
                type=kind,
                schema=SCHEMA,
                lane=self._lane,
                slot=self._slot,
                timestamp=round(now, 3),
                id=message_id_text(id) if id else "",
                recipient=recipient,
                queue=recipient.rpartition("@")[2].lower(),
                site=site,
                response=response,
                peer_address=reporter,
                created=received_at(id) if id else 0.0,
                bounce_classification=category,
                rule=rule,
                message_id=message_id,
                meta=meta or {},
            )
        )

    def admin_action(self, action: str, actor: str, reason: str, now: float) -> bytes:
        """Somebody, a person or a program, changed what the relay does."""
        return self._encode(
            LogRecord(
                type=RecordType.ADMIN_ACTION,
                schema=SCHEMA,
                lane=self._lane,
                slot=self._slot,
                timestamp=round(now, 3),
                user=actor,
                meta={"action": action, "reason": reason},
            )
        )


def _without_their_words(key: bytes | None, record: LogRecord) -> LogRecord:
    """What is ours to say, where what a peer or client said could not be put into a record."""
    response = record.response
    return replace(
        record,
        recipient=_digests(key, record.recipient) if key is not None else record.recipient,
        sender="" if key is not None else record.sender,
        response=replace(response, content="") if response is not None else None,
        meta={},
    )


def _digests(key: bytes, named: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Of one or all, as the record has them."""
    return digest(key, named) if isinstance(named, str) else tuple([digest(key, one) for one in named])


def _encode_hidden(key: bytes, encode: Callable[[LogRecord], bytes], record: LogRecord) -> bytes:
    """A record with digests in the place of its recipients, wherever they stand in it."""
    named = record.recipient
    if record.type in (RecordType.OOB, RecordType.FEEDBACK):
        record = _without_addresses(record)
    if not named:
        return encode(record)
    plain = (named,) if isinstance(named, str) else named
    plain = (*plain, *record.meta.get("redirected_from", "").splitlines())
    hidden = hide(key, plain)
    response = record.response
    return encode(
        replace(
            record,
            recipient=_digests(key, named),
            sender=hidden(record.sender) if record.sender else record.sender,
            response=replace(response, content=hidden(response.content)) if response is not None else None,
            meta={name: hidden(value) for name, value in record.meta.items()},
        )
    )


def _asked(envelope: Envelope, *, hides: bool) -> dict[str, str]:
    """What a message's sender asked about reports (RFC 3461): a word for each recipient, `-` where he asked nothing.

    Original recipients are addresses, of which nobody knows whether they are those that are hidden.
    """
    asked = {"envid": envelope.envid} if envelope.envid else {}
    if any(one.notify != Notify.DEFAULT for one in envelope.options):
        asked["notify"] = " ".join([notify_words(one.notify) or "-" for one in envelope.options])
    if not hides and any(one.orcpt for one in envelope.options):
        originals = " ".join([one.orcpt or "-" for one in envelope.options])
        if len(originals) <= _MOST_ORIGINALS:
            asked["orcpt"] = originals
    return asked


def _without_addresses(record: LogRecord) -> LogRecord:
    """A record of what came back, whose writer may name other addresses than the one that we wrote to."""
    response, meta = record.response, record.meta
    if response is not None:
        response = replace(response, content=_WORD.sub(_masked, response.content))
    return replace(record, response=response, meta={name: _WORD.sub(_masked, value) for name, value in meta.items()})


def _masked(word: re.Match[str]) -> str:
    return _MASKED if "@" in word[0][1:-1] else word[0]


def _one_or_all(recipients: tuple[str, ...]) -> str | tuple[str, ...]:
    """As the record has them: none is left out of it, one is no list."""
    return recipients if len(recipients) > 1 else "".join(recipients)


def _response(reply: Reply, command: str) -> Response:
    enhanced = reply.enhanced
    if not enhanced:
        return Response(reply.code, None, reply.text, command)
    return Response(reply.code, _enhanced_code(enhanced), reply.text[len(enhanced) :].lstrip(), command)


@lru_cache(maxsize=_CACHED_CODES)
def _enhanced_code(text: str) -> EnhancedCode:
    code_class, subject, detail = map(int, text.split("."))
    return EnhancedCode(code_class, subject, detail)
