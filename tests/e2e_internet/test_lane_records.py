"""What is to be published for a lane is read from its status."""

from __future__ import annotations

from e2e.internet.lane_records import unnamed, unpublished

RSA = {"recordName": "rsa._domainkey.a.example.", "record": "v=DKIM1; k=rsa; p=A"}
ED25519 = {"recordName": "ed._domainkey.a.example", "record": "v=DKIM1; k=ed25519; p=B"}


def test_both_keys_of_a_domain_are_published_while_dns_does_not_have_them() -> None:
    status = {"domains": [{"name": "a.example", "dkim": {**RSA, "ed25519": ED25519}}]}
    assert list(unpublished(status)) == [
        ("rsa._domainkey.a.example", RSA["record"]),
        ("ed._domainkey.a.example", ED25519["record"]),
    ]


def test_the_keys_that_sign_next_are_published_too() -> None:
    present = {**RSA, "published": True}
    following = {**RSA, "recordName": "next._domainkey.a.example", "ed25519": ED25519}
    status = {"domains": [{"name": "a.example", "dkim": {**present, "next": following}}]}
    assert [name for name, _ in unpublished(status)] == ["next._domainkey.a.example", "ed._domainkey.a.example"]


def test_what_dns_has_and_what_has_no_record_is_left_alone() -> None:
    seen = {"name": "a.example", "dkim": {**RSA, "published": True, "ed25519": {**ED25519, "published": True}}}
    off = {"name": "b.example", "dkim": {"mode": "Off"}}
    assert list(unpublished({"domains": [seen, off, {"name": "c.example"}]})) == []
    assert list(unpublished({})) == []


def test_a_slot_whose_address_does_not_lead_back_is_named() -> None:
    slots = [
        {"name": "otp-0", "ip": "203.0.113.10", "hostname": "out1.brand.test"},
        {"name": "otp-1", "ip": "shared", "hostname": ""},
        {"name": "otp-2", "hostname": "out2.brand.test"},
    ]
    wanted = {"type": "PTRMatches", "status": "False"}

    assert list(unnamed({"slots": slots, "conditions": [wanted]})) == [("out1.brand.test", "203.0.113.10")]
    assert list(unnamed({"slots": slots, "conditions": [wanted | {"status": "True"}]})) == []
