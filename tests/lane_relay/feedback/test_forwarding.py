"""What is passed on to people: on the volume before its sender is told so, and not without end."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.clock import Clock
from lane_relay.errors import RelayError, SpoolError
from lane_relay.feedback.addresses import Addressee, Desk
from lane_relay.feedback.forwarding import FOR_PEOPLE, Forwarder
from lane_relay.feedback.outbox import Outbox
from lane_relay.records import Message

POSTMASTER = Addressee(Desk.PEOPLE, "b.brand.test")
CONTENT = b"From: a@isp.test\r\nSubject: hello\r\n\r\nWho are you?\r\n"


class Volume:
    """Takes messages; each is on the volume once the test says so."""

    def __init__(self) -> None:
        self.under_way: list[tuple[Message, Callable[[SpoolError | None], None]]] = []
        self.at_once = False
        self.time = 1000.0

    def deposit(self, message: Message, done: Callable[[SpoolError | None], None]) -> None:
        self.under_way.append((message, done))
        if self.at_once:
            done(None)


@pytest.fixture
def volume() -> Volume:
    return Volume()


@pytest.fixture
def forwarder(volume: Volume, tmp_path: Path) -> Forwarder:
    clock = Clock(now=lambda: 1_790_000_000.0, monotonic=lambda: volume.time)
    made = Forwarder(volume.deposit, itertools.count(1).__next__, Outbox(tmp_path), clock)
    made.apply(
        RelayConfig.model_validate(
            {
                "lane": {"name": "otp"},
                "slot": {"name": "otp-0", "hostname": "out1.brand.test"},
                "spool": {"path": "/unused"},
                "records": {"path": "/unused"},
                "domains": [{"name": "brand.test", "mode": "Off", "returnPath": {"domain": "b.brand.test"}}],
                "feedback": {"keyFile": "/unused", "postmaster": "ops@people.test"},
            }
        )
    )
    return made


async def test_mail_to_the_postmaster_is_passed_on_once_it_is_on_the_volume(
    forwarder: Forwarder, volume: Volume
) -> None:
    passing = asyncio.ensure_future(forwarder.to_people(POSTMASTER, CONTENT))
    await asyncio.sleep(0)
    ((message, done),) = volume.under_way
    assert not passing.done()
    done(None)
    assert await passing
    assert message.envelope.recipients == ("ops@people.test",)
    assert message.body.endswith(CONTENT)


async def test_mail_to_the_postmaster_that_is_not_kept_is_not_taken(forwarder: Forwarder, volume: Volume) -> None:
    passing = asyncio.ensure_future(forwarder.to_people(POSTMASTER, CONTENT))
    await asyncio.sleep(0)
    volume.under_way[0][1](SpoolError("the volume is gone"))
    with pytest.raises(RelayError, match="the volume is gone"):
        await passing


async def test_a_flood_for_the_postmaster_does_not_become_one_of_ours(forwarder: Forwarder, volume: Volume) -> None:
    volume.at_once = True
    passed = [await forwarder.to_people(POSTMASTER, CONTENT) for _ in range(FOR_PEOPLE.count + 5)]
    assert passed.count(True) == len(volume.under_way) == FOR_PEOPLE.count
    volume.time += 2 * FOR_PEOPLE.per_s
    assert await forwarder.to_people(POSTMASTER, CONTENT)
