"""The short form of `make interop`: clients that are Python libraries, and a careless one."""

from pathlib import Path

import pytest

from tests.interop.clients import LIBRARIES, Careless
from tests.interop.sessions import client_submits, stage, whole_client

pytestmark = pytest.mark.timeout(300)


def test_messages_of_every_shape_arrive_as_they_were_and_a_careless_client_is_found_out(tmp_path: Path) -> None:
    with stage(tmp_path) as on:
        for client in LIBRARIES:
            tally = whole_client(on, client)
            assert tally.failures == []
            assert tally.cases == 30
        wrong, _ = client_submits(on, Careless(), tls=True)
    assert sorted(wrong) == ["blanks-at-ends", "dots", "from-line"]
