"""SPF: what the record of a domain says of an address; what cannot be said is no failure."""

import pytest

from lane_relay.resolve.answers import Answer, Family, MxRecord, Status
from lane_relay.resolve.spf import SpfResult, check_host

OURS, SIX = "203.0.113.10", "2001:db8::10"
BACK = "b.example.com"


class Names:
    """DNS as the test has it: TXT, MX and addresses by name; a name that is nowhere does not exist."""

    def __init__(self, txt: dict[str, list[str]], broken: str = "") -> None:
        self.asked = 0
        self._txt = txt
        self._broken = broken
        self._mx = {"mx.example.com": ["out.example.com"], "many.example.com": [f"h{n}.example.com" for n in range(11)]}
        self._addresses = {"out.example.com": [OURS, SIX], "near.example.com": ["203.0.113.77", "2001:db8::77"]}

    def _of(self, name: str, found: list[str] | None) -> Answer[str]:
        self.asked += 1
        if name == self._broken:
            return Answer(Status.TIMEOUT)
        return Answer(Status.FOUND, tuple(found)) if found else Answer(Status.NXDOMAIN)

    async def txt(self, name: str) -> Answer[str]:
        return self._of(name, self._txt.get(name))

    async def addresses(self, name: str, family: Family) -> Answer[str]:
        found = [one for one in self._addresses.get(name, ()) if (":" in one) is (family is Family.V6)]
        return self._of(name, found)

    async def mx(self, name: str) -> Answer[MxRecord]:
        answer = self._of(name, self._mx.get(name))
        return Answer(answer.status, tuple(MxRecord(10, host) for host in answer.records))


async def result(record: str, address: str = OURS, **more: str) -> SpfResult:
    txt = {name.replace("_", ".") + ".example.net": [text] for name, text in more.items()}
    return (await check_host(address, BACK, Names({BACK: ["unrelated", record], **txt}))).result


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("v=spf1 ip4:203.0.113.10 -all", "pass"),
        ("V=SPF1 IP4:203.0.113.0/24 -ALL", "pass"),
        ("v=spf1 ip4:203.0.113.11 -all", "fail"),
        ("v=spf1 ip4:203.0.113.11 ~all", "softfail"),
        ("v=spf1 ip4:203.0.113.11 ?all", "neutral"),
        ("v=spf1 ip4:203.0.113.11", "neutral"),
        ("v=spf1", "neutral"),
        ("v=spf1 -ip4:203.0.113.10 +all", "fail"),
        ("v=spf1 ip6:2001:db8::/32 -all", "fail"),
        ("v=spf1 a:out.example.com -all", "pass"),
        ("v=spf1 a:near.example.com -all", "fail"),
        ("v=spf1 a:near.example.com/24 -all", "pass"),
        ("v=spf1 a:near.example.com/24//64 -all", "pass"),
        ("v=spf1 a:near.example.com//64 -all", "fail"),
        ("v=spf1 a:gone.example.com -all", "fail"),
        ("v=spf1 a -all", "fail"),
        ("v=spf1 mx:mx.example.com -all", "pass"),
        ("v=spf1 mx -all", "fail"),
        ("v=spf1 mx:many.example.com -all", "permerror"),
        ("v=spf1 ip4:203.0.113.10 ipv4:203.0.113.11 -all", "permerror"),
        ("v=spf1 ip4:203.0.113.300 -all", "permerror"),
        ("v=spf1 a:out.example.com/33 -all", "permerror"),
        ("v=spf1 ip4 -all", "permerror"),
        ("v=spf1 include: -all", "permerror"),
        ("v=spf1 redirect=x redirect=y", "permerror"),
        ("v=spf1 moo=cow exp=why.example.com ip4:203.0.113.10 -all", "pass"),
    ],
)
async def test_terms_are_taken_in_their_order_and_an_error_anywhere_is_one_of_the_whole(
    record: str, expected: str
) -> None:
    assert await result(record) == expected


async def test_the_other_family_is_held_against_its_own_records() -> None:
    assert await result("v=spf1 ip6:2001:db8::/64 -all", SIX) is SpfResult.PASS
    assert await result("v=spf1 a:out.example.com -all", SIX) is SpfResult.PASS
    assert await result("v=spf1 a:near.example.com/24//64 -all", SIX) is SpfResult.PASS
    assert await result("v=spf1 ip4:203.0.113.10 -all", SIX) is SpfResult.FAIL


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("v=spf1 ip4:203.0.113.10 -all", "pass"),
        ("v=spf1 ip4:203.0.113.99 -all", "softfail"),
        ("v=spf1 -ip4:203.0.113.10 +all", "softfail"),
        ("v=spf1 wrong", "permerror"),
        ("no record", "permerror"),
        ("v=spf1 include:deeper.example.net -all", "pass"),
    ],
)
async def test_what_is_included_counts_only_where_it_passes(inner: str, expected: str) -> None:
    deeper = "v=spf1 ip4:203.0.113.0/28 -all"
    assert await result("v=spf1 include:esp.example.net ~all", esp=inner, deeper=deeper) == expected


async def test_a_redirect_is_followed_where_nothing_else_is_about_the_address() -> None:
    assert await result("v=spf1 redirect=esp.example.net", esp="v=spf1 ip4:203.0.113.10 -all") is SpfResult.PASS
    assert await result("v=spf1 redirect=esp.example.net", esp="v=spf1 -all") is SpfResult.FAIL
    assert await result("v=spf1 redirect=gone.example.net") is SpfResult.PERMERROR
    assert await result("v=spf1 -all redirect=esp.example.net", esp="v=spf1 +all") is SpfResult.FAIL


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 exists:%{i}._spf.example.net -all",
        "v=spf1 include:%{d2}.example.net -all",
        "v=spf1 ptr -all",
        "v=spf1 redirect=%{d}.example.net",
        "v=spf1 include:esp.example.net -all",
    ],
)
async def test_what_only_a_receiver_can_say_is_not_judged(record: str) -> None:
    assert await result(record, esp="v=spf1 exists:%{i}.example.net -all") is SpfResult.UNJUDGED


async def test_what_comes_before_a_macro_still_counts() -> None:
    assert await result("v=spf1 ip4:203.0.113.10 exists:%{i}.example.net -all") is SpfResult.PASS


async def test_a_record_that_leads_to_itself_ends_with_the_tenth_question() -> None:
    names = Names({BACK: [f"v=spf1 include:{BACK} -all"]})
    assert (await check_host(OURS, BACK, names)).result is SpfResult.PERMERROR
    assert names.asked <= 11


async def test_two_records_are_an_error_and_none_is_none() -> None:
    two = await check_host(OURS, BACK, Names({BACK: ["v=spf1 +all", "v=spf1 -all"]}))
    assert (two.result, two.why) == (SpfResult.PERMERROR, f"{BACK} has 2 SPF records, which counts as an error")
    for texts in ([], ["v=spf10 +all"], ["v=DKIM1"]):
        assert (await check_host(OURS, BACK, Names({BACK: texts}))).result is SpfResult.NONE


@pytest.mark.parametrize("silent", [BACK, "esp.example.net", "out.example.com", "mx.example.com"])
async def test_a_dns_that_does_not_answer_is_no_verdict(silent: str) -> None:
    record = "v=spf1 include:esp.example.net a:out.example.com mx:mx.example.com -all"
    names = Names({BACK: [record], "esp.example.net": ["v=spf1 -all"]}, broken=silent)
    address = "198.51.100.1"
    assert (await check_host(address, BACK, names)).result is SpfResult.TEMPERROR
