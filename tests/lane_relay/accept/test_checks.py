"""Passwords that wait to be checked: who guesses makes nobody else wait. Hashes end when the test says so."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lane_relay.accept.checks import PasswordChecks
from lane_relay.accept.users import Users
from tests.lane_relay.accept.clients import Hands, eventually
from tests.lane_relay.accept.test_users import scrypt

GUESSER, OTHER = "198.51.100.1", "198.51.100.2"


class Hashes:
    """scrypt that ends when it is let go; which passwords it was asked for, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._left = threading.Semaphore(0)
        self._real = hashlib.scrypt

    def scrypt(self, password: bytes, **parameters: int) -> bytes:
        self.asked.append(password.decode())
        self._left.acquire()
        return self._real(password, **parameters)  # type: ignore[arg-type]  # the parameters are scrypt's own

    def let_go(self, count: int = 100_000) -> None:
        self._left.release(count)

    async def step(self, times: int) -> None:
        """Lets one end after another, and waits for the one that begins in its place: else threads say who is first."""
        for _ in range(times):
            asked = len(self.asked)
            self.let_go(1)
            await eventually(partial(self._is_longer, asked))

    def _is_longer(self, asked: int) -> bool:
        return len(self.asked) > asked


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hashes]:
    gate = Hashes()
    monkeypatch.setattr(hashlib, "scrypt", gate.scrypt)
    yield gate
    gate.let_go()


@pytest.fixture
def users(tmp_path: Path) -> Users:
    (tmp_path / "app").write_text(scrypt("secret"))
    return Users(tmp_path, b"key")


async def _failed(checks: PasswordChecks, users: Users, client: str, times: int) -> None:
    for number in range(times):
        assert not await checks.check(users, client, "app", f"wrong {number}")


async def test_a_client_that_guesses_takes_turns_with_the_others_and_has_a_share_of_the_places(
    users: Users, hashes: Hashes
) -> None:
    checks = PasswordChecks(lambda: 0.0)
    guesses = [checks.check(users, GUESSER, "app", f"guess {number}") for number in range(200)]
    await eventually(lambda: len(hashes.asked) == 2 and sum(one.done() for one in guesses) > 150)
    mine = checks.check(users, OTHER, "app", "secret")
    await eventually(lambda: checks.count(OTHER) == 1)
    await hashes.step(2)
    assert "secret" in hashes.asked[:4]
    hashes.let_go()
    assert await mine
    await asyncio.wait(guesses)
    refused = [one for one in guesses if one.exception() is not None]
    assert 160 <= len(refused) <= 170  # 31 places of 512: a sixteenth of what the others leave, and those in threads
    checks.close()


async def test_a_password_that_was_right_before_waits_for_nobodys_hash(users: Users, hashes: Hashes) -> None:
    checks = PasswordChecks(lambda: 0.0)
    hashes.let_go(1)
    assert await checks.check(users, OTHER, "app", "secret")
    guesses = [checks.check(users, GUESSER, "app", f"guess {number}") for number in range(20)]
    assert await checks.check(users, GUESSER, "app", "secret")
    assert not any(one.done() for one in guesses)
    hashes.let_go()
    await asyncio.wait(guesses)
    checks.close()


async def test_who_failed_too_often_comes_after_the_others_one_at_a_time_and_is_answered_later(
    users: Users, hashes: Hashes
) -> None:
    hands = Hands()
    checks = PasswordChecks(hands.clock.monotonic)
    hashes.let_go(8)
    assert checks.pause(GUESSER) == 0.0
    await _failed(checks, users, GUESSER, 5)
    assert checks.pause(GUESSER) == 0.0
    await _failed(checks, users, GUESSER, 3)
    assert (checks.pause(GUESSER), checks.pause(OTHER)) == (4.0, 0.0)

    guesses = [checks.check(users, GUESSER, "app", f"guess {number}") for number in range(10)]
    await eventually(lambda: checks.waiting == 10 and len(hashes.asked) == 9)
    others = [checks.check(users, OTHER, "app", f"other {number}") for number in range(3)]
    await eventually(lambda: checks.waiting == 13 and len(hashes.asked) == 10)
    await hashes.step(2)
    assert [one.split()[0] for one in hashes.asked[8:12]].count("other") == 3  # one guess had begun
    hashes.let_go()
    await asyncio.wait([*guesses, *others])

    hands.time += 3600
    assert checks.pause(GUESSER) == 0.0
    checks.close()


async def test_however_often_a_client_failed_the_right_password_is_right(users: Users, hashes: Hashes) -> None:
    checks = PasswordChecks(lambda: 0.0)
    hashes.let_go()
    await _failed(checks, users, GUESSER, 30)
    assert checks.pause(GUESSER) == 8.0
    assert await checks.check(users, GUESSER, "app", "secret")
    checks.close()


async def test_one_client_of_ipv6_is_its_network(users: Users, hashes: Hashes) -> None:
    checks = PasswordChecks(lambda: 0.0)
    hashes.let_go()
    for number in range(8):
        await checks.check(users, f"2001:db8:0:7::{number:x}", "app", "wrong")
    assert checks.pause("2001:db8:0:7:ffff::1") > 0.0
    assert checks.pause("2001:db8:0:8::1") == 0.0
    checks.close()


async def test_a_check_whose_client_has_gone_is_not_made(users: Users, hashes: Hashes) -> None:
    checks = PasswordChecks(lambda: 0.0)
    held = [checks.check(users, GUESSER, "app", f"held {number}") for number in range(2)]
    await eventually(lambda: len(hashes.asked) == 2)
    gone = [checks.check(users, GUESSER, "app", f"gone {number}") for number in range(10)]
    await eventually(lambda: checks.waiting == 12)
    for one in gone:
        one.cancel()
    await eventually(lambda: checks.waiting == 2)
    hashes.let_go()
    await asyncio.wait(held)
    assert len(hashes.asked) == 2
    checks.close()


async def test_a_client_that_comes_when_hundreds_wait_has_its_place(users: Users, hashes: Hashes) -> None:
    checks = PasswordChecks(lambda: 0.0)
    many = [checks.check(users, f"203.0.113.{number % 50}", "app", f"guess {number}") for number in range(1500)]
    await eventually(lambda: checks.waiting + sum(one.done() for one in many) == 1500)
    assert checks.waiting < 512
    mine = checks.check(users, OTHER, "app", "secret")
    hashes.let_go()
    assert await mine
    await asyncio.wait(many)
    assert len({f"203.0.113.{number % 50}" for number, one in enumerate(many) if one.exception() is None}) == 50
    checks.close()


async def test_what_waits_when_the_slot_stops_hears_that_it_cannot_be_said(users: Users, hashes: Hashes) -> None:
    checks = PasswordChecks(lambda: 0.0)
    waiting = [checks.check(users, OTHER, "app", f"guess {number}") for number in range(5)]
    await eventually(lambda: checks.waiting == 5)
    checks.close()
    hashes.let_go()
    for one in [*waiting[2:], checks.check(users, OTHER, "app", "secret")]:
        with pytest.raises(OSError, match="too many passwords"):
            await one
    await asyncio.wait(waiting)
