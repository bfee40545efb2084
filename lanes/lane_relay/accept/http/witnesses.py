"""In a lane of several slots: which of them answers for an idempotency key, settled before anything of it is stored.

A key has two witnesses among the slots, by rendezvous hashing (highest random weight, Thaler and Ravishankar 1996), and
whoever wants to take its request claims it at the one and then at the other: of two slots that try at once the first
witness makes one wait. A slot that finds another's claim passes the request on to that slot and gives its answer. Each
witness writes down what it grants before it says so, so that one slot that dies, at any instant, leaves another that
knows. A slot more or less changes one witness of a key at most; but two of them, one after the other, may change both,
and claims stay where they are. So every slot is asked as long as a claim may be older than the lane's present slots:
always in the order of the weights, witnesses first, for with any other two askers could each yield to the other.
A witness that does not answer is left out, since mail must go on while a slot is away; so a request can be taken twice
only if at one slot the first witness was away and at the other the second one. Without any witness nothing is taken.
Invariant: an owner that is away is never overruled: it may have the mail. Before it: `injection`. After it: the
siblings' admin port, and the ledger, where this slot is a witness itself.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final, Literal, Protocol

import structlog
from msgspec import Struct
from msgspec.json import Decoder as JsonDecoder
from msgspec.msgpack import Decoder, Encoder

from lane_relay.accept.http.answer import Answer, Problem, Results, problem, refused
from lane_relay.accept.http.claims import SLACK_S
from lane_relay.accept.http.ledger import KEPT_S, Ledger
from lane_relay.errors import NOT_OURS, RelayError, SpoolError
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
_CHANGED_S: Final = KEPT_S + SLACK_S
"""As long as claims are kept."""
_GONE_S: Final = 600.0
"""After so long a slot that the lane does not name has been removed, and is not one that others learned of first."""
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
    return _by_weight(key, slots)[:_WITNESSES]


def _by_weight(key: bytes, slots: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(slots, key=lambda slot: hashlib.sha256(key + slot.encode()).digest()))


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
        self._settled_slots: tuple[str, ...] = ()
        """The lane's, once it has had them for so long that no claim is older."""
        self.settled: Counter[str] = Counter()
        """New keys: taken here, with one witness only, by a sibling, or by nobody."""

    @property
    def _slots(self) -> tuple[str, ...]:
        """The lane's, ours first."""
        return (self._slot, *(self._way.siblings if self._way is not None else ()))

    async def is_alone(self) -> bool:
        """The lane has no other slot, nor had one lately: there is nobody to settle anything with."""
        return len(self._slots) == 1 and await self._unchanged_s() >= _CHANGED_S

    async def _unchanged_s(self) -> float:
        """Seconds for which the lane has had its slots; asked of the ledger when they change, and until it is long."""
        slots = self._slots
        if slots != self._settled_slots:
            try:
                unchanged = await self._ledger.lane_for(slots)
            except SpoolError:
                return 0.0
            if unchanged < _CHANGED_S:
                return unchanged
            self._settled_slots = slots
        return _CHANGED_S

    async def _asked(self, key: bytes) -> tuple[str, ...]:
        """The key's witnesses, and behind them who may know of it from when they were others."""
        asked = _by_weight(key, self._slots)
        return asked[:_WITNESSES] if await self._unchanged_s() >= _CHANGED_S else asked

    async def settle(self, key: bytes) -> str:
        """The name of the slot that owns the key now, ours if it has just become so; empty: nobody can say."""
        granted: list[str] = []
        known = 0
        for place, slot in enumerate(await self._asked(key)):
            if place == _WITNESSES and not granted:
                break
            owner = await self._claim(slot, key, self._slot)
            if owner is None:
                continue
            if owner != self._slot:
                for earlier in granted:  # so that it sends others there and not to us
                    await self._claim(earlier, key, owner)
                self.settled["Sibling"] += 1
                return owner
            granted.append(slot)
            known += place < _WITNESSES
        self.settled["Here" if known == _WITNESSES else "OneWitness" if known else "Nobody"] += 1
        return self._slot if granted else ""

    async def give_up(self, key: bytes) -> None:
        """Nothing of the request was stored: another slot may take it when it comes again."""
        for slot in await self._asked(key):
            await self._claim(slot, key, "")

    async def claimed(self, key: bytes, asker: str, owner: str) -> str:
        """What this slot says as a witness; durable when it returns. Raises SpoolError."""
        return await self._ledger.claim(key, asker=asker, owner=owner, here=self._slot)

    async def pass_on(self, owner: str, passed: Passed) -> Answer:
        """The owner's answer to the request."""
        way = self._way
        if way is None or owner not in way.siblings:
            return _gone(owner) if await self._unchanged_s() >= _GONE_S else refused(_away(owner))
        try:
            body, _ = await way.fetch(owner, ANSWER_NAME, {"giver": self._slot}, method="PUT", body=_encode(passed))
            return _answer(_decode_answer(body))
        except (RelayError, *NOT_OURS, ValueError) as failed:
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
        except (RelayError, *NOT_OURS) as failed:
            _log.debug("a witness of an idempotency key does not answer", slot=witness, reason=str(failed))
        return None


def _answer(passed: PassedAnswer) -> Answer:
    model = Results if passed.status == 200 else Problem
    return Answer(passed.status, model.model_validate_json(passed.answer), dict(passed.headers))


def _away(owner: str) -> Reply:
    return Reply(451, (f"4.3.2 Slot {owner} has the request of this key and does not answer now: send it again soon",))


def _gone(owner: str) -> Answer:
    """For good: the same request would be told the same until its key is forgotten."""
    return problem(
        HTTPStatus.GONE,
        f"slot {owner} had the request of this key and is not in the lane any more: look in its records (trace) for "
        "what was sent, and send what is missing with a new key",
        code="554 5.3.2",
    )
