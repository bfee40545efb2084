"""That fuzzing gets where it is said to get: what the seeds alone run through, counted by the interpreter."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

import pytest

from lane_relay.smtp.client import Client
from lane_relay.smtp.conduct import Conduct
from lane_relay.smtp.content import ContentReader
from lane_relay.smtp.server import Server
from tests.fuzz.targets import SEEDS, TARGETS

_SERVER = (
    Server._on_starttls, Server.tls_started, Server._on_auth, Server._on_sasl_line, Server.auth_result,
    Server.resume, Server.stop, Server.discard, Server._on_bdat, Server._end_content, Server._close,
    Conduct.on_error, Conduct.on_auth_failure, Conduct.on_message, ContentReader.discard, ContentReader._read_chunk,
)  # fmt: skip
_CLIENT = (
    Client.starttls, Client._in_starttls, Client.greet, Client._refuse_injection, Client.auth, Client._in_auth,
    Client._in_auth_login, Client._in_helo, Client._in_clear, Client._in_mail, Client._in_rcpt, Client._in_data,
    Client._in_end, Client._in_empty, Client._close_with, Client._end_session, Client.quit,
)  # fmt: skip


@contextmanager
def _counting() -> Iterator[Counter[CodeType]]:
    """How often each function is called inside of it."""
    calls: Counter[CodeType] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            calls[frame.f_code] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize(("name", "functions"), [("esmtp_server", _SERVER), ("esmtp_client", _CLIENT)])
def test_the_seeds_reach_every_state_of_a_session(name: str, functions: tuple[Callable[..., object], ...]) -> None:
    with _counting() as calls:
        for seed in SEEDS[name]:
            TARGETS[name](seed)
    counts = {one.__qualname__: calls[one.__code__] for one in functions}
    assert [one for one, count in counts.items() if not count] == []
