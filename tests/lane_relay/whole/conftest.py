"""Fixtures of the whole relay: sinks and relays that are ended whatever the test does."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.lane_relay.running import Relay, Sink, fixed_route

NewRelay = Callable[..., Relay]


@pytest.fixture
def new_relay(tmp_path: Path) -> Iterator[NewRelay]:
    """Makes relays in folders of their own, not started."""
    made: list[Relay] = []

    def make(**overrides: Any) -> Relay:
        made.append(Relay(tmp_path / f"relay-{len(made)}", overrides))
        return made[-1]

    yield make
    lost = [relay.unaccounted() for relay in made]
    for relay in made:
        relay.stop()
    assert lost == [0] * len(made)  # of every relay that still runs: each recipient is somewhere, and only there


@pytest.fixture
def sink() -> Iterator[Sink]:
    """One ISP at 127.0.0.71."""
    with ExitStack() as stack:
        yield stack.enter_context(Sink("127.0.0.71"))


@pytest.fixture
def relay(new_relay: NewRelay, sink: Sink) -> Relay:
    """A relay that sends everything to the sink; not started."""
    return new_relay(delivery={"routes": [fixed_route(sink)]})


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An RSA-2048 key file, and its TXT record as a zone file writes it."""
    key = rsa.generate_private_key(65537, 2048)
    path = tmp_path_factory.mktemp("dkim") / "key.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = f"v=DKIM1; k=rsa; p={b64encode(public).decode()}"
    return path, " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
