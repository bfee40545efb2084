"""What goes from slot to slot, as bytes: messages with those of their recipients that change hands.

Pure. Fields that the other side does not know are ignored, those that it does not send have their defaults, so that
two versions of the relay understand each other. Before it: `giver`. After it: `receiver`.
"""

from typing import Final

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import replace

from lane_relay.errors import NOT_OURS
from lane_relay.records import Message, QueueEntry, message_id_text

__all__ = ["GIVEN_NAME", "Answer", "Consignment", "Parcel", "StillOpen", "decode", "encode", "pack", "unpack"]

GIVEN_NAME: Final = "given"
"""In place of a transfer's name: which of them are not over."""


class Parcel(Struct, frozen=True, gc=False):
    """One message, for those of its recipients who wait together."""

    origin: str
    """The giver's spool id, as text: the records of both slots are joined by it."""
    message: Message
    """Without id; its envelope names the recipients that change hands, and no others."""
    attempts: int
    due: float
    """Unix time before which it must not be tried."""
    notified: bool = False
    """Its sender was told that it is late."""


class Consignment(Struct, frozen=True, gc=False):
    """One transfer."""

    giver: str
    """Name of the slot."""
    parcels: tuple[Parcel, ...]


class Answer(Struct, frozen=True, gc=False):
    """What became of a transfer at the receiver; it never changes once it was given."""

    taken: tuple[int, ...] = ()
    """Positions of the parcels that the receiver has on its disk and owns."""
    ids: tuple[str, ...] = ()
    """Its spool ids of these."""
    reason: str = ""
    """Why the others were not taken; they never will be by this transfer."""

    def is_about(self, parcels: int) -> bool:
        """It can be an answer about a transfer of so many parcels."""
        return (
            len(self.taken) == len(self.ids) == len(set(self.taken))
            and all(0 <= at < parcels for at in self.taken)
            and all(map(_is_id, self.ids))
        )


class StillOpen(Struct, frozen=True):
    """What a giver says to a receiver of its transfers to it."""

    transfers: tuple[str, ...]
    """Those of which it may still need the answer."""


_encoder: Final = Encoder()
_decode: Final = Decoder(Consignment).decode


def pack(entry: QueueEntry, message: Message) -> Parcel:
    """The parcel of an entry."""
    envelope = message.envelope
    mine = replace(
        envelope,
        recipients=tuple(envelope.recipients[index] for index in entry.recipients),
        options=tuple(envelope.options[index] for index in entry.recipients) if envelope.options else (),
    )
    alone = replace(message, id=0, envelope=mine)
    return Parcel(message_id_text(entry.id), alone, entry.attempts, entry.due, entry.notified)


def unpack(parcel: Parcel, spool_id: int) -> Message:
    """The message under the receiver's own id."""
    return replace(parcel.message, id=spool_id)


def encode(consignment: Consignment) -> bytes:
    """As it goes over the wire."""
    return _encoder.encode(consignment)


def decode(data: bytes) -> Consignment | str:
    """What came in, or why it is no consignment."""
    try:
        found = _decode(data)
    except NOT_OURS as error:
        return f"not a consignment: {error}"
    for parcel in found.parcels:
        if not parcel.message.envelope.recipients or not _is_id(parcel.origin):
            return f"not a consignment: parcel {parcel.origin!r} has no recipients or no id"
    return found


def _is_id(text: str) -> bool:
    return len(text) == 24 and all(character in "0123456789abcdef" for character in text)
