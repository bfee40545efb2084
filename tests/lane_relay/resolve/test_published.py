"""The records that mail is judged by beside its keys: what DNS says, when it is asked, and what an outage is."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lane_api.dnsrecords import RecordFinding, RecordPurpose
from lane_api.relayconfig import Egress
from lane_api.relaysigning import SigningDomain
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.resolve.dns import WireResolver
from lane_relay.resolve.published import Asked, PublishedWatch, RecordState, look_up
from tests.lane_relay.resolve.named_server import running_named

OURS, SIX = "127.0.0.41", "::41"
RIGHT, ABSENT, OTHER = RecordFinding.RIGHT, RecordFinding.ABSENT, RecordFinding.OTHER
UNANSWERED = RecordFinding.UNANSWERED


def asked(back: str = "", *addresses: str, domain: str = "good.example.test") -> Asked:
    return Asked(domain, "s1", back, addresses)


async def looked_up(folder: Path, what: Asked) -> dict[str, RecordState]:
    async with running_named(folder) as named:
        resolver = WireResolver([named.server])
        found = await look_up(what, resolver)
        await resolver.close()
    return {one.purpose.value: one for one in found}


async def test_a_real_server_whose_records_are_right_is_told_so_with_what_it_says(tmp_path: Path) -> None:
    found = await looked_up(tmp_path, asked("b.good.example.test", OURS))

    assert {one: found[one].finding for one in found} == dict.fromkeys(
        ("DMARC", "MX", "SPF", "MTA-STS", "TLS-RPT"), RIGHT
    )
    assert found["DMARC"].found == "v=DMARC1; p=none"
    assert found["MX"].found == "10 out.example.test"
    assert (found["SPF"].name, found["SPF"].found) == ("b.good.example.test", "v=spf1 include:_spf.example.test -all")


async def test_a_real_server_without_them_is_told_what_is_not_there_and_of_two_addresses_the_worse(
    tmp_path: Path,
) -> None:
    found = await looked_up(tmp_path, asked("b.good.example.test", OURS, SIX))
    assert found["SPF"].finding is OTHER
    assert found["SPF"].detail.startswith("for ::41 SPF of b.good.example.test comes to fail (-all of b.good")


@pytest.mark.parametrize(
    ("what", "purpose", "finding", "text"),
    [
        (asked(domain="plain.example.test"), "DMARC", ABSENT, "plain.example.test has no DMARC record, nor one above"),
        (asked(domain="deep.below.good.example.test"), "DMARC", RIGHT, "_dmarc.good.example.test has a policy"),
        (asked(domain="twice.example.test"), "DMARC", OTHER, "_dmarc.twice.example.test has 2 DMARC records"),
        (asked(domain="vague.example.test"), "DMARC", OTHER, "_dmarc.vague.example.test names no policy"),
        (asked("plain.example.test", OURS), "MX", ABSENT, "plain.example.test has no MX record"),
        (asked("plain.example.test", OURS), "SPF", ABSENT, "plain.example.test has no SPF record"),
        (asked("null.example.test", OURS), "MX", OTHER, "says that it takes no mail"),
        (asked("twice.example.test", OURS), "MTA-STS", OTHER, "_mta-sts.twice.example.test has no id"),
        (asked("twice.example.test", OURS), "TLS-RPT", OTHER, "_smtp._tls.twice.example.test has no rua"),
    ],
)
async def test_each_record_that_is_not_as_it_must_be_says_why(
    tmp_path: Path, what: Asked, purpose: str, finding: RecordFinding, text: str
) -> None:
    found = (await looked_up(tmp_path, what))[purpose]
    assert (found.finding, text in found.detail) == (finding, True), found


async def test_a_dns_that_does_not_answer_says_nothing_of_any() -> None:
    resolver = WireResolver(["127.0.0.1:1"], try_s=0.05, tries=1)
    found = await look_up(asked("b.good.example.test", OURS), resolver)
    await resolver.close()
    assert {one.purpose.value: one.finding for one in found} == dict.fromkeys(("DMARC", "MX", "SPF"), UNANSWERED)


async def test_where_the_senders_own_envelope_goes_out_or_the_address_is_shared_nobody_knows_what_to_ask(
    tmp_path: Path,
) -> None:
    assert set(await looked_up(tmp_path, asked("", OURS))) == {"DMARC"}
    assert "SPF" not in await looked_up(tmp_path, asked("b.good.example.test"))


class Dns:
    """Answers that the test sets."""

    def __init__(self) -> None:
        self.finding = RIGHT
        self.asked: asyncio.Queue[Asked] = asyncio.Queue()

    async def ask(self, asked: Asked) -> tuple[RecordState, ...]:
        self.asked.put_nowait(asked)
        return (RecordState(RecordPurpose.SPF, asked.back, self.finding, f"it is {self.finding}"),)


def domain(selector: str = "s1", back: str = "b.example.com", **more: Any) -> SigningDomain:
    path = {"domain": back, "mode": "Rewrite", **more}
    return SigningDomain.model_validate(
        {"name": "example.com", "selector": selector, "keyFile": "key", "returnPath": path}
    )


def egress(address: str = OURS) -> Egress:
    return Egress.model_validate({"address": address})


def watch_of(dns: Dns) -> PublishedWatch:
    watch = PublishedWatch(dns.ask, SYSTEM_CLOCK)
    watch.apply((domain(),), egress())
    return watch


def finding(watch: PublishedWatch) -> list[RecordFinding]:
    return [one.finding for one in watch.states("example.com")]


async def test_an_outage_takes_nothing_back_and_mends_nothing() -> None:
    dns = Dns()
    watch = watch_of(dns)
    dns.finding = UNANSWERED
    await watch.look("example.com")
    assert finding(watch) == [UNANSWERED]
    for known in (RIGHT, OTHER):
        dns.finding = known
        await watch.look("example.com")
        before = watch.states("example.com")
        dns.finding = UNANSWERED
        await watch.look("example.com")
        assert (watch.states("example.com"), finding(watch)) == (before, [known])
    assert watch.wrong()["SPF"] == 1


async def test_it_is_asked_again_at_once_when_a_key_an_address_or_a_return_path_is_another() -> None:
    dns = Dns()
    watch = watch_of(dns)
    running = asyncio.create_task(watch.run())
    async with asyncio.timeout(60):
        assert (await dns.asked.get()).selector == "s1"
        await watch.look("example.com")
        assert (await dns.asked.get()).selector == "s1"
        watch.apply((domain("s2"),), egress())
        assert finding(watch) == [RIGHT], "what is known goes on while it is asked again"
        assert (await dns.asked.get()).selector == "s2"
        watch.apply((domain("s2"),), egress("127.0.0.42"))
        assert finding(watch) == [], "of another address nothing is known"
        assert (await dns.asked.get()).addresses == ("127.0.0.42",)
        watch.apply((domain("s2", mode="Keep"),), egress("127.0.0.42"))
        assert (await dns.asked.get()).back == ""
    running.cancel()
    assert dns.asked.empty()
