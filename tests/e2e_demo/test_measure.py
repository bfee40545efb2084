"""The phases of the demo, small, through a real shared Postfix in a network namespace of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.demo import result
from e2e.demo.__main__ import shared_way
from e2e.demo.measure import OTP_DOMAINS, Scale, flood, flood_load, quiet, set_isps
from e2e.internet import addresses
from e2e.internet.internet import Ground, Internet, InternetError
from e2e.internet.place import HostPlace
from e2e.internet.policy import ROUND_TRIP_S
from e2e.internet.postfix import Postfix
from e2e.load.generate import recipients

TINY = Scale(
    otps=20, warm=4, otp_rate=20.0, flood=300, flood_rate=300.0, backlog=40, build_s=4.0, timed_s=8.0, drain_s=25.0
)
LIMITS = {provider.name: 2 for provider in addresses.PROVIDERS}


@pytest.fixture
def place() -> Iterator[HostPlace]:
    name = f"lwd{os.getpid()}"
    folder = Path(tempfile.mkdtemp(prefix="lw-demo-", dir="/var/tmp"))
    folder.chmod(0o755)
    subprocess.run(["ip", "netns", "add", name], check=True)
    made = HostPlace(folder, namespace=name)
    try:
        made.run(["ip", "link", "set", "lo", "up"])
        yield made
    finally:
        made.end_all()
        subprocess.run(["ip", "netns", "del", name], check=True)
        shutil.rmtree(folder)


@pytest.mark.timeout(240)  # a whole internet is started, and a slow machine has its own ideas of how long that takes
async def test_otps_behind_a_flood_in_one_server_are_late_and_none_is_lost(place: HostPlace, tmp_path: Path) -> None:
    internet = await Internet.up(place, Ground(place.logs / "net", place.logs / "run", place.logs / "spool"))
    relay = internet.shared_postfix(dict.fromkeys(addresses.PROVIDERS, 2))
    relay.up()
    way = shared_way()
    await set_isps(internet, LIMITS, round_trip_s=ROUND_TRIP_S)
    said: list[str] = []
    try:
        calm = await quiet(internet, way, TINY, tmp_path, said.append)
        apart = replace(way, bulk_ips=frozenset({"203.0.113.99"}))
        with pytest.raises(InternetError, match="the backlog never passed 100000"):
            await flood(internet, apart, LIMITS, Scale(flood=1, backlog=100_000, build_s=0.1), tmp_path, said.append)
        await internet.reset_records()
        flooded = await flood(internet, way, LIMITS, TINY, tmp_path, said.append)
        outcome = result.judge(way, calm, flooded, await internet.records(), LIMITS)
        policy = await internet.isps.policy("gmail-like")
        cut = await flood(
            internet,
            way,
            LIMITS,
            replace(TINY, flood=9000, timed_s=1.0),
            tmp_path,
            said.append,
            lambda: thrown_away(relay),
        )
    finally:
        await internet.down()

    assert flooded.drained
    assert (len(flooded.warm), len(flooded.otp), len(flooded.bulk)) == (4, 20, 300)
    assert len([one for one in outcome.comparison.lost if "flood" in one or "bulk" in one]) == 0
    assert outcome.at_least.p50 > 2 * result.SCRIPTED_S
    assert outcome.comparison.wrong_ip == []
    assert 0.0 < outcome.used <= 1.0
    assert flooded.samples
    assert said
    assert policy.round_trip_s == ROUND_TRIP_S  # put back after the rest had drained
    assert cut.left > 0
    assert len(cut.bulk) < 9000
    assert len(cut.otp) == 20


def thrown_away(relay: Postfix) -> int:
    left = relay.queued()
    relay.purge()
    return left


def test_the_flood_goes_to_as_many_domains_as_it_has_messages() -> None:
    config = flood_load(shared_way(), Scale(), Path("x"))
    stream = recipients(config)

    domains = {next(stream).partition("@")[2] for _ in range(config.messages)}

    assert len(domains) == 50_000
    assert domains >= set(OTP_DOMAINS)  # the codes' domains are among them
    assert len({domain.partition(".")[2] for domain in domains}) == 5
