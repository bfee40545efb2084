"""What is said of the lane's From domains and certificate: the record to publish, and whether DNS answers it; pure."""

from lane_api.conditions import ConditionType, Reason
from lane_api.lane_status import DkimStatus, DomainStatus, Ed25519Status
from lane_api.selector import SelectorFinding
from lane_operator.status.book import Book
from lane_operator.status.view import View

__all__ = ["domain_statuses", "put_certificate", "put_dns"]


def domain_statuses(view: View) -> tuple[DomainStatus, ...]:
    """One entry a From domain, with the record to publish."""
    return tuple(
        DomainStatus(name=domain.name, dkim=_dkim(view, domain.name, domain.dkim.mode))
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
    name = view.lane.spec.submission.tls.secret_name
    shown = [seen.certificate_self_signed for seen in view.heard()]
    is_there = name is not None and view.references.secrets.get(name) is not None
    # a stalled lane's Secrets may be out of sight, and what its slots said last counts
    if name is not None and True not in shown and (is_there or False in shown):
        book.put(ConditionType.CERTIFICATE_READY, True, Reason.ISSUED, f"clients see the certificate of Secret {name}")
        return
    fix = (
        "set submission.tls.secretName to a kubernetes.io/tls Secret"
        if name is None
        else f"Secret {name} is not in use yet"
    )
    message = f"each slot shows a certificate that it made itself, which clients cannot check: {fix}"
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
    return f"publish TXT {name} = {record}; mail from {domain} waits for it"


def _dkim(view: View, domain: str, mode: str) -> DkimStatus:
    key = view.references.dkim.get(domain)
    if mode == "Off" or key is None:
        return DkimStatus(mode=mode)
    return DkimStatus(
        mode=mode,
        selector=key.selector,
        record_name=f"{key.selector}._domainkey.{domain}",
        record=key.public_record,
        published=view.published(domain) is True,
        secret_name=key.secret_name,
        ed25519=Ed25519Status(
            record_name=f"{key.second.selector}._domainkey.{domain}",
            record=key.second.public_record,
            published=view.second_published(domain),
        )
        if key.second is not None
        else None,
    )
