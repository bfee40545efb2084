"""Secrets that a lane needs: what is said while one is missing, and what goes on meanwhile."""

from dataclasses import replace

from lane_api.conditions import Reason
from lane_relay.config import parse
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import child, desired, relay_yaml


def test_no_child_holds_anything_of_a_secret_but_its_name() -> None:
    of = made.lane(domains=[{"name": "notify.example.com", "dkim": {"secretName": "mine", "selector": "s1"}}])
    secrets = [one for one in desired(of).manifests if one["kind"] == "Secret"]

    assert [one["metadata"]["name"] for one in secrets] == ["otp-0-config", "otp-1-config"]
    assert all(set(one["data"]) == {"relay.yaml.gz", "unbound.conf"} for one in secrets)


def test_a_missing_secret_touches_no_workload_but_configuration_still_flows() -> None:
    of = made.lane(submission={"senders": ["@notify.example.com"], "tls": {"secretName": "lane-tls"}}, suspend=True)
    whole = made.references(of, made.pool())
    found = desired(of, secrets={**whole.secrets, "lane-tls": None})

    assert not found.complete
    assert "StatefulSet" not in {one["kind"] for one in found.manifests}
    assert parse(relay_yaml(found)).delivery.state == "Suspended"
    assert [(refusal.reason, refusal.waiting) for refusal in found.refusals] == [
        (Reason.SECRET_NOT_FOUND, Reason.WAITING_FOR_SECRET)
    ]
    assert "Secret lane-tls in namespace mail (submission.tls.secretName)" in found.refusals[0].message


def test_a_missing_reflector_key_names_the_secret_that_a_person_makes_and_not_its_copy() -> None:
    """Who makes the copy by hand stops the operator from making it, and later from renewing it."""
    of, pool = made.lane(), made.pool()
    found = desired(of, secrets={**made.references(of, pool).secrets, "otp-proof": None})

    (refusal,) = found.refusals
    source = f"Secret {pool.spec.verification.secret_name} in namespace {pool.namespace} (IPPool {pool.name}, "
    assert refusal.message.startswith(source)
    assert "create it; its copy otp-proof beside the lane is the operator's to make" in refusal.message


def test_a_lane_that_is_being_deleted_is_rendered_in_full_though_a_secret_is_missing() -> None:
    of = made.lane(deleting_since="2026-11-23T08:00:00Z")
    whole = made.references(of, made.pool())
    found = desired(of, secrets={**whole.secrets, "otp-users": None})

    assert child(found, "StatefulSet", "otp-0")
    assert parse(relay_yaml(found)).intake.state == "Closed"


def test_a_secret_without_its_entry_may_be_corrected_in_the_same_sync() -> None:
    of = made.lane(submission={"senders": ["@notify.example.com"], "tls": {"secretName": "lane-tls"}})
    whole = made.references(of, made.pool())
    facts = whole.secrets["lane-tls"]
    assert facts is not None
    found = desired(of, secrets={**whole.secrets, "lane-tls": replace(facts, keys=frozenset({"tls.crt"}))})

    assert [(one.reason, one.waiting) for one in found.refusals] == [(Reason.SECRET_KEY_MISSING,) * 2]
    assert "has no entry tls.key: add it" in found.refusals[0].message


def test_a_given_key_that_cannot_be_used_is_named_and_its_domain_never_goes_bare() -> None:
    of = made.lane(domains=[{"name": "notify.example.com", "dkim": {"secretName": "mine", "selector": "s1"}}])
    found = desired(of, dkim={})

    assert "Secret mine holds no RSA private key" in found.refusals[0].message
    (domain,) = parse(relay_yaml(found)).domains
    assert (domain.name, domain.mode, domain.selector) == ("notify.example.com", "Sign", "s1")
