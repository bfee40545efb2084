"""No content of a Secret in any log, event, status, annotation or ConfigMap; every test of lanes ends with that."""

from typing import Any

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, lane, pool
from e2e.release import OPERATOR_NAMESPACE
from e2e.secrecy import shown_secrets

pytestmark = pytest.mark.cluster

PASSWORD = "correct-horse-battery-staple"


def _secret(here: Installation, name: str, **entries: str) -> Manifest:
    metadata = {"name": name, "namespace": here.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": entries}


def test_what_a_lane_is_given_and_what_is_made_for_it_is_shown_nowhere(installation: Installation) -> None:
    here, space = installation, installation.namespace
    given: dict[str, Any] = {
        "routes": [{"domains": ["partner.example"], "host": "smart.example", "tls": "Required", "authSecret": "smart"}],
        "submission": {"senders": ["@quiet.example.com"], "auth": {"secretName": "people"}},
    }
    here.apply(
        _secret(here, "smart", username="us", password=PASSWORD),
        _secret(here, "people", alice=f"{PASSWORD}-of-alice"),
        pool("pool", space),
        lane("quiet", space, **given),
    )
    here.wait_ready("quiet")
    # a key that cannot be used is spoken of, and is not quoted
    here.apply(_secret(here, "bad", **{"private.key": f"{PASSWORD} is no key"}))
    signing: dict[str, Any] = {
        "domains": [{"name": "quiet.example.com", "dkim": {"secretName": "bad", "selector": "s1"}}]
    }
    here.apply(lane("quiet", space, **given, **signing))
    eventually(lambda: "bad" in here.condition("quiet", "Stalled")["message"], "the bad key is spoken of")

    assert shown_secrets(here.cluster, OPERATOR_NAMESPACE, space) == []

    here.cluster.kubectl("annotate", "service", "quiet", "-n", space, f"note=it is {PASSWORD}-of-alice")
    found = shown_secrets(here.cluster, OPERATOR_NAMESPACE, space)
    assert f"people/alice in objects of {space}" in found, "a planted leak is found"
    here.cluster.kubectl("annotate", "service", "quiet", "-n", space, "note-")
