"""Children that a hand deletes or edits are as they were within seconds."""

import time
from collections.abc import Callable

import pytest

from e2e import figures
from e2e.eventually import eventually
from e2e.installation import OPERATOR_USER, Installation, lane, pool

pytestmark = [pytest.mark.cluster, pytest.mark.quiet]

REPAIRED_WITHIN_S = 10.0


def test_what_a_hand_breaks_is_repaired_within_seconds(installation: Installation) -> None:
    here = installation
    here.apply(pool("pool", here.namespace), lane("drift", here.namespace))
    here.wait_ready("drift")
    took: list[float] = []

    def repaired(what: str, look: Callable[[], bool]) -> None:
        since = time.monotonic()
        eventually(look, what, within=REPAIRED_WITHIN_S, every=0.05)
        took.append(time.monotonic() - since)

    def kubectl(*arguments: str) -> None:
        here.cluster.kubectl(*arguments, "-n", here.namespace)

    for kind, name in (
        ("service", "drift"),
        ("service", "drift-slots"),
        ("poddisruptionbudget", "drift-0"),
        ("networkpolicy", "drift"),
        ("configmap", "drift-dashboard"),
        ("secret", "drift-0-config"),
        ("serviceaccount", "drift-relay"),
    ):
        uid = here.get(kind, name)["metadata"]["uid"]
        kubectl("delete", kind, name, "--wait=false")
        repaired(f"{kind} {name} is there again", lambda k=kind, n=name, u=uid: here.get(k, n)["metadata"]["uid"] != u)  # type: ignore[misc]  # defaults bind the loop's values

    kubectl("scale", "statefulset", "drift-0", "--replicas=0")
    repaired("the slot has its replica", lambda: here.get("statefulset", "drift-0")["spec"]["replicas"] == 1)
    kubectl(
        "patch",
        "service",
        "drift",
        "--type=json",
        "-p",
        '[{"op":"replace","path":"/spec/ports/0/targetPort","value":25}]',
    )
    repaired(
        "the port leads to the relay", lambda: here.get("service", "drift")["spec"]["ports"][0]["targetPort"] == "smtp"
    )
    selector = here.get("service", "drift")["spec"]["selector"]
    kubectl("patch", "service", "drift", "--type=merge", "-p", '{"spec":{"selector":{"by":"hand"}}}')
    repaired(
        "the Service has its endpoints again", lambda: here.get("service", "drift")["spec"]["selector"] == selector
    )
    kubectl("label", "service", "drift", "app.kubernetes.io/managed-by=me", "--overwrite")
    repaired(
        "the label is ours",
        lambda: here.get("service", "drift")["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "lanewright",
    )
    before = here.get("secret", "drift-0-config")["data"]["relay.yaml.gz"]
    kubectl("patch", "secret", "drift-0-config", "--type=merge", "-p", '{"data":{"relay.yaml.gz":"eA=="}}')
    repaired(
        "the configuration is ours", lambda: here.get("secret", "drift-0-config")["data"]["relay.yaml.gz"] == before
    )

    figures.record("e2e", "repair_s", max(took), "s", 2.0, "lower", "make e2e")
    figures.record("e2e", "repairs", len(took), "repairs", None, "higher", "make e2e")


def test_what_the_api_server_spells_and_rounds_in_its_own_way_is_no_drift(installation: Installation) -> None:
    here = installation
    asked = {"requests": {"cpu": "10.3m", "memory": "0.64E8"}, "limits": {"cpu": "1E0", "memory": "200000000000m"}}
    here.apply(pool("pool", here.namespace), lane("spelled", here.namespace, pod={"resources": {**asked}}))
    here.wait_ready("spelled")
    pod = here.get("statefulset", "spelled-0")["spec"]["template"]["spec"]
    relay = next(one for one in pod["containers"] if one["name"] == "relay")
    assert relay["resources"]["requests"]["cpu"] == "11m", "it keeps nothing finer than thousandths"
    assert relay["resources"] != asked

    start, uid = here.cluster.audit_offset(), here.get("service", "spelled")["metadata"]["uid"]
    here.cluster.kubectl("delete", "service", "spelled", "-n", here.namespace, "--wait=false")
    eventually(
        lambda: here.get("service", "spelled")["metadata"]["uid"] != uid,
        "the Service is there again",
        within=REPAIRED_WITHIN_S,
    )

    written = here.cluster.writes(offset=start, user=OPERATOR_USER)
    assert [one.name for one in written if one.resource == "services"], "a pass went over the whole lane"
    assert [one for one in written if one.resource == "statefulsets"] == []
