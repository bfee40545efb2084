"""A certificate that an issuer is to make: what is asked of it, and what waits until it is there."""

from typing import Any

import pytest
from pydantic import ValidationError

from lane_api.conditions import Reason
from lane_api.submission import SubmissionTls
from lane_operator.desired import desired_state
from lane_operator.inputs import Desired, Manifest, References
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import child, pod, relay_yaml

KIND = "Certificate.cert-manager.io"
ISSUER = {"name": "letsencrypt", "kind": "ClusterIssuer"}


def desired(tls: dict[str, Any], *, issued: bool = True, served: bool = True, live: Manifest | None = None) -> Desired:
    of = made.lane(submission={"senders": ["@notify.example.com"], "tls": tls})
    references: References = made.references(of, made.pool(), certificate=live)
    kinds = made.KINDS | {KIND} if served else made.KINDS - {KIND}
    secrets = {**references.secrets, **({} if issued else {"otp-tls": None})}
    given = made.references(of, made.pool(), certificate=live, kinds=kinds, secrets=secrets)
    return desired_state(of, given, made.assignment(), made.SETTINGS)


def test_an_issuer_is_asked_for_the_lanes_names_and_the_slots_show_what_it_issues() -> None:
    found = desired({"issuerRef": ISSUER})

    spec = child(found, "Certificate", "otp")["spec"]
    assert spec["secretName"] == "otp-tls"
    assert spec["dnsNames"] == ["otp.mail.svc", "otp.mail.svc.cluster.local", "otp.mail"]
    assert spec["issuerRef"] == {"name": "letsencrypt", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    assert spec["privateKey"]["rotationPolicy"] == "Always"
    tls = next(one for one in pod(found)["volumes"] if one["name"] == "tls")
    assert tls["secret"]["secretName"] == "otp-tls"
    assert "/etc/lanewright/tls/tls.crt" in relay_yaml(found)
    assert not found.refusals


def test_names_that_clients_call_take_the_place_of_the_services_own() -> None:
    found = desired({"issuerRef": {"name": "ca"}, "dnsNames": ["submit.example.com"]})
    assert child(found, "Certificate", "otp")["spec"]["dnsNames"] == ["submit.example.com"]


@pytest.mark.parametrize("tls", [{}, {"secretName": "mine"}])
def test_without_an_issuer_no_certificate_is_asked_for(tls: dict[str, str]) -> None:
    assert "Certificate" not in {one["kind"] for one in desired(tls, served=False).manifests}
    assert KIND not in desired(tls, served=False).left_out


def test_slots_wait_for_what_is_to_be_issued_and_say_what_the_issuer_says() -> None:
    conditions = [{"type": "Ready", "status": "False", "message": "Issuing: order is pending"}]
    found = desired({"issuerRef": ISSUER}, issued=False, live={"status": {"conditions": conditions}})

    (refusal,) = found.refusals
    assert (refusal.reason, refusal.waiting) == (Reason.CERTIFICATE_NOT_ISSUED, Reason.WAITING_FOR_CERTIFICATE)
    assert "Certificate otp says Ready=False Issuing: order is pending" in refusal.message
    assert "StatefulSet" not in {one["kind"] for one in found.manifests}
    assert child(found, "Certificate", "otp")


def test_a_cluster_without_cert_manager_is_said_with_the_fix() -> None:
    found = desired({"issuerRef": ISSUER}, issued=False, served=False)

    assert found.left_out == (KIND,)
    assert "install cert-manager, or set submission.tls.secretName" in found.refusals[0].message
    assert "Certificate" not in {one["kind"] for one in found.manifests}


def test_an_issuers_kind_is_a_kind() -> None:
    with pytest.raises(ValidationError):
        SubmissionTls.model_validate({"issuerRef": {"name": "ca", "kind": "cluster issuer"}})
