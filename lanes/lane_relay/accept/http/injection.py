"""One request from its bytes to its answer: judged, composed in portions, on disk, and only then answered.

Portions bound the memory: a request's next messages are composed when the ones before are on disk. With an idempotency
key each portion's ids are in the ledger before it goes to the spool, and the answer is in it afterwards; `ledger` says
why that is exactly once.
Invariants: a result `accepted` means on disk; a message that was deposited counts although its client has gone; a key
is worked on by one request at a time. Before it: `server`. After it: `deposit`.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from lane_api.isppolicy import Stage
from lane_relay.accept.connection import MEMORY_FULL
from lane_relay.accept.http.answer import Answer, Result, accepted, for_each, problem, refused, result_of, results
from lane_relay.accept.http.composers import Composers
from lane_relay.accept.http.ledger import Entry, Ledger, Outcome
from lane_relay.accept.http.letters import BadPartError, Letters, Refusal
from lane_relay.accept.http.reading import Read, read_request
from lane_relay.accept.http.request import MAX_RECIPIENTS, Submission
from lane_relay.accept.http.room import Room, cost_of
from lane_relay.accept.http.witnesses import Passed, Witnesses
from lane_relay.accept.intake import Rejection
from lane_relay.accept.message import Origin
from lane_relay.accept.policy import CLOSED
from lane_relay.accept.unstored import unstored
from lane_relay.errors import SpoolError, SpoolFullError
from lane_relay.guard import contain, report
from lane_relay.records import Message, Reply
from lane_relay.smtp.address import Mailbox

if TYPE_CHECKING:
    from lane_relay.accept.listener import Listener

__all__ = ["Caller", "Injector"]

_PORTION_MESSAGES: Final = 100
_PORTION_BYTES: Final = 4 * 2**20
_PORTION_CPU_S: Final = 0.05
"""So long others wait for their turn."""
_YIELD_S: Final = 0.0002
"""Between two messages the loop's thread is let in: without, each of its waits for a socket ends up to 5 ms late
(CPython's switch interval), and SMTP clients had a fifth of their transactions while a campaign was composed."""
_CLOSING_S: Final = 2.0
_RETRY_S: Final = 1.0
_COMPOSERS: Final = 2
"""Threads: composing must not take the cores from delivery."""
_NO_ROOM: Final = Reply(452, ("4.3.1 Too many large requests are in work, try again later",))
_KEYS_FULL: Final = Reply(452, ("4.3.1 Too many idempotency keys in 24 h: send without one, or try again later",))
_KEYS_FAILED: Final = Reply(451, ("4.3.0 Idempotency keys cannot be kept, try another slot",))
_KEY: Final = re.compile(r"[!-~]{1,200}")
_UNSETTLED: Final = Reply(451, ("4.3.2 No slot that knows who has this key answers now: send the request again soon",))
_MOVED: Final = Reply(451, ("4.3.2 Two slots have just settled which of them has this key: send the request again",))


class Caller(Struct, frozen=True, gc=False):
    """Who sends a request."""

    client: str
    """Address."""
    user: str
    """Who authenticated; empty: a client of the lane's networks."""
    protocol: str
    """HTTP or HTTPS."""


class _Asked(Struct, frozen=True):
    """A request as it came in."""

    request: Submission
    caller: Caller
    digest: bytes
    key: bytes = b""
    """Digest of user and idempotency key; empty: none."""
    passed: Passed | None = None
    """As a sibling gets it, if the key is the sibling's; None: it has come from one."""


class _Work(Struct):
    """A request under way."""

    request: Submission
    letters: Letters
    caller: Caller
    key: bytes
    """Digest of user and idempotency key; empty: none."""
    entry: Entry
    found: dict[int, Result]
    """Results so far, by the recipient's place."""
    is_announced: bool = False
    """The ledger has been told of it, and must hear how it ended."""


class Injector:
    """Takes requests for one slot."""

    def __init__(
        self,
        listener: "Listener",
        ledger: Ledger,
        keep: Callable[[], Callable[[], None]],
        slot: str,
        witnesses: Witnesses,
    ) -> None:
        """`keep` is the spool's."""
        self._witnesses = witnesses
        self._listener = listener
        self._ledger = ledger
        self._keep = keep
        self._slot = slot
        self._under_way: set[bytes] = set()
        self._unfinished: set[bytes] = set()
        """Keys whose request has ended, which could not be kept yet."""
        self._composers = Composers(_COMPOSERS)
        self._room = Room(lambda: listener.memory_budget // 2)
        self._storing = 0
        """Bytes on their way to the disk."""
        self._finishing: set[asyncio.Task[None]] = set()
        self.max_recipients = 0
        """Of a request; set with the configuration."""

    async def close(self) -> None:
        """Waits for a moment until what was answered is in the ledger, and gives up the threads."""
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=_CLOSING_S)
        for task in self._finishing:
            task.cancel()
        self._composers.close()

    async def inject(self, body: bytes, caller: Caller, key: str | None) -> Answer:
        """The answer to one request; `key` is the Idempotency-Key field's value."""
        async with self._taken(body, caller, self.max_recipients) as found:
            return found if isinstance(found, Answer) else await self._inject(body, found, caller, key)

    @asynccontextmanager
    async def _taken(self, body: bytes, caller: Caller, most_recipients: int) -> AsyncIterator[Read | Answer]:
        """The request that was read, or what is wrong with it; what it needs of memory is its own meanwhile."""
        async with self._room.share(cost_of(body)) as has_room:
            if not has_room:
                yield refused(_NO_ROOM)
                return
            found = await self._composers.run(_whose(caller), read_request, body, most_recipients)
            with self._held(found.held if isinstance(found, Read) else 0):
                yield found

    async def _inject(self, body: bytes, found: Read, caller: Caller, key: str | None) -> Answer:
        request = found.request
        if key is not None and not _KEY.fullmatch(key):
            return problem(
                HTTPStatus.BAD_REQUEST, "Idempotency-Key must be 1 to 200 printable ASCII characters, no blank"
            )
        if key is not None and request.idempotency_key not in (None, key):
            return problem(HTTPStatus.BAD_REQUEST, "the field Idempotency-Key and idempotencyKey differ: send one")
        key = key or request.idempotency_key
        if key is None:
            return await self._judge(_Asked(request, caller, found.digest))
        sealed = hashlib.sha256(f"{caller.user}\0{key}".encode()).digest()[:16]
        passed = Passed(sealed, caller.user, caller.client, caller.protocol, body)
        return await self._once(_Asked(request, caller, found.digest, sealed, passed))

    async def inject_passed(self, passed: Passed) -> Answer:
        """The answer to a request of a sibling's client, because its key is ours."""
        caller = Caller(passed.client, passed.user, passed.protocol)
        async with self._taken(passed.body, caller, MAX_RECIPIENTS) as found:
            if isinstance(found, Answer):
                return found
            return await self._once(_Asked(found.request, caller, found.digest, passed.key))

    @contextmanager
    def _held(self, size: int) -> Iterator[None]:
        """So many bytes count as held meanwhile."""
        listener = self._listener
        listener.held_bytes += size
        listener.peak_bytes = max(listener.peak_bytes, listener.held_bytes)
        try:
            yield
        finally:
            listener.held_bytes -= size

    async def _once(self, asked: _Asked) -> Answer:
        if asked.key in self._under_way:
            return problem(HTTPStatus.CONFLICT, "a request with this idempotency key is under way: ask again soon")
        self._under_way.add(asked.key)
        try:
            return await self._judge(asked)
        finally:
            self._under_way.discard(asked.key)

    # -- the whole

    async def _judge(self, asked: _Asked) -> Answer:
        """What is known of the key; else whether the lane takes the request at all, then its recipients."""
        request, caller = asked.request, asked.caller
        entry = Entry(asked.digest, self._listener.clock.now())
        known = await self._known(asked) if asked.key else None
        if isinstance(known, Answer):
            return known
        if not self._listener.policy.is_open:
            return refused(CLOSED) if known is None else results(self._slot, _answered(request, known, CLOSED))
        prepared = await self._composers.run(_whose(caller), self._prepare, request, caller)
        if isinstance(prepared, BadPartError):
            fault = {"pointer": prepared.pointer, "detail": prepared.detail}
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{prepared.pointer}: {prepared.detail}", errors=[fault])
        letters, refusal = prepared
        if refusal is not None:
            self._record(caller, letters, refusal, tuple(one.to for one in request.recipients))
            return refused(refusal.reply)
        if asked.key and known is None and not await self._witnesses.is_alone():
            return await self._settled(asked, _Work(request, letters, caller, asked.key, entry, {}))
        entry = known or entry
        found = {place: _result(request, place, one) for place, one in entry.outcomes.items()}
        return await self._take(_Work(request, letters, caller, asked.key, entry, found))

    async def _known(self, asked: _Asked) -> Entry | Answer | None:
        """What was done of the request under this key, or its answer if that is all there is to say."""
        try:
            known = await self._ledger.look(asked.key)
        except SpoolError:
            return refused(_KEYS_FAILED)
        if asked.key in self._unfinished:
            return refused(_KEYS_FAILED)
        if known is None:
            return None
        if known.body != asked.digest:
            return problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "this idempotency key was used for another request within 24 h: take a new key for a new request",
            )
        if known.is_open:  # its disk failed between the spool's write and its answer
            return refused(_KEYS_FAILED)
        if not known.outcomes.keys() >= set(asked.request.first_places):
            return known
        return results(self._slot, _answered(asked.request, known), {"Idempotent-Replayed": "true"})

    async def _settled(self, asked: _Asked, work: _Work) -> Answer:
        """The answer of the slot that owns the key; here, if that is this one or nobody's yet."""
        owner = await self._witnesses.settle(work.key)
        if not owner:
            return refused(_UNSETTLED)
        if owner != self._slot:
            return refused(_MOVED) if asked.passed is None else await self._pass_on(owner, asked.passed)
        answer = await self._take(work)
        if not any(one.id for one in work.entry.outcomes.values()):
            await self._witnesses.give_up(work.key)
        return answer

    async def _pass_on(self, owner: str, passed: Passed) -> Answer:
        with self._held(len(passed.body)):  # on its way it is there twice
            return await self._witnesses.pass_on(owner, passed)

    def _prepare(self, request: Submission, caller: Caller) -> tuple[Letters, Refusal | None] | BadPartError:
        """In a thread."""
        listener = self._listener
        origin = Origin(listener.options.hostname, caller.client, "", caller.user, caller.protocol)
        try:
            letters = Letters(
                request,
                listener.policy,
                origin,
                max_size=listener.options.max_size,
                boundary=f"=_{secrets.token_hex(12)}",
            )
            return letters, letters.refusal(listener.clock.now())
        except BadPartError as wrong:
            return wrong

    # -- recipients

    async def _take(self, work: _Work) -> Answer:
        release = self._keep() if work.key else None
        rejections: dict[Refusal, list[str]] = {}
        waiting = [place for place in sorted(set(work.request.first_places)) if place not in work.found]
        try:
            while waiting:
                made = await self._compose(work, waiting)
                waiting = waiting[len(made) :]
                stop = await self._store(work, made, rejections)
                if stop is not None:
                    work.found |= {place: _said(work, place, stop) for place in waiting}
                    break
        finally:
            for refusal, recipients in rejections.items():
                self._record(work.caller, work.letters, refusal, tuple(recipients))
            if release is not None:
                task = asyncio.get_running_loop().create_task(self._finish(work, release))
                self._finishing.add(task)
                task.add_done_callback(self._finishing.discard)
                task.add_done_callback(report)
        return results(self._slot, for_each(work.request, work.found))

    async def _compose(self, work: _Work, waiting: list[int]) -> list[tuple[int, Message | Refusal]]:
        """The next portion; ids and suppressions are for the loop's thread alone to ask for."""
        new_id = self._listener.new_id
        asked = [(place, work.letters.judge(place), new_id()) for place in waiting[:_PORTION_MESSAGES]]
        return await self._composers.run(_whose(work.caller), _portion, work.letters, asked, self._listener.clock.now())

    async def _store(
        self, work: _Work, made: list[tuple[int, Message | Refusal]], rejections: dict[Refusal, list[str]]
    ) -> Reply | None:
        """Ledger, then spool; gives why the rest of the request is not worth trying."""
        messages: dict[int, Message] = {}
        made = [(place, self._spent(work.caller, one)) for place, one in made]
        for place, one in made:
            if isinstance(one, Message):
                messages[place] = one
            else:
                rejections.setdefault(one, []).append(work.request.recipients[place].to)
                work.found[place] = _said(work, place, one.reply)
        if self._is_too_much(messages):
            work.found |= {place: _said(work, place, MEMORY_FULL) for place in messages}
            return MEMORY_FULL
        if work.key:
            refusal = await self._announce(work, made)
            if refusal is not None:
                work.found |= {place: _said(work, place, refusal) for place in messages}
                return refusal
        stop = None
        for place, error in (await self._deposit(messages)).items():
            if error is None:
                work.found[place] = accepted(work.request.recipients[place].to, messages[place].id)
                continue
            stop = unstored(error)
            work.found[place] = _said(work, place, stop)
            rejections.setdefault(Refusal(stop, Stage.END_OF_DATA), []).append(work.request.recipients[place].to)
            if isinstance(error, SpoolFullError):  # it is certainly not on disk
                work.entry = Entry(work.entry.body, work.entry.at, _without(work.entry.outcomes, place))
        return stop

    def _is_too_much(self, messages: dict[int, Message]) -> bool:
        """Others' messages wait for the disk, and these with them would be more than may be held."""
        held, budget = self._listener.held_bytes, self._listener.memory_budget
        return bool(self._storing) and held + _size(messages) > budget

    def _spent(self, caller: Caller, one: Message | Refusal) -> Message | Refusal:
        """The message, unless client or user has sent all it may for now."""
        listener = self._listener
        if isinstance(one, Refusal) or not listener.allowances.counts_messages:
            return one
        over = listener.spend(caller.client, caller.user)
        return one if over is None else Refusal(over, Stage.END_OF_DATA)

    async def _announce(self, work: _Work, made: list[tuple[int, Message | Refusal]]) -> Reply | None:
        """The ids that these recipients' messages will have, durably, before any of them is stored."""
        outcomes = {place: _outcome(one) for place, one in made if not _is_passing(one)}
        entry = Entry(work.entry.body, work.entry.at, {**work.entry.outcomes, **outcomes})
        try:
            if any(one.id for one in entry.outcomes.values()):
                await self._ledger.save(work.key, entry)
                work.is_announced = True
        except SpoolFullError:
            return _KEYS_FULL
        except SpoolError:
            work.is_announced = True  # or not: `_finish` writes down what is so
            return _KEYS_FAILED
        work.entry = entry
        return None

    async def _deposit(self, messages: dict[int, Message]) -> dict[int, SpoolError | None]:
        """Puts them on disk together; what became of each."""
        listener, loop = self._listener, asyncio.get_running_loop()
        size = _size(messages)
        self._storing += size
        answers: dict[int, asyncio.Future[SpoolError | None]] = {}
        try:
            with self._held(size):
                for place, message in messages.items():
                    answers[place] = loop.create_future()
                    try:
                        listener.deposit(message, partial(_stored, answers[place]))
                    except SpoolError as error:
                        answers[place].set_result(error)
                await asyncio.gather(*answers.values())
        finally:
            self._storing -= size
        found = {place: answer.result() for place, answer in answers.items()}
        listener.counters.accepted += sum(error is None for error in found.values())
        return found

    async def _finish(self, work: _Work, release: Callable[[], None]) -> None:
        """What is on disk is on disk: the ledger need not ask the spool any more, nor the spool keep it for that."""
        outcomes = {
            place: Outcome(one.id, stored=True) if one.id and _is_taken(work, place) else one
            for place, one in work.entry.outcomes.items()
        }
        entry = Entry(work.entry.body, work.entry.at, outcomes)
        while work.is_announced:
            try:
                await self._ledger.save(work.key, entry)
                break
            except SpoolError:  # the spool keeps its segments until then: not for longer than keys cannot be kept
                self._unfinished.add(work.key)
                await asyncio.sleep(_RETRY_S)
        self._unfinished.discard(work.key)
        if not entry.is_open:
            release()

    def _record(self, caller: Caller, letters: Letters, refusal: Refusal, recipients: tuple[str, ...]) -> None:
        sender = None if letters.envelope_sender is None else str(letters.envelope_sender)
        self._listener.reject(
            Rejection(refusal.stage, refusal.reply, sender, recipients, caller.client, caller.user, ""), may_submit=True
        )


def _size(messages: dict[int, Message]) -> int:
    return sum(len(one.body) for one in messages.values())


def _whose(caller: Caller) -> str:
    """Who takes turns: users, and without one clients."""
    return caller.user or caller.client


def _portion(
    letters: Letters, asked: list[tuple[int, Mailbox | Refusal, int]], now: float
) -> list[tuple[int, Message | Refusal]]:
    """In a thread: as many as fit a portion."""
    made: list[tuple[int, Message | Refusal]] = []
    size, began = 0, time.thread_time()
    for place, mailbox, message_id in asked:
        if isinstance(mailbox, Refusal):
            made.append((place, mailbox))
            continue
        if size:
            time.sleep(_YIELD_S)
        one = _made(letters, place, mailbox, message_id, now)
        made.append((place, one))
        size += len(one.body) if isinstance(one, Message) else 0
        if size >= _PORTION_BYTES or time.thread_time() - began >= _PORTION_CPU_S:
            break
    return made


def _made(letters: Letters, place: int, mailbox: Mailbox, message_id: int, now: float) -> Message | Refusal:
    try:
        return letters.make(place, mailbox, message_id, now)
    except Exception as error:  # noqa: BLE001 -- whatever it is
        # A mistake of ours over one message: ending the process, as elsewhere, would let whoever sends it again end it
        # again. Nothing but this request has seen the message yet.
        contain("submission", error)
        text = "4.3.0 This message cannot be taken, the reason is in the slot's log"
        return Refusal(Reply(451, (text,)), Stage.END_OF_DATA)


def _stored(answer: "asyncio.Future[SpoolError | None]", error: SpoolError | None) -> None:
    if not answer.done():
        answer.set_result(error)


def _is_passing(one: Message | Refusal) -> bool:
    """Refused for now: the same request may try again."""
    return isinstance(one, Refusal) and not one.reply.is_permanent


def _outcome(one: Message | Refusal) -> Outcome:
    if isinstance(one, Message):
        return Outcome(one.id.to_bytes(12, "big"))
    return Outcome(code=one.reply.code, text=one.reply.text)


def _without(outcomes: dict[int, Outcome], place: int) -> dict[int, Outcome]:
    return {one: outcome for one, outcome in outcomes.items() if one != place}


def _is_taken(work: _Work, place: int) -> bool:
    found = work.found.get(place)
    return found is not None and found.status == "accepted"


def _said(work: _Work, place: int, reply: Reply) -> Result:
    return result_of(work.request.recipients[place].to, reply)


def _result(request: Submission, place: int, outcome: Outcome) -> Result:
    to = request.recipients[place].to
    if outcome.id:
        return accepted(to, int.from_bytes(outcome.id, "big"))
    return result_of(to, Reply(outcome.code, (outcome.text,)))


def _answered(request: Submission, entry: Entry, otherwise: Reply | None = None) -> list[Result]:
    """What was decided of each; the others, if there are any, get `otherwise`."""
    return [
        _result(request, place, entry.outcomes[first])
        if otherwise is None or first in entry.outcomes
        else result_of(request.recipients[place].to, otherwise)
        for place, first in enumerate(request.first_places)
    ]
