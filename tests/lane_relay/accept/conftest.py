"""A listener on loopback whose spool is a list."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop

from lane_api.relayconfig import RelayConfig
from lane_relay.accept.door import PREFACE_TIMEOUT_S
from lane_relay.accept.intake import Rejection
from lane_relay.accept.listener import Listener, Stored
from lane_relay.accept.policy import IsSuppressed
from lane_relay.clock import SYSTEM_CLOCK, Clock
from lane_relay.records import Message


class Spool:
    """Keeps what is deposited; `hold` makes it answer only when it is told to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.waiting: list[Stored] = []
        self.hold = False
        self.refuse_at_once: Exception | None = None
        self.rejections: list[Rejection] = []

    def deposit(self, message: Message, stored: Stored) -> None:
        if self.refuse_at_once is not None:
            raise self.refuse_at_once
        self.messages.append(message)
        if self.hold:
            self.waiting.append(stored)
        else:
            stored(None)


def make_config(**intake: Any) -> RelayConfig:
    intake = {"smtp": {"host": "127.0.0.1", "port": 0}, "smtps": {"host": "127.0.0.1", "port": 0}} | intake
    return RelayConfig.model_validate(
        {
            "lane": {"namespace": "shop", "name": "otp"},
            "slot": {"name": "otp-0", "hostname": "out1.example.com"},
            "intake": intake,
            "spool": {"path": "/nowhere"},
            "records": {"path": "/nowhere"},
            "domains": [
                {"name": "notify.example.com", "selector": "s", "key_file": "k"},
                {"name": "plain.example.com", "mode": "Off"},
            ],
        }
    )


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The product runs on uvloop; the standard loop shows that nothing hangs on one loop's habits."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


Start = Callable[..., Awaitable[Listener]]


@pytest.fixture
def spool() -> Spool:
    return Spool()


@pytest.fixture
async def start(spool: Spool) -> AsyncIterator[Start]:
    started: list[Listener] = []
    ids = itertools.count(1)

    async def start_one(
        config: RelayConfig | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        is_suppressed: IsSuppressed | None = None,
        preface_s: float = PREFACE_TIMEOUT_S,
    ) -> Listener:
        listener = Listener(
            config or make_config(clients=["127.0.0.0/8"]),
            deposit=spool.deposit,
            new_id=lambda: (1_790_000_000_000 << 48) + next(ids),
            clock=clock,
            on_rejection=spool.rejections.append,
            is_suppressed=is_suppressed,
            preface_s=preface_s,
        )
        await listener.start()
        started.append(listener)
        return listener

    yield start_one
    for listener in started:
        await listener.stop(0.0)


@pytest.fixture
def trusting() -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
