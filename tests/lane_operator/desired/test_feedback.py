"""Feedback in a lane's children: Service, pod, Secret and configuration agree, and it is only where it is asked for."""

from typing import Any

import pytest

from lane_api.names import ADMIN_PORT
from lane_api.relayfeedback import Forward, SuppressionScope
from lane_operator.desired import secret_needs
from lane_operator.inputs import SecretFacts, Sharer
from lane_relay.config import parse
from lane_relay.feedback.office import check_feedback
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import ENGINES, child, desired, pod, relay_yaml

FEEDBACK = {
    "service": {"type": "LoadBalancer", "annotations": {"cloud": "yes"}},
    "addresses": ["loops@b.notify.example.com"],
    "postmaster": "ops@example.com",
    "unsubscribe": {"url": "https://u.notify.example.com"},
    "complaints": {"warn": 0.0005, "automation": "Observe"},
    "suppression": {"scope": "Domain", "hardBounces": "720h", "maxEntries": 20000},
}
DOMAINS = [
    {
        "name": "notify.example.com",
        "returnPath": {
            "domain": "b.notify.example.com",
            "forward": "Webhook",
            "webhook": "https://app.example.com/bounces",
        },
    }
]


@pytest.mark.parametrize("engine", ENGINES)
def test_feedback_is_there_where_it_is_asked_for(engine: str) -> None:
    lane = made.lane(feedback=FEEDBACK, domains=DOMAINS)
    found = desired(lane, engine=engine)
    service = child(found, "Service", "otp-feedback")
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == {"cloud": "yes"}
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [
        (25, "feedback"),
        (80, "unsubscribe"),
    ]
    ports = {port["name"]: port["containerPort"] for port in pod(found)["containers"][0]["ports"]}
    config = parse(relay_yaml(found))
    check_feedback(config)
    feedback, suppression = config.feedback, config.suppression
    assert feedback is not None
    assert suppression is not None
    assert feedback.smtp is not None
    assert feedback.http is not None
    assert feedback.unsubscribe is not None
    assert (feedback.smtp.port, feedback.http.port) == (ports["feedback"], ports["unsubscribe"])
    assert (feedback.addresses, feedback.postmaster) == (("loops@b.notify.example.com",), "ops@example.com")
    rates = {"warn": 0.0005, "act": 0.001, "stop": 0.003, "automation": "Observe"}
    assert feedback.complaints.model_dump() == rates
    assert (suppression.scope, suppression.hard_bounces) == (SuppressionScope.DOMAIN, 720 * 3600)
    assert suppression.max_entries == 20_000
    path = config.domains[0].return_path
    assert path is not None
    assert (path.domain, path.mode, path.forward) == ("b.notify.example.com", "Rewrite", Forward.WEBHOOK)
    mounts = {mount["name"]: mount["mountPath"] for mount in pod(found)["containers"][0]["volumeMounts"]}
    assert feedback.key_file == f"{mounts['feedback']}/feedback.key"
    assert suppression.key_file == f"{mounts['feedback']}/suppression.key"
    assert "otp-feedback" in secret_needs(lane, None)


@pytest.mark.parametrize(
    ("asked", "rendered"),
    [
        ({}, {}),
        ({"type": "NodePort"}, {"externalTrafficPolicy": "Local"}),
        ({"type": "LoadBalancer"}, {"externalTrafficPolicy": "Local"}),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"}, {"externalTrafficPolicy": "Cluster"}),
        (
            {"type": "LoadBalancer", "loadBalancerClass": "example.com/inner"},
            {"externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/inner"},
        ),
    ],
)
def test_who_brings_a_report_is_seen_unless_the_lane_says_otherwise(
    asked: dict[str, str], rendered: dict[str, str]
) -> None:
    spec = child(desired(made.lane(feedback={"service": asked}, domains=DOMAINS)), "Service", "otp-feedback")["spec"]
    assert {key: spec[key] for key in ("externalTrafficPolicy", "loadBalancerClass") if key in spec} == rendered


def test_balancers_that_say_who_brings_a_report_are_named_to_the_relay() -> None:
    service = {"type": "LoadBalancer", "proxyProtocol": True}
    of = made.lane(feedback={"service": service, "proxies": ["192.0.2.1/24"]}, domains=DOMAINS)
    feedback = parse(relay_yaml(desired(of))).feedback
    assert feedback is not None
    assert [str(network) for network in feedback.proxies] == ["192.0.2.0/24"]


@pytest.mark.parametrize("engine", ENGINES)
def test_without_it_nothing_of_it_is_made(engine: str) -> None:
    found = desired(engine=engine)
    config = parse(relay_yaml(found))
    assert (config.feedback, config.suppression, config.domains[0].return_path) == (None, None, None)
    assert not {"feedback", "unsubscribe"} & {port["name"] for port in pod(found)["containers"][0]["ports"]}
    assert "otp-feedback" not in [one["metadata"]["name"] for one in found.manifests]
    assert "otp-feedback" not in secret_needs(made.lane(), None)


def test_without_links_there_is_no_port_for_them() -> None:
    found = desired(made.lane(feedback={}, domains=DOMAINS))
    assert [port["name"] for port in child(found, "Service", "otp-feedback")["spec"]["ports"]] == ["feedback"]
    feedback = parse(relay_yaml(found)).feedback
    assert feedback is not None
    assert feedback.http is None


def test_bounces_by_webhook_are_signed_once_their_key_is_there() -> None:
    def key_file(domains: list[dict[str, Any]], *keys: str) -> str | None:
        facts = {"otp-feedback": SecretFacts("otp-feedback", frozenset(keys), "x")}
        found = parse(relay_yaml(desired(made.lane(feedback={}, domains=domains), secrets=facts))).feedback
        assert found is not None
        return found.webhook_key_file

    assert key_file(DOMAINS, "feedback.key", "suppression.key") is None
    assert key_file(DOMAINS, "feedback.key", "webhook.key") == "/etc/lanewright/feedback/webhook.key"
    assert key_file([{"name": "notify.example.com"}], "feedback.key", "webhook.key") is None


def test_a_list_of_the_namespace_names_the_other_lanes_slots_once_the_key_is_there() -> None:
    lane = made.lane(feedback={"suppression": {"scope": "Namespace"}}, domains=DOMAINS)
    secret = "otp-feedback"
    plain = parse(relay_yaml(desired(lane))).suppression
    assert plain is not None
    assert (plain.scope, plain.namespace_key_file) == (SuppressionScope.LANE, None)
    keys = frozenset({"feedback.key", "suppression.key", "namespace.key"})
    facts = {secret: SecretFacts(secret, keys, "x")}
    sharers = (Sharer("news", (("news-0", None), ("news-1", 20000))),)
    found = parse(relay_yaml(desired(lane, secrets=facts, sharers=sharers))).suppression
    assert found is not None
    assert found.scope is SuppressionScope.NAMESPACE
    assert found.namespace_key_file == found.key_file.replace("suppression.key", "namespace.key")
    first, second = found.neighbours
    assert (first.slot, first.host, first.name) == (
        "news-0",
        f"news-0-0.news-slots.{lane.namespace}.svc",
        f"news-0.news-slots.{lane.namespace}.svc",
    )
    assert (first.port, second.port > 20000) == (ADMIN_PORT, True)
    left = made.lane(feedback={"suppression": {"scope": "Lane"}}, domains=DOMAINS)
    kept = parse(relay_yaml(desired(left, secrets=facts))).suppression
    assert kept is not None
    assert (kept.scope, kept.namespace_key_file) == (SuppressionScope.LANE, found.namespace_key_file)


def test_its_port_for_reports_may_be_another() -> None:
    service = child(desired(made.lane(feedback={"service": {"port": 2525}})), "Service", "otp-feedback")

    assert [(one["port"], one["targetPort"]) for one in service["spec"]["ports"]] == [(2525, "feedback")]
