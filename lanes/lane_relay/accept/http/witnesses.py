"""In a lane of several slots: which of them answers for an idempotency key, settled before anything of it is stored.

A key has two witnesses among the slots, by rendezvous hashing (highest random weight, Thaler and Ravishankar 1996), and
whoever wants to take its request claims it at the one and then at the other: of two slots that try at once the first
witness makes one wait. A slot that finds another's claim passes the request on to that slot and gives its answer. Each
witness writes down what it grants before it says so, so that one slot that dies, at any instant, leaves another that
knows. A slot more or less in the lane changes one witness of a key at most.
A witness that does not answer is left out, since mail must go on while a slot is away; so a request can be taken twice
only if at one slot the first witness was away and at the other the second one. Without any witness nothing is taken.
Invariant: an owner that is away is never overruled: it may have the mail. Before it: `injection`. After it: the
siblings' admin port, and the ledger, where this slot is a witness itself.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, Protocol

import structlog
from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder as JsonDecoder
from msgspec.msgpack import Decoder, Encoder

from lane_relay.accept.http.answer import Answer, Problem, Results, refused
from lane_relay.accept.http.ledger import Ledger
from lane_relay.errors import RelayError, SpoolError
from lane_relay.records import Reply

__all__ = [
    "ANSWER_NAME", "CLAIM_NAME", "Claimed", "Passed", "PassedAnswer", "Way", "Witnesses", "decode_passed",
    "witnesses_of",
]  # fmt: skip

CLAIM_NAME: Final = "claim"
ANSWER_NAME: Final = "request"
"""Below `/v1/handover/` of a sibling."""
_WITNESSES: Final = 2
_CLAIM_S: Final = 2.0
_SILENT_S: Final = 2.0
"""So long a witness that let us wait is not waited for again; one that refuses the connection costs nothing."""
_log = structlog.get_logger("http")


class Passed(Struct, frozen=True, array_like=True):
    """A request on its way to the slot that answers for its key; fields are only ever added at the end."""

    key: bytes
    """Digest of user and idempotency key."""
    user: str
    client: str
    protocol: str
    """As in `Caller`; the slot that passes it on has authenticated them."""
    body: bytes


class PassedAnswer(Struct, frozen=True):
    """What the owner answers, for the other slot to give."""

    status: int
    headers: dict[str, str]
    answer: str
    """The body, JSON."""


class Claimed(Struct, frozen=True):
    """What a witness says."""

    owner: str


class Way(Protocol):
    """The way to the siblings; `handover.carrier`."""

    @property
    def siblings(self) -> tuple[str, ...]:
        """Names of the lane's other slots."""

    async def fetch(
        self,
        slot: str,
        name: str,
        params: Mapping[str, str],
        *,
        method: Literal["GET", "PUT"] = "GET",
        body: bytes | None = None,
    ) -> tuple[bytes, Mapping[str, str]]:
        """What a sibling answers, with its header; raises RelayError if it does not."""


_encode: Final = Encoder().encode
decode_passed: Final = Decoder(Passed).decode
_decode_claimed: Final = JsonDecoder(Claimed).decode
_decode_answer: Final = JsonDecoder(PassedAnswer).decode


def witnesses_of(key: bytes, slots: Iterable[str]) -> tuple[str, ...]:
    """The slots that know who has claimed the key, in the order in which they are asked."""
    weighed = sorted(slots, key=lambda slot: hashlib.sha256(key + slot.encode()).digest())
    return tuple(weighed[:_WITNESSES])


class Witnesses:
    """What one slot does about its keys in the lane."""

    def __init__(
        self,
        ledger: Ledger,
        slot: str,
        way: Way | None,
        monotonic: Callable[[], float],
        *,
        claim_within_s: float = _CLAIM_S,
    ) -> None:
        """`slot` is our own name; without a way there are no siblings."""
        self.claim_within_s = claim_within_s
        """Seconds that a witness may take."""
        self._ledger = ledger
        self._slot = slot
        self._way = way
        self._monotonic = monotonic
        self._silent_until: dict[str, float] = {}
        self.settled: Counter[str] = Counter()
        """New keys: taken here, with one witness only, by a sibling, or by nobody."""

    @property
    def is_alone(self) -> bool:
        """The lane has no other slot: there is nobody to settle anything with."""
        return self._way is None or not self._way.siblings

    def _witnesses(self, key: bytes) -> tuple[str, ...]:
        siblings = self._way.siblings if self._way is not None else ()
        return witnesses_of(key, (self._slot, *siblings))

    async def settle(self, key: bytes) -> str:
        """The name of the slot that owns the key now, ours if it has just become so; empty: nobody can say."""
        granted: list[str] = []
        for witness in self._witnesses(key):
            owner = await self._claim(witness, key, self._slot)
            if owner is None:
                continue
            if owner != self._slot:
                for earlier in granted:  # so that it sends others there and not to us
                    await self._claim(earlier, key, owner)
                self.settled["Sibling"] += 1
                return owner
            granted.append(witness)
        self.settled["Here" if len(granted) == _WITNESSES else "OneWitness" if granted else "Nobody"] += 1
        return self._slot if granted else ""

    async def give_up(self, key: bytes) -> None:
        """Nothing of the request was stored: another slot may take it when it comes again."""
        for witness in self._witnesses(key):
            await self._claim(witness, key, "")

    async def claimed(self, key: bytes, asker: str, owner: str) -> str:
        """What this slot says as a witness; durable when it returns. Raises SpoolError."""
        return await self._ledger.claim(key, asker=asker, owner=owner, here=self._slot)

    async def pass_on(self, owner: str, passed: Passed) -> Answer:
        """The owner's answer to the request."""
        way = self._way
        if way is None or owner not in way.siblings:
            return refused(_gone(owner))
        try:
            body, _ = await way.fetch(owner, ANSWER_NAME, {"giver": self._slot}, method="PUT", body=_encode(passed))
            return _answer(_decode_answer(body))
        except (RelayError, DecodeError, ValidationError, ValueError) as failed:
            _log.warning("the owner of an idempotency key does not answer", owner=owner, reason=str(failed))
            return refused(_away(owner))

    async def _claim(self, witness: str, key: bytes, owner: str) -> str | None:
        """Who has the key as the witness sees it, once it was asked that `owner` has; None: it does not answer."""
        if witness == self._slot:
            try:
                return await self.claimed(key, self._slot, owner)
            except SpoolError:
                return None
        if self._way is None or self._silent_until.get(witness, 0.0) > self._monotonic():
            return None
        params = {"giver": self._slot, "key": key.hex(), "owner": owner}
        try:
            async with asyncio.timeout(self.claim_within_s):
                body, _ = await self._way.fetch(witness, CLAIM_NAME, params, method="PUT")
            return _decode_claimed(body).owner
        except TimeoutError:
            self._silent_until[witness] = self._monotonic() + _SILENT_S
            _log.warning("a witness of idempotency keys is silent", slot=witness)
        except (RelayError, DecodeError, ValidationError) as failed:
            _log.debug("a witness of an idempotency key does not answer", slot=witness, reason=str(failed))
        return None


def _answer(passed: PassedAnswer) -> Answer:
    model = Results if passed.status == 200 else Problem
    return Answer(passed.status, model.model_validate_json(passed.answer), dict(passed.headers))


def _away(owner: str) -> Reply:
    return Reply(451, (f"4.3.2 Slot {owner} has the request of this key and does not answer now: send it again soon",))


def _gone(owner: str) -> Reply:
    text = (
        f"4.3.2 Slot {owner} had the request of this key and is not in the lane any more: look in its records (trace) "
        "for what was sent, and send what is missing with a new key"
    )
    return Reply(451, (text,))
