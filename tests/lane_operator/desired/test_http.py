"""HTTP intake in a lane's children: Service, pod and configuration agree, and it is only where it is asked for."""

import pytest

from lane_operator.inputs import Manifest
from lane_relay.config import parse
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import ENGINES, child, desired, pod, relay_yaml


@pytest.mark.parametrize("engine", ENGINES)
def test_http_intake_is_there_where_it_is_asked_for(engine: str) -> None:
    without = desired(engine=engine)
    assert parse(relay_yaml(without)).intake.http is None
    assert "http" not in [port["name"] for port in pod(without)["containers"][0]["ports"]]

    submission = {"senders": ["@notify.example.com"], "http": {"port": 8443, "maxRecipients": 50}}
    found = desired(made.lane(submission=submission), engine=engine)
    (port,) = [one for one in child(found, "Service", "otp")["spec"]["ports"] if one["name"] == "http"]
    (listens,) = [one for one in pod(found)["containers"][0]["ports"] if one["name"] == "http"]
    http = parse(relay_yaml(found)).intake.http
    assert http is not None
    assert (port["port"], port["targetPort"], port["appProtocol"]) == (8443, "http", "https")
    assert (http.port, http.plain, http.max_recipients) == (listens["containerPort"], False, 50)


def test_http_without_tls_is_another_pod_for_a_running_one_cannot_change() -> None:
    def template(tls: str) -> Manifest:
        submission = {"senders": ["@notify.example.com"], "http": {"tls": tls}}
        found = desired(made.lane(submission=submission))
        plain = parse(relay_yaml(found)).intake.http
        assert plain is not None
        assert plain.plain is (tls == "None")
        made_template: Manifest = child(found, "StatefulSet", "otp-0")["spec"]["template"]
        return made_template

    assert template("None") != template("Required")
