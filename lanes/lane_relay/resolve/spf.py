"""Whether the SPF record of a domain lets an address send for it: `check_host` of RFC 7208, as far as that can be said.

Terms that depend on the message (macros, `ptr`, `exists`) are not evaluated: where the verdict hangs on one it is
`unjudged`, and never a failure. pyspf is whole, and blocks a thread by a resolver of its own; what is told here
must be no false alarm, and need be no verdict on mail.
Before it: `answers`. After it: `published`. DNS is asked of whom the caller names; nothing is raised.
"""

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from msgspec import Struct

from lane_relay.resolve.answers import Answer, Family, Lookups, Status

__all__ = ["SpfResult", "SpfVerdict", "check_host"]

_MOST_LOOKUPS: Final = 10
"""Terms that ask DNS, in all (RFC 7208 section 4.6.4); so many MX hosts, too."""
_MECHANISMS: Final = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})
_ASKING: Final = frozenset({"include", "a", "mx", "ptr", "exists"})


class SpfResult(StrEnum):
    """As in RFC 7208 section 2.6, and `unjudged`."""

    PASS = "pass"  # noqa: S105  # a result, no secret
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    PERMERROR = "permerror"
    TEMPERROR = "temperror"
    UNJUDGED = "unjudged"


_OF_QUALIFIER: Final = {
    "+": SpfResult.PASS,
    "-": SpfResult.FAIL,
    "~": SpfResult.SOFTFAIL,
    "?": SpfResult.NEUTRAL,
}
_OF_INCLUDED: Final = {SpfResult.TEMPERROR: SpfResult.TEMPERROR, SpfResult.UNJUDGED: SpfResult.UNJUDGED}


class SpfVerdict(Struct, frozen=True):
    """What came of it."""

    result: SpfResult
    why: str
    """The term that decided, or what is wrong."""
    record: str = ""
    """The domain's own; empty where there is none, or more than one."""


class _Term(Struct, frozen=True):
    qualifier: str
    name: str
    value: str
    """After the colon."""
    prefixes: tuple[int, int]
    """Of IPv4 and IPv6."""
    text: str


class _Record(Struct, frozen=True):
    terms: tuple[_Term, ...]
    redirect: str


async def check_host(address: str, domain: str, lookups: Lookups) -> SpfVerdict:
    """The verdict on mail from this address with a sender at this domain."""
    return await _Check(ip_address(address), lookups).of(domain)


class _Check:
    """One evaluation, which counts what it asks."""

    def __init__(self, address: IPv4Address | IPv6Address, lookups: Lookups) -> None:
        self._address = address
        self._family = Family.V4 if address.version == 4 else Family.V6
        self._lookups = lookups
        self._asked = 0

    async def of(self, domain: str) -> SpfVerdict:
        answer = await self._lookups.txt(domain)
        if not answer.is_definite:
            return SpfVerdict(SpfResult.TEMPERROR, f"DNS does not answer for TXT {domain} ({answer.status})")
        texts = [text for text in answer.records if text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")]
        if not texts:
            return SpfVerdict(SpfResult.NONE, f"{domain} has no SPF record")
        if len(texts) > 1:
            return SpfVerdict(SpfResult.PERMERROR, f"{domain} has {len(texts)} SPF records, which counts as an error")
        record = _parsed(texts[0])
        if isinstance(record, str):
            return SpfVerdict(SpfResult.PERMERROR, f"the SPF record of {domain} has an error: {record}", texts[0])
        result, why = await self._evaluated(record, domain)
        return SpfVerdict(result, why, texts[0])

    async def _evaluated(self, record: _Record, domain: str) -> tuple[SpfResult, str]:
        for term in record.terms:
            if term.name in _ASKING and self._is_too_much():
                return SpfResult.PERMERROR, f"SPF of {domain} asks DNS more than {_MOST_LOOKUPS} times"
            found = await self._matches(term, domain)
            if isinstance(found, SpfResult):
                return found, f"{term.text} of {domain}"
            if found:
                return _OF_QUALIFIER[term.qualifier], f"{term.text} of {domain}"
        if not record.redirect:
            return SpfResult.NEUTRAL, f"no term of the SPF record of {domain} is about it"
        if "%" in record.redirect:
            return SpfResult.UNJUDGED, f"redirect={record.redirect} of {domain}"
        if self._is_too_much():
            return SpfResult.PERMERROR, f"SPF of {domain} asks DNS more than {_MOST_LOOKUPS} times"
        verdict = await self.of(record.redirect)
        return (SpfResult.PERMERROR if verdict.result is SpfResult.NONE else verdict.result), verdict.why

    def _is_too_much(self) -> bool:
        self._asked += 1
        return self._asked > _MOST_LOOKUPS

    async def _matches(self, term: _Term, domain: str) -> bool | SpfResult:
        """Whether the term is about the address; a result that ends the whole."""
        target = term.value or domain
        if term.name in ("ptr", "exists") or "%" in target:
            return SpfResult.UNJUDGED
        match term.name:
            case "all":
                return True
            case "ip4" | "ip6":
                return self._address in ip_network(term.value, strict=False)
            case "include":
                inner = (await self.of(target)).result
                if inner in (SpfResult.PERMERROR, SpfResult.NONE):
                    return SpfResult.PERMERROR
                return _OF_INCLUDED.get(inner, inner is SpfResult.PASS)
            case "mx":
                return await self._is_mx(term, target)
        return await self._is_of(term, target)

    async def _is_mx(self, term: _Term, target: str) -> bool | SpfResult:
        answer = await self._lookups.mx(target)
        if not answer.is_definite:
            return SpfResult.TEMPERROR
        hosts = [one.host for one in answer.records if one.host]
        if len(hosts) > _MOST_LOOKUPS:
            return SpfResult.PERMERROR
        for host in hosts:
            found = await self._is_of(term, host)
            if found is not False:
                return found
        return False

    async def _is_of(self, term: _Term, host: str) -> bool | SpfResult:
        answer: Answer[str] = await self._lookups.addresses(host, self._family)
        if not answer.is_definite:
            return SpfResult.TEMPERROR
        prefix = term.prefixes[self._family is Family.V6]
        found = answer.records if answer.status is Status.FOUND else ()
        return any(self._address in ip_network(f"{one}/{prefix}", strict=False) for one in found)


def _parsed(text: str) -> _Record | str:
    """The record's terms in order, or what is wrong with one: an error anywhere is one of the whole (section 4.6)."""
    terms: list[_Term] = []
    redirects: list[str] = []
    for word in text.split()[1:]:
        name, equals, value = word.partition("=")
        if equals and name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            if name.lower() == "redirect":
                redirects.append(value)
            continue  # exp, and modifiers that nobody knows
        term = _term(word)
        if term is None:
            return f"{word} is no term of SPF"
        terms.append(term)
    if len(redirects) > 1 or "" in redirects:
        return "redirect stands there more than once, or is empty"
    return _Record(tuple(terms), redirects[0] if redirects else "")


def _term(word: str) -> _Term | None:
    qualifier, rest = (word[0], word[1:]) if word[0] in _OF_QUALIFIER else ("+", word)
    head, colon, value = rest.partition(":")
    prefixes = (32, 128)
    if head.split("/")[0].lower() in ("a", "mx"):
        name, _, lengths = (head if not colon else value).partition("/")
        read = _prefixes(lengths) if lengths or rest.endswith("/") else prefixes
        if read is None:
            return None
        head, value, prefixes = (head, name, read) if colon else (name, "", read)
    name = head.lower()
    needs = name in ("include", "exists", "ip4", "ip6")
    if name not in _MECHANISMS or (needs and not value) or (colon and not value) or (name == "all" and colon):
        return None
    if name in ("ip4", "ip6") and not _is_network(value, 4 if name == "ip4" else 6):
        return None
    return _Term(qualifier, name, value.rstrip("."), prefixes, word)


def _prefixes(text: str) -> tuple[int, int] | None:
    """Of `24`, `24//64` or `/64`, what follows the first slash; None for what is none."""
    if not text:
        return None
    four, _, six = text.partition("//") if not text.startswith("/") else ("", "", text[1:])
    lengths = (four or "32", six or "128")
    if not all(one.isascii() and one.isdigit() for one in lengths):
        return None
    read = (int(lengths[0]), int(lengths[1]))
    return read if read[0] <= 32 and read[1] <= 128 else None


def _is_network(text: str, version: int) -> bool:
    try:
        return ip_network(text, strict=False).version == version
    except ValueError:
        return False
