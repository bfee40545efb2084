"""Under which domains a lane is seen, and whose reputation they share: pure.

Below the indexes. ISPs judge a domain together with its organizational domain (RFC 7489 section 3.2), which is found
here by the Public Suffix List as the library carries it; DNS is not asked for a `psd` tag (RFC 9989's tree walk).
"""

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList

__all__ = ["from_domains", "is_below", "organization_of", "seen_domains"]


@lru_cache(maxsize=16_384)
def organization_of(domain: str) -> str:
    """The organizational domain; a name that is a public suffix itself, or no name, is its own."""
    return _suffixes().privatesuffix(domain) or domain


def is_below(name: str, domains: Iterable[str] | None) -> bool:
    """Whether a name is one of these domains, in small letters, or below one; `*` among them, or None, is any."""
    return domains is None or any(one == "*" or f".{name}".lower().endswith(f".{one}") for one in domains)


def from_domains(lane: Mapping[str, Any]) -> tuple[str, ...]:
    """The From domains of a lane's spec as the API has it."""
    return tuple(domain.get("name", "") for domain in lane.get("domains") or ())


def seen_domains(lane: Mapping[str, Any]) -> tuple[str, ...]:
    """Every domain that ISPs see on the lane's mail: of From and signature, return path, unsubscribe link."""
    return tuple(dict.fromkeys(name for name in _seen(lane) if name))


def _seen(lane: Mapping[str, Any]) -> Iterable[str]:
    yield from from_domains(lane)
    for domain in lane.get("domains") or ():
        yield (domain.get("returnPath") or {}).get("domain", "")
    link = ((lane.get("feedback") or {}).get("unsubscribe") or {}).get("url", "")
    try:
        yield urlsplit(link).hostname or ""
    except ValueError:  # a bracket that is not closed: the relay's configuration says so
        return


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList(only_icann=False)
