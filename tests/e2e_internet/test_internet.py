"""The whole internet at its real addresses, in a network namespace that this test makes and removes."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from e2e.internet import addresses
from e2e.internet.faults import Block, Nat, Rules, ruleset
from e2e.internet.internet import Ground, Internet, eventually
from e2e.internet.place import HostPlace
from e2e.internet.policy import Policy
from e2e.load import ledger
from e2e.load.generate import LoadConfig
from lane_relay.egress.wire import BadAnswer, Sighting, parse_answer, parse_key, request

TRY = (
    "import socket,sys\n"
    "s=socket.socket(); s.settimeout(float(sys.argv[4])); s.bind((sys.argv[1],0))\n"
    "try:\n s.connect((sys.argv[2],int(sys.argv[3]))); sys.stdout.write(s.recv(200).decode())\n"
    "except OSError as e: sys.stdout.write(type(e).__name__)\n"
)


@pytest.fixture(scope="module")
def place() -> Iterator[HostPlace]:
    name = f"lwt{os.getpid()}"
    folder = Path(tempfile.mkdtemp(prefix="lw-internet-", dir="/var/tmp"))
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


@pytest.fixture
def ground(place: HostPlace) -> Ground:
    return Ground(place.logs / "net", place.logs / "run", place.logs / "spool")


@pytest.fixture
async def internet(place: HostPlace, ground: Ground) -> AsyncIterator[Internet]:
    """Built by the first test; the others attach to it, as `up` may be repeated."""
    made = await Internet.up(place, ground)
    await made.reset_records()
    yield made
    made.faults.rules = Rules(silent={addresses.DEAD})
    await made.close()


def attempt(place: HostPlace, source: str, target: str, port: int = 25, seconds: float = 3.0) -> str:
    return place.run(["python3", "-c", TRY, source, target, str(port), str(seconds)]).stdout


def bulk(internet: Internet, **more: object) -> LoadConfig:
    zones = [mx_set.bulk for provider in addresses.PROVIDERS for mx_set in provider.mx_sets]
    values: dict[str, object] = {
        "stream": "bulk", "host": addresses.SHARED_POSTFIX, "port": 25, "source_ip": addresses.CLIENT,
        "sender": "news@news.example.com", "domains": tuple(f"d{{n}}.{zone}" for zone in zones), "distinct": 100,
        "messages": 70, "rate": 200.0, "sessions": 3, "ledger": internet.ground.folder / "bulk.jsonl",
    }  # fmt: skip
    return LoadConfig.model_validate(values | more)


async def test_mail_through_the_shared_relay_reaches_the_right_isps_within_their_limits(
    internet: Internet, place: HostPlace
) -> None:
    relay = internet.shared_postfix(dict.fromkeys(addresses.PROVIDERS, 2))
    relay.up()
    try:
        load = await internet.load(bulk(internet))
        entries = await load.done(60)

        async def all_there() -> bool:
            return await internet.received() >= len(entries)

        await eventually(all_there, 60, relay.log()[-3000:])
        records = await internet.records()
        wire = await internet.isps.wire()
        counters = await internet.isps.all_counters()
    finally:
        relay.down()

    found = ledger.compare(entries, records, {"bulk": frozenset({addresses.SHARED_POSTFIX})})
    assert found.accepted == 70
    assert (found.lost, found.duplicated, found.wrong_ip, found.altered, found.misdirected, found.unknown) == (
        [], {}, [], [], [], [],
    )  # fmt: skip
    assert {name: one["messages"] for name, one in counters.items()} == {
        "gmail-like": 10, "outlook-like": 20, "yahoo-like": 10, "gmx-like": 10, "freemail": 10,
    }  # fmt: skip
    for one in counters.values():
        assert one["source_ips"][addresses.SHARED_POSTFIX]["wire_connections_most"] <= 2
    assert wire["packets_lost"] == 0
    assert {span["source_ip"] for span in wire["connections"]} == {addresses.SHARED_POSTFIX}
    assert {span["isp"] for span in wire["connections"]} >= {"gmail-like", "outlook-like", "plain"}


async def test_building_twice_starts_nothing_twice(internet: Internet, place: HostPlace, ground: Ground) -> None:
    before = {name: getattr(place.find(name), "pid", None) for name in ("named", "unbound", "isps", "postfix-plain")}

    again = await Internet.up(place, ground, policies={"gmx-like": Policy(max_size=77)})
    policy = await internet.isps.policy("gmx-like")
    await again.close()

    assert {name: getattr(place.find(name), "pid", None) for name in before} == before
    assert None not in before.values()
    assert policy.max_size == 77


async def test_the_dead_isp_answers_nobody_and_its_callers_are_seen(internet: Internet, place: HostPlace) -> None:
    said = await asyncio.to_thread(attempt, place, addresses.CLIENT, addresses.DEAD, 25, 0.5)
    wire = await internet.isps.wire()

    assert said == "TimeoutError"
    assert ("dead", addresses.CLIENT) in {(span["isp"], span["source_ip"]) for span in wire["connections"]}


async def test_a_port_is_blocked_for_one_source_address_only(internet: Internet, place: HostPlace) -> None:
    isp = addresses.FREEMAIL.hosts[0][1]
    refused = Block(addresses.CLIENT, 25, "reject")
    internet.faults.block(refused)

    assert attempt(place, addresses.CLIENT, isp) == "ConnectionRefusedError"
    assert attempt(place, addresses.SHARED_POSTFIX, isp).startswith("220 ")
    internet.faults.unblock(refused)
    assert attempt(place, addresses.CLIENT, isp).startswith("220 ")
    filtered = Block(addresses.CLIENT)
    internet.faults.block(filtered)
    assert attempt(place, addresses.CLIENT, isp, seconds=0.5) == "TimeoutError"
    internet.faults.unblock(filtered)


@pytest.fixture
def node(place: HostPlace) -> Iterator[HostPlace]:
    """A second namespace at 192.0.2.61, a cable away from the internet."""
    name, internet = f"lwn{os.getpid()}", f"lwt{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    made = HostPlace(place.logs, namespace=name)
    try:
        place.run(["ip", "link", "add", "lwv", "type", "veth", "peer", "name", "eth0", "netns", name])
        place.run(["ip", "addr", "add", "192.0.2.200/24", "dev", "lwv"])
        place.run(["ip", "link", "set", "lwv", "up"])
        place.run(["ip", "addr", "add", "203.0.113.1/24", "dev", "lwv"])  # as the cluster's internet has it
        made.run(["ip", "addr", "add", "192.0.2.61/24", "dev", "eth0"])
        made.run(["ip", "link", "set", "eth0", "up"])
        made.run(["ip", "route", "add", "default", "via", "192.0.2.200"])
        yield made
    finally:
        subprocess.run(["ip", "-n", internet, "link", "del", "lwv"], check=False)
        subprocess.run(["ip", "netns", "del", name], check=True)


async def test_an_address_behind_nat_is_seen_as_the_other_one(internet: Internet, node: HostPlace) -> None:
    isp = addresses.FREEMAIL.hosts[0][1]
    nat = Nat("192.0.2.61", "203.0.113.99")
    assert attempt(node, "192.0.2.61", isp).startswith("220 ")
    internet.faults.translate(nat)
    assert attempt(node, "192.0.2.61", isp).startswith("220 ")
    internet.faults.untranslate(nat)
    seen = (await internet.isps.counters("freemail"))["source_ips"]

    assert seen["203.0.113.99"]["connections"] == 1
    assert seen["192.0.2.61"]["connections"] == 1
    assert seen["192.0.2.61"]["wire_connections"] == 2
    assert seen["192.0.2.61"]["wire_connections_most"] == 1  # the answer of the ISP goes out by a cable and is seen


async def test_a_published_key_is_visible_to_every_resolver_user(internet: Internet) -> None:
    internet.publish_txt("lw1._domainkey.notify.example.com", "v=DKIM1; k=rsa; p=AAAA")

    assert internet.dns.query("lw1._domainkey.notify.example.com", "TXT") == ['"v=DKIM1; k=rsa; p=AAAA"']


async def reflected(internet: Internet, reflector: str) -> Sighting | BadAnswer:
    """What a reflector answers to a caller from CLIENT, read as a relay reads it."""
    nonce = bytes(16)
    ask = (
        "import socket,sys\n"
        "with socket.create_connection((sys.argv[1],25),2,(sys.argv[3],0)) as s:\n"
        " s.sendall(bytes.fromhex(sys.argv[2])); sys.stdout.write(s.makefile().readline())\n"
    )
    argv = ["python3", "-c", ask, reflector, request(nonce).hex(), addresses.CLIENT]
    said: list[str] = []

    async def answered() -> bool:
        said[:] = [internet.place.run(argv, check=False).stdout]
        return bool(said[0])

    await eventually(answered, 60, "no answer")
    return parse_answer(said[0].strip().encode(), parse_key(internet.reflector_key.read_bytes()), nonce)


async def test_the_honest_reflectors_sign_the_callers_address(internet: Internet) -> None:
    internet.start_reflectors(2)
    try:
        sighting = await reflected(internet, addresses.REFLECTORS[1])
    finally:
        internet.stop_reflectors()

    assert isinstance(sighting, Sighting)
    assert sighting.address == addresses.CLIENT


async def test_the_lying_reflector_signs_another_address(internet: Internet) -> None:
    internet.start_lying_reflector()
    try:
        sighting = await reflected(internet, addresses.LYING_REFLECTOR)
    finally:
        internet.stop_lying_reflector()

    assert isinstance(sighting, Sighting)
    assert sighting.address == addresses.LIE


async def test_taking_it_down_leaves_no_program_rule_or_file(internet: Internet, ground: Ground) -> None:
    await internet.take_down()

    assert not any(internet.status().values())
    assert not ground.folder.exists()
    assert not ground.spool.exists()
    assert "lanewright" not in internet.place.run(["nft", "list", "tables"]).stdout


def test_each_rule_stands_in_the_ruleset_once() -> None:
    text = ruleset(Rules({"198.51.100.99"}, {Block("203.0.113.9", 25, "reject")}, {Nat("192.0.2.7", "203.0.113.7")}))

    assert text.count("ip daddr 198.51.100.99 drop") == 2  # arriving here and passing through
    assert text.count("ip saddr 203.0.113.9 tcp dport 25 reject with tcp reset") == 2
    assert text.count("ip saddr 192.0.2.7 snat to 203.0.113.7") == 1
