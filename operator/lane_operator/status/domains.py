"""What is said of the lane's From domains and certificate: the record to publish, and whether DNS answers it; pure."""

from lane_api.conditions import ConditionType, Reason
from lane_api.lane_status import DomainStatus
from lane_api.names import DNS_ENDPOINT_KIND
from lane_api.selector import SelectorFinding
from lane_operator.organizations import is_below
from lane_operator.status.book import Book
from lane_operator.status.dns_records import dns_records
from lane_operator.status.keys import dkim_status
from lane_operator.status.view import View

__all__ = ["domain_statuses", "put_certificate", "put_dns"]


def domain_statuses(view: View) -> tuple[DomainStatus, ...]:
    """One entry a From domain, with the record to publish."""
    return tuple(
        DomainStatus(
            name=domain.name,
            dkim=dkim_status(view, domain.name, domain.dkim.mode),
            records=dns_records(view, domain),
        )
        for domain in view.lane.spec.domains
    )


def put_dns(book: Book, view: View) -> None:
    """The verdict on DNSPublished; the message is the record to publish."""
    signing = [domain.name for domain in view.lane.spec.domains if domain.dkim.mode == "Sign"]
    if not signing:
        book.put(
            ConditionType.DNS_PUBLISHED, True, Reason.NOT_SIGNED, "no domain of the lane signs, so none is asked for"
        )
        return
    found = {name: view.published(name) for name in signing}
    absent = [name for name, published in found.items() if not published]
    if not absent:
        book.put(ConditionType.DNS_PUBLISHED, True, Reason.ALL_MATCH, f"DNS answers the keys of {', '.join(signing)}")
        return
    message = "; ".join(_to_publish(view, name) for name in absent)
    seen = [name for name in absent if found[name] is False]
    silent = bool(seen) and all(view.dns_of(name)[0] == SelectorFinding.UNANSWERED for name in seen)
    reason = Reason.DNS_UNREACHABLE if silent else Reason.NOT_PUBLISHED
    book.put(ConditionType.DNS_PUBLISHED, False if seen and not silent else None, reason, message)


def put_certificate(book: Book, view: View) -> None:
    """The verdict on CertificateReady."""
    name = view.lane.tls_secret
    shown = [seen.certificate_self_signed for seen in view.heard()]
    is_there = name is not None and view.references.secrets.get(name) is not None
    # a stalled lane's Secrets may be out of sight, and what its slots said last counts
    if name is not None and True not in shown and (is_there or False in shown):
        book.put(ConditionType.CERTIFICATE_READY, True, Reason.ISSUED, f"clients see the certificate of Secret {name}")
        return
    fix = (
        "set submission.tls.secretName to a kubernetes.io/tls Secret, or submission.tls.issuerRef"
        if name is None
        else f"Secret {name} is not in use yet"
    )
    what = (
        "each slot shows a certificate that it made itself"
        if True in shown
        else "no slot has said yet which certificate it shows; without one that is given, each makes one itself"
    )
    message = f"{what}, which clients cannot check: {fix}"
    book.put(ConditionType.CERTIFICATE_READY, False, Reason.SELF_SIGNED, message)


def _to_publish(view: View, domain: str) -> str:
    key = view.references.dkim.get(domain)
    if key is None:
        return f"{domain} has no key yet; its mail waits"
    name, record = f"{key.selector}._domainkey.{domain}", f'"{key.public_record}"'
    finding, words = view.dns_of(domain)
    if finding == SelectorFinding.UNANSWERED:
        return (
            f"mail from {domain} waits, since nobody can see whether its key is published: for TXT {name} {words}. Let "
            "the slots reach the root servers on port 53, or name a resolver in spec.resolver.forwardTo; the record is "
            f"{record}"
        )
    if finding == SelectorFinding.OTHER:
        return f"mail from {domain} waits: at {name} {words}; let that name have one TXT record, {record}"
    if view.published(domain) is None and (before := view.signing_before(domain)):
        return (
            f"publish TXT {name} = {record}: slots sign mail from {domain} with the key of {', '.join(before)} until "
            "they have restarted with this one; leave that record as well"
        )
    if view.published(domain) is None:  # at the start, or when the last slot goes: it may well be there
        return f"no slot has looked for TXT {name} = {record} yet; publish it where it is not: mail from {domain} waits"
    asked = next((one for one in view.lane.spec.domains if one.name == domain), None)
    if asked is not None and asked.dns.provider == "ExternalDNS":
        return f"mail from {domain} waits for TXT {name} = {record}: {_publishing(view, name)}"
    return f"publish TXT {name} = {record}; mail from {domain} waits for it"


def _publishing(view: View, record: str) -> str:
    """How far external-dns has come; that it has read a DNSEndpoint is all that it says of it."""
    name, live = view.lane.name, view.references.dns_endpoint
    if DNS_ENDPOINT_KIND not in view.references.kinds:
        return f"the cluster does not serve {DNS_ENDPOINT_KIND}: install external-dns, or publish it yourself"
    if not is_below(record, view.references.publishable):
        return (
            "external-dns is not asked for it, since the chart's value dns.domains does not list a domain above it for "
            f"namespace {view.lane.namespace}: see ChildrenIncomplete"
        )
    if live is None:
        return f"DNSEndpoint {name} is being made"
    if (live.get("status") or {}).get("observedGeneration") != live["metadata"].get("generation"):
        return (
            f"external-dns has not read DNSEndpoint {name}: run it with --source=crd, --managed-record-types=TXT and "
            "--managed-record-types=MX"
        )
    return (
        f"external-dns has read DNSEndpoint {name}, and DNS does not answer yet: if that stays, see its log, its "
        "--domain-filter and --managed-record-types"
    )
