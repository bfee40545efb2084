"""What DNS is to say of a domain's mail beside its keys, held against what slots found there; pure.

A false alarm is worse than none: what nobody can judge, or no slot has seen, is not wrong; what slots found for a
return path that is another by now does not count. Before it: the lane, and what slots say. After it: its status.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from lane_api.dnsrecords import RecordFinding, RecordPurpose
from lane_operator.seen import RecordSeen

__all__ = ["Needs", "Verdict", "spf_text", "verdicts"]

_WRONG: Final = (RecordFinding.ABSENT, RecordFinding.OTHER)
_WORST_FIRST: Final = (*_WRONG, RecordFinding.UNANSWERED, RecordFinding.UNJUDGED, RecordFinding.RIGHT)
_TEXTS: Final = {
    RecordPurpose.DMARC: "v=DMARC1; p=none",
    RecordPurpose.MTA_STS: "v=STSv1; id=20260101",
    RecordPurpose.TLS_RPT: "v=TLSRPTv1; rua=mailto:postmaster@",
}
_MOST_FOUND: Final = 256
"""Characters that are told of a record: what has as many may go on."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What the records of one From domain must say."""

    domain: str
    back: str = ""
    """Domain of a return path that is rewritten; empty: the sender's own goes out."""
    host: str = ""
    """What the MX of it leads to; empty: whoever is chosen."""
    sources: tuple[str, ...] = ()
    """Addresses of the lane's slots."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One record."""

    purpose: RecordPurpose
    name: str
    wanted: str
    """Empty where it is right, or anybody's choice."""
    found: str
    ok: bool | None
    message: str
    """What is so, as the slots say it."""
    is_unanswered: bool = False
    """Nobody can say, for want of an answer."""


def spf_text(sources: Iterable[str]) -> str:
    """The SPF record that names these addresses and nobody else."""
    named = (f"ip{address.version}:{address}" for address in map(ip_address, sources))
    return " ".join(("v=spf1", *named, "-all"))


def verdicts(needs: Needs, said: Mapping[str, tuple[RecordSeen, ...]]) -> tuple[Verdict, ...]:
    """What is so of each record that a slot has looked at; `said` by slot."""
    return tuple(verdict for purpose in RecordPurpose for verdict in _of(purpose, needs, said))


def _of(purpose: RecordPurpose, needs: Needs, said: Mapping[str, tuple[RecordSeen, ...]]) -> Iterator[Verdict]:
    name = _name(purpose, needs)
    found = {
        slot: one
        for slot, records in said.items()
        for one in records
        if (one.purpose, one.name) == (purpose, name) and one.finding in _WORST_FIRST
    }
    if not name or not found:
        return
    worst = min(found.values(), key=lambda one: _WORST_FIRST.index(RecordFinding(one.finding)))
    ok, message = _judged(purpose, needs, worst)
    if purpose is RecordPurpose.SPF and ok is False:
        message = "; ".join(dict.fromkeys(one.message for one in found.values() if one.finding in _WRONG))
    is_unanswered = worst.finding == RecordFinding.UNANSWERED
    yield Verdict(
        purpose, name, _wanted(purpose, needs) if ok is False else "", worst.found, ok, message, is_unanswered
    )


def _name(purpose: RecordPurpose, needs: Needs) -> str:
    """Where the record is; empty: it is not asked for."""
    if purpose is RecordPurpose.DMARC:
        return f"_dmarc.{needs.domain}"
    heads = {RecordPurpose.MTA_STS: "_mta-sts.", RecordPurpose.TLS_RPT: "_smtp._tls."}
    return heads.get(purpose, "") + needs.back if needs.back else ""


def _judged(purpose: RecordPurpose, needs: Needs, seen: RecordSeen) -> tuple[bool | None, str]:
    if seen.finding in _WRONG:
        return False, seen.message
    if seen.finding != RecordFinding.RIGHT:
        return None, seen.message
    hosts = [row.split(" ")[-1] for row in seen.found.split(", ")]
    if purpose is RecordPurpose.MX and needs.host and needs.host not in hosts and len(seen.found) < _MOST_FOUND:
        return False, f"the MX of {needs.back} leads to {', '.join(hosts)}, and not to {needs.host}"
    return True, seen.message


def _wanted(purpose: RecordPurpose, needs: Needs) -> str:
    if purpose is RecordPurpose.SPF:
        return spf_text(needs.sources) if needs.sources else ""
    if purpose is RecordPurpose.MX:
        return f"10 {needs.host}" if needs.host else ""
    return _TEXTS[purpose] + (needs.domain if purpose is RecordPurpose.TLS_RPT else "")
