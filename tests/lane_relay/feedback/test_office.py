"""Feedback as the pipeline makes it: files of keys that come after the configuration that names them."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lane_api.classes import TrafficClass
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.errors import ConfigError
from lane_relay.feedback import office as office_module
from lane_relay.feedback.office import FeedbackOffice, Neighbours
from tests.lane_relay.deliver.delivery import until


def config(folder: Path, **suppression: Any) -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "otp"},
            "slot": {"name": "otp-0", "hostname": "out1.brand.test"},
            "spool": {"path": str(folder / "spool")},
            "records": {"path": str(folder)},
            "suppression": {"path": str(folder / "list"), "keyFile": str(folder / "own"), **suppression},
        }
    )


async def test_a_key_that_comes_after_its_configuration_is_taken_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office_module, "_KEYS_AGAIN_S", 0.01)
    (tmp_path / "own").write_bytes(b"o" * 32)
    spool = SimpleNamespace(flag=lambda _name: "", new_id=lambda: 1)
    nothing = cast("Any", None)
    around = Neighbours(cast("Any", spool), nothing, nothing, nothing, nothing, SYSTEM_CLOCK, nothing)
    office = FeedbackOffice(config(tmp_path), around)
    known = office.suppressions
    assert known is not None
    own = known.digest("ann@isp.test")
    running = asyncio.ensure_future(office.run(None, None))
    shared = config(tmp_path, scope="Namespace", namespaceKeyFile=str(tmp_path / "namespace"))
    with pytest.raises(ConfigError, match="namespaceKeyFile"):
        office.apply(shared)
    assert known.digest("ann@isp.test") == own  # the last good one serves
    (tmp_path / "namespace").write_bytes(b"n" * 32)
    await until(lambda: known.digest("ann@isp.test") != own)
    assert known.digests("ann@isp.test")[1:] == [own]
    assert office.is_suppressed("ann@isp.test", TrafficClass.BULK) == ""
    running.cancel()
    await asyncio.wait([running])
    await office.close()
