"""Real Postfix instances on loopback: a plain ISP, a shared relay with limits per ISP, the bench's relay."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.internet import addresses, maildir, packages
from e2e.internet.place import HostPlace
from e2e.internet.policy import Policy
from e2e.internet.postfix import Postfix, main_cf, master_cf, plain_isp, shared_relay, tuned_relay
from tests.e2e_internet.isps import Client, running_isps
from tests.ports import free_port

IP = "127.0.0.1"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Postfix's daemons must reach their folder as an unprivileged user: pytest's own is closed to them."""
    packages.install()
    made = Path(tempfile.mkdtemp(prefix="lw-postfix-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def place(folder: Path) -> Iterator[HostPlace]:
    made = HostPlace(folder / "spawned")
    yield made
    made.end_all()


async def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)


def test_the_shared_relay_bounds_each_isp_by_the_processes_of_its_transport(tmp_path: Path) -> None:
    config = shared_relay(tmp_path, IP, "", {addresses.GMAIL: 8, addresses.YAHOO: 5})

    assert "to-gmail-like unix - - n - 8 smtp\n" in master_cf(config)
    assert "to-yahoo-like_destination_concurrency_limit = 5\n" in main_cf(config)
    assert f"smtp_bind_address = {IP}\n" in main_cf(config)
    assert r"/@(yahoo-like\.example|([^.@]+\.)?bulk-y\.example)$/ to-yahoo-like:" in config.files["transport"].split(
        "\n"
    )


def test_an_isp_with_two_mx_sets_has_its_limit_divided_among_them(tmp_path: Path) -> None:
    config = shared_relay(tmp_path, IP, "", {addresses.OUTLOOK: 5})

    assert config.transports == {"to-outlook-like-1": 2, "to-outlook-like-2": 2}
    assert r"/@(company\.example|([^.@]+\.)?bulk-c\.example)$/ to-outlook-like-2:" in config.files["transport"].split(
        "\n"
    )


def test_a_maildir_file_becomes_a_record() -> None:
    content = (
        b"Return-Path: <s@a.test>\nX-Original-To: r@plain.example\nDelivered-To: r@plain.example\n"
        b"Received: from out10.example.com (out10.example.com [203.0.113.10])\n\t(using TLSv1.3 with cipher X)\n"
        b"\tby mx1.plain.example (Postfix) with ESMTPS id 1\nReceived: from other (x [192.0.2.9])\n\tby relay\n"
        b"DKIM-Signature: v=1\nMessage-ID:\n <1@a.test>\n\nbody\n"
    )

    record = maildir.as_message("plain", "1795420339.Vfd01I2cM023456.host", content)

    assert record.at == pytest.approx(1795420339.023456)
    assert (record.source_ip, record.tls, record.dkim_signed) == ("203.0.113.10", True, True)
    assert (record.sender, record.recipients, record.message_id) == ("s@a.test", ("r@plain.example",), "<1@a.test>")


def test_a_file_that_is_no_maildir_file_is_an_error() -> None:
    with pytest.raises(ValueError, match="no maildir file name"):
        maildir.delivered_at("README")


async def test_the_plain_isp_takes_mail_for_its_domains_only_and_remembers_where_from(
    folder: Path, place: HostPlace
) -> None:
    postfix = Postfix(place, plain_isp(folder / "plain", addresses.PLAIN, IP, "", port=free_port(IP)))
    postfix.up()
    client = await (await Client.connect((IP, postfix.config.port), "127.0.0.45")).greeted()
    assert await client.send("r@plain.example", "<one@a.test>") == [250, 250, 354, 250]
    assert await client.send("r@d7.bulk-p.example", "<two@a.test>") == [250, 250, 354, 250]
    assert (await client.say("MAIL FROM:<s@a.test>", "RCPT TO:<r@gmail-like.example>")) == [250, 554]
    await client.close()

    await eventually(lambda: len(maildir.received("plain", postfix.config.folder)) == 2)
    arrived = maildir.received("plain", postfix.config.folder)
    assert {(one.message_id, one.source_ip) for one in arrived} == {
        ("<one@a.test>", "127.0.0.45"),
        ("<two@a.test>", "127.0.0.45"),
    }


async def test_the_tuned_relay_delivers_to_its_sink_and_shows_its_settings(
    folder: Path, place: HostPlace, tmp_path: Path
) -> None:
    async with running_isps(tmp_path, sink=Policy(round_trip_s=0)) as (control, at):
        postfix = Postfix(place, tuned_relay(folder / "tuned", IP, free_port(IP), at["sink"]))
        postfix.up()
        client = await (await Client.connect((IP, postfix.config.port))).greeted()
        for number in range(20):
            assert (await client.send("r@anything.test", f"<{number}@a.test>"))[-1] == 250
        await client.close()
        await eventually(lambda: postfix.queued() == 0)
        arrived = {one.message_id for one in await control.messages("sink")}

    assert arrived == {f"<{number}@a.test>" for number in range(20)}
    assert "in_flow_delay = 0" in postfix.shown()
    assert f"relayhost = [{at['sink'][0]}]:{at['sink'][1]}" in postfix.shown()


async def test_an_ended_instance_leaves_no_process(folder: Path, place: HostPlace) -> None:
    postfix = Postfix(place, tuned_relay(folder / "tuned", IP, free_port(IP), (IP, 9)))
    postfix.up()
    (master,) = [int(line) for line in (folder / "tuned/queue/pid/master.pid").read_text().split()]
    family = place.run(["pgrep", "--session", str(master)]).stdout.split()
    assert len(family) >= 3

    postfix.down()

    await eventually(lambda: not place.run(["pgrep", "--session", str(master)], check=False).stdout)


async def test_a_purged_queue_is_empty(folder: Path, place: HostPlace) -> None:
    nobody = (IP, free_port(IP))
    postfix = Postfix(place, tuned_relay(folder / "tuned", IP, free_port(IP), nobody))
    postfix.up()
    client = await (await Client.connect((IP, postfix.config.port))).greeted()
    assert (await client.send())[-1] == 250
    await client.close()
    assert postfix.queued() == 1

    postfix.purge()

    assert postfix.queued() == 0
