"""Passwords that are to be checked: whose turn it is, and what guessing costs.

A hash takes up to a second of CPU on purpose, so that checks wait in a line, and whoever guesses could make everybody
wait. Clients are told apart by address, IPv6 by its /64, of which one client has all.

    what a check is                                  when it is done
    a password that was right before, unchanged      at once, in a thread of its own: it needs no hash
    another one                                      in the client's turn; clients take turns, a check each
    one of a client that has failed too often        one at a time, and when nobody of the others waits

Invariants: no client has more places in line than a share of those that are free, and each has one while there are any;
who failed too often is answered later each time (`pause`) until time has passed, and is never locked out: others may
share its address. Memory is bounded, whoever comes. Before it: sessions, and requests by HTTP. After it: `users`.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import structlog
from msgspec import Struct

from lane_relay.accept.policy import network_of
from lane_relay.accept.users import Users
from lane_relay.turns import Turns

__all__ = ["PasswordChecks"]

_HASH_THREADS: Final = 2
"""A flood of AUTH must not take the cores from delivery."""
_PLACES: Final = 512
"""That are shared; a client may have a sixteenth of those that are free."""
_SHARE: Final = 16
_MOST: Final = 2048
"""In all, of clients with one check each; each holds a line of AUTH, some KB at most. As many may be looked up."""
_FREE_FAILURES: Final = 5
_FORGETS_ONE_IN_S: Final = 60.0
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 8.0
"""Shorter than the grace in which sessions may end."""
_MAX_CLIENTS: Final = 20_000
"""Whose failures are remembered; of more, those that failed first are forgotten."""

_log = structlog.get_logger(__name__)


class _Check(Struct, frozen=True, eq=False):
    """One check on its way."""

    client: str
    users: Users
    username: str
    password: str
    answer: "asyncio.Future[bool]"


class PasswordChecks:
    """Of one slot, over all its listeners; lives on the loop."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._places: Counter[str] = Counter()
        """By client: checks that wait for their hash, or for its end."""
        self._in_all = 0
        self._recalling = 0
        self._line: Turns[_Check] = Turns()
        self._suspects: Turns[_Check] = Turns()
        """Of clients that have failed too often."""
        self._hashing = 0
        self._suspect_hashing = False
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By client: how many as of when; the one that failed last at the end."""
        self._hashers = ThreadPoolExecutor(_HASH_THREADS, thread_name_prefix="auth")
        self._recallers = ThreadPoolExecutor(1, thread_name_prefix="auth-known")
        self._is_closed = False

    def check(self, users: Users, client: str, username: str, password: str) -> "asyncio.Future[bool]":
        """Whether the password is right, later; OSError in it: that cannot be said now, or too much waits already.

        An answer that is cancelled gives its place back.
        """
        loop = asyncio.get_running_loop()
        check = _Check(network_of(client), users, username, password, loop.create_future())
        if self._is_closed or self._recalling >= _MOST:
            check.answer.set_exception(_busy())
            return check.answer
        self._recalling += 1
        known = loop.run_in_executor(self._recallers, users.recalls, username, password)
        known.add_done_callback(partial(self._recalled, check))
        return check.answer

    @property
    def waiting(self) -> int:
        """Checks that need a hash and are not answered."""
        return self._in_all

    def count(self, client: str) -> int:
        """Those of this client."""
        return self._places[network_of(client)]

    def pause(self, client: str) -> float:
        """Seconds that this client waits to hear that a password was wrong."""
        over = self._failed(network_of(client)) - _FREE_FAILURES
        return min(_FIRST_PAUSE_S * 2.0 ** min(over, 16.0), _LONGEST_PAUSE_S) if over > 0 else 0.0

    def close(self) -> None:
        """Checks nothing more; what waits hears that users cannot be checked."""
        self._is_closed = True
        for line in (self._line, self._suspects):
            while line:
                self._leave(line.popleft(), _busy())
        for threads in (self._hashers, self._recallers):
            threads.shutdown(wait=False, cancel_futures=True)

    # -- from place to answer

    def _recalled(self, check: _Check, known: "asyncio.Future[bool]") -> None:
        self._recalling -= 1
        found = _result(known)
        if found is False:
            self._stand_in_line(check)
        else:
            _answer(check, found)

    def _stand_in_line(self, check: _Check) -> None:
        """A hash is needed."""
        client = check.client
        share = max(1, (_PLACES - self._in_all) // _SHARE)
        if self._is_closed or self._in_all >= _MOST or self._places[client] >= share:
            _answer(check, _busy())
        elif not check.answer.cancelled():
            self._in_all += 1
            self._places[client] += 1
            line = self._suspects if self._failed(client) > _FREE_FAILURES else self._line
            line.append(client, check)
            check.answer.add_done_callback(partial(self._drop, check))
            self._begin()

    def _drop(self, check: _Check, answer: "asyncio.Future[bool]") -> None:
        """Whoever asked may have gone before the check's turn came; one that was begun goes on."""
        if answer.cancelled():
            for line in (self._line, self._suspects):
                for gone in line.take_out(check.client, 0, line.count(check.client), lambda one: one is check)[1]:
                    self._leave(gone, _busy())

    def _begin(self) -> None:
        """As many hashes as there are threads; one of them, at most, is a suspect's."""
        while self._hashing < _HASH_THREADS and not self._is_closed:
            if self._line:
                check, is_suspect = self._line.popleft(), False
            elif self._suspects and not self._suspect_hashing:
                check, is_suspect = self._suspects.popleft(), True
            else:
                return
            self._hashing += 1
            self._suspect_hashing |= is_suspect
            done = asyncio.get_running_loop().run_in_executor(
                self._hashers, check.users.verify, check.username, check.password
            )
            done.add_done_callback(partial(self._verified, check, is_suspect))

    def _verified(self, check: _Check, is_suspect: bool, done: "asyncio.Future[bool]") -> None:
        self._hashing -= 1
        if is_suspect:
            self._suspect_hashing = False
        found = _result(done)
        if found is False:
            self._fail(check.client)
        self._leave(check, found)
        self._begin()

    def _leave(self, check: _Check, found: bool | OSError) -> None:
        """Its place is free."""
        self._in_all -= 1
        self._places[check.client] -= 1
        if not self._places[check.client]:
            del self._places[check.client]
        _answer(check, found)

    # -- failures

    def _failed(self, client: str) -> float:
        """How often this client failed, less what time has forgiven."""
        count, at = self._failures.get(client, (0.0, 0.0))
        return max(0.0, count - (self._monotonic() - at) / _FORGETS_ONE_IN_S)

    def _fail(self, client: str) -> None:
        now = self._monotonic()
        self._failures[client] = (self._failed(client) + 1.0, now)
        self._failures.move_to_end(client)
        if len(self._failures) > _MAX_CLIENTS:
            self._failures.popitem(last=False)


def _busy() -> OSError:
    return OSError("too many passwords wait to be checked")


def _answer(check: _Check, found: bool | OSError) -> None:
    if check.answer.done():  # cancelled
        return
    if isinstance(found, OSError):
        check.answer.set_exception(found)
    else:
        check.answer.set_result(found)


def _result(done: "asyncio.Future[bool]") -> bool | OSError:
    """What a thread found; whatever broke it is no fault of the user's."""
    if done.cancelled():
        return _busy()
    broken = done.exception()
    if broken is None:
        return done.result()
    _log.error("users cannot be checked", error=str(broken))
    return broken if isinstance(broken, OSError) else OSError(str(broken))
