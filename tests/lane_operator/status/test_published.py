"""Records that external-dns is to publish: what is said until DNS answers them; and whose certificate clients see."""

from typing import Any

import pytest

from lane_api.names import DNS_ENDPOINT_KIND
from lane_operator.inputs import Lane, Manifest
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, settled, status, verdict

ABSENT = made.observation(made.seen(0, domains_published={"notify.example.com": False}))


def lane() -> Lane:
    return settled(domains=[{"name": "notify.example.com", "dns": {"provider": "ExternalDNS"}}])


def endpoint(seen: int) -> Manifest:
    return {"metadata": {"name": "otp", "generation": 2}, "status": {"observedGeneration": seen}}


@pytest.mark.parametrize(
    ("served", "live", "words"),
    [(False, None, f"the cluster does not serve {DNS_ENDPOINT_KIND}: install external-dns, or publish it yourself"),
     (True, None, "DNSEndpoint otp is being made"),
     (True, endpoint(1), "external-dns has not read DNSEndpoint otp: run it with --source=crd"),
     (True, {"metadata": {"name": "otp", "generation": 1}}, "external-dns has not read DNSEndpoint otp"),
     (True, endpoint(2), "external-dns has read DNSEndpoint otp, and DNS does not answer yet")],
    ids=["no external-dns", "not made yet", "older", "nobody reads it", "read"],
)  # fmt: skip
def test_a_record_that_external_dns_is_to_publish_says_how_far_it_is(
    served: bool, live: Manifest | None, words: str
) -> None:
    kinds = made.KINDS | ({DNS_ENDPOINT_KIND} if served else frozenset())
    given: dict[str, Any] = {"kinds": kinds, "dns_endpoint": live}
    said = message(status(lane(), ABSENT, references=given), "DNSPublished")

    assert words in said
    assert said.startswith(
        f'mail from notify.example.com waits for TXT lw20261123._domainkey.notify.example.com = "{made.RECORD}"'
    )


def test_a_record_that_the_namespace_may_not_have_published_says_who_lets_it() -> None:
    given: dict[str, Any] = {"kinds": made.KINDS | {DNS_ENDPOINT_KIND}, "publishable": ("example.org",)}
    said = message(status(lane(), ABSENT, references=given), "DNSPublished")
    assert "external-dns is not asked for it, since the chart's value dns.domains does not list" in said
    assert "for namespace mail: see ChildrenIncomplete" in said


def test_what_a_person_is_to_publish_is_said_as_before() -> None:
    said = message(status(settled(), ABSENT), "DNSPublished")
    assert said.startswith("publish TXT lw20261123._domainkey.notify.example.com")


def test_a_key_counts_as_published_when_a_slot_has_it_that_sees_it() -> None:
    """Slots whose pods do not have the key that they are to sign with look for the record of the one before."""
    domain = "notify.example.com"
    before, now = ({"domains_selectors": {domain: one}} for one in ("old", "lw20261123"))
    said = status(seen=made.observation(made.seen(0, **before), made.seen(1, **before)))

    assert verdict(said, "DNSPublished") == ("Unknown", "NotPublished")
    assert not said.domains[0].dkim.published
    assert "publish TXT lw20261123._domainkey" in message(said, "DNSPublished")
    assert "with the key of old until they have restarted" in message(said, "DNSPublished")

    said = status(seen=made.observation(made.seen(0, **now), made.seen(1, **before)))
    assert verdict(said, "DNSPublished") == ("True", "AllMatch")
    absent = made.seen(0, **now | {"domains_published": {domain: False}})
    said = status(seen=made.observation(absent, made.seen(1, **before)))
    assert verdict(said, "DNSPublished") == ("False", "NotPublished")


def test_a_certificate_that_was_issued_is_told_by_its_secret() -> None:
    of = settled(submission={"senders": ["@notify.example.com"], "tls": {"issuerRef": {"name": "ca"}}})
    seen = made.observation(*(made.seen(index, certificate_self_signed=False) for index in range(2)))

    assert message(status(of, seen), "CertificateReady") == "clients see the certificate of Secret otp-tls"
