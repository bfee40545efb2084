"""DNSMatches, and each domain's records: whether DNS says of the lane's mail what it must beside its keys; pure.

It only tells: no mail waits for these records, but receivers refuse, or file as spam, what fails by them.
"""

from typing import Final

from lane_api.conditions import ConditionType, Reason
from lane_api.dnsrecords import RecordPurpose
from lane_api.domains import LaneDomain
from lane_api.lane_status import DnsRecord
from lane_operator.deliverability.dns import Needs, Verdict, verdicts
from lane_operator.status.book import Book
from lane_operator.status.view import View

__all__ = ["dns_records", "put_dns_records"]

_REASONS: Final = {
    RecordPurpose.SPF: Reason.SPF_WRONG,
    RecordPurpose.MX: Reason.MX_WRONG,
    RecordPurpose.DMARC: Reason.DMARC_WRONG,
    RecordPurpose.MTA_STS: Reason.TLS_RECORD_WRONG,
    RecordPurpose.TLS_RPT: Reason.TLS_RECORD_WRONG,
}
"""Worst first."""
_FOLLOWS: Final = {
    RecordPurpose.SPF: "Receivers refuse mail from there, or file it as spam",
    RecordPurpose.MX: "Bounces do not come back",
    RecordPurpose.DMARC: "Gmail, Yahoo and Microsoft refuse bulk mail without",
    RecordPurpose.MTA_STS: "Senders take no notice of it",
    RecordPurpose.TLS_RPT: "Senders take no notice of it",
}
_SHOWN: Final = 10
"""Of records that are wrong; status.domains has all."""


def dns_records(view: View, domain: LaneDomain) -> tuple[DnsRecord, ...]:
    """The records of one From domain, as far as slots have looked."""
    return tuple(
        DnsRecord(
            purpose=one.purpose,
            name=one.name,
            type=one.purpose.record_type,
            wanted=one.wanted,
            found=one.found,
            ok=one.ok,
        )
        for one in _verdicts(view, domain)
    )


def put_dns_records(book: Book, view: View) -> None:
    """Nothing before a slot has looked; what one that does not answer said last counts where no other has."""
    found = [one for domain in view.lane.spec.domains for one in _verdicts(view, domain)]
    wrong = sorted((one for one in found if one.ok is False), key=lambda one: list(_REASONS).index(one.purpose))
    silent = [one for one in found if one.is_unanswered]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more, in status.domains" if len(wrong) > _SHOWN else ""
        message = "; ".join(_told(one) for one in wrong[:_SHOWN]) + more
        book.put(ConditionType.DNS_MATCHES, False, _REASONS[wrong[0].purpose], message)
    elif silent:
        message = "; ".join(one.message for one in silent[:_SHOWN])
        fix = "Let the slots reach the root servers on port 53, or name a resolver in spec.resolver"
        book.put(ConditionType.DNS_MATCHES, None, Reason.DNS_UNREACHABLE, f"{message}. {fix}")
    elif found:
        names = ", ".join(dict.fromkeys(one.purpose.value for one in found))
        book.put(ConditionType.DNS_MATCHES, True, Reason.ALL_MATCH, f"DNS says what it must of {names}")


def _told(one: Verdict) -> str:
    fix = f": publish {one.purpose.record_type} {one.name} = {one.wanted}" if one.wanted else ""
    if one.purpose is RecordPurpose.SPF and one.found:
        fix = f", as it does if {one.name} has one TXT record, {one.wanted}" if one.wanted else ""
    return f"{one.message}{fix}. {_FOLLOWS[one.purpose]}"


def _verdicts(view: View, domain: LaneDomain) -> tuple[Verdict, ...]:
    heard = [seen for seen in view.heard() if seen.domains_records.get(domain.name)]
    answering = [seen for seen in heard if seen.reachable]
    said = {seen.name: seen.domains_records[domain.name] for seen in answering or heard}
    return verdicts(_needs(view, domain), said)


def _needs(view: View, domain: LaneDomain) -> Needs:
    path, feedback = domain.return_path, view.lane.spec.feedback
    sources = [ip for claim in view.running if claim.address is not None for ip in claim.address.ips]
    return Needs(
        domain=domain.name,
        back=path.domain if path is not None and path.mode == "Rewrite" else "",
        host=(feedback.service.hostname or "") if feedback is not None else "",
        sources=tuple(dict.fromkeys(sources)),
    )
