"""With `webhook.enabled` an apply tells what the operator would tell afterwards; without an answer it goes on."""

import base64
import json
import subprocess
from collections.abc import Iterator
from itertools import count

import pytest
import yaml
from cryptography import x509

from e2e.cluster.programs import path as program
from e2e.eventually import eventually
from e2e.installation import LIVE_DOMAIN, Installation, Manifest, lane, pool, serve
from e2e.release import OPERATOR_NAMESPACE, RELEASE

pytestmark = pytest.mark.cluster

CONFIGURATION = f"{OPERATOR_NAMESPACE}-{RELEASE}"
SECRET = f"{RELEASE}-webhook"


@pytest.fixture
def here(installation: Installation, images: dict[str, str]) -> Iterator[Installation]:
    """The operator with its webhook, trusted by the API server."""
    serve(installation.cluster, images, webhook={"enabled": True})
    try:
        eventually(lambda: bundle(installation), "the operator has written its authority", within=30)
        yield installation
    finally:
        serve(installation.cluster, images)


def bundle(here: Installation) -> bytes:
    """The authorities that the API server trusts."""
    found = here.cluster.get("validatingwebhookconfiguration", CONFIGURATION)
    return base64.b64decode(found["webhooks"][0]["clientConfig"].get("caBundle", ""))


def told(here: Installation, *objects: Manifest) -> tuple[int, str]:
    """How an apply ends, and what it tells."""
    kubectl = [str(program(here.cluster.layout, "kubectl")), f"--kubeconfig={here.cluster.kubeconfig}"]
    done = subprocess.run(
        [*kubectl, "apply", "--server-side", "-f", "-"],
        input=yaml.safe_dump_all(objects), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def told_by(here: Installation, *command: str) -> str:
    """What kubectl tells of a command that the API server only tries."""
    kubectl = [str(program(here.cluster.layout, "kubectl")), f"--kubeconfig={here.cluster.kubeconfig}"]
    done = subprocess.run(
        [*kubectl, "-n", here.namespace, *command, "--dry-run=server"], capture_output=True, text=True, check=True
    )
    return done.stderr


def scaled(here: Installation, replicas: int) -> None:
    """As many operators."""
    here.cluster.kubectl("scale", f"deployment/{RELEASE}", "-n", OPERATOR_NAMESPACE, f"--replicas={replicas}")
    here.cluster.kubectl("rollout", "status", f"deployment/{RELEASE}", "-n", OPERATOR_NAMESPACE, "--timeout=120s")
    if not replicas:  # a pod that ends answers until it has ended
        pods = ("pods", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/name=lanewright")
        eventually(lambda: not here.cluster.get(*pods)["items"], "no operator is left", within=90)


def policy(here: Installation, pattern: str) -> Manifest:
    """A policy of one rule."""
    rule = {"id": "slow", "pattern": pattern, "category": "rate-limited", "action": "Backoff", "examples": ["421 slow"]}
    return {
        "apiVersion": "lanewright.dev/v1alpha1",
        "kind": "ISPPolicy",
        "metadata": {"name": "mine", "namespace": here.namespace},
        "spec": {"match": {"domains": ["mine.example"]}, "responses": [rule]},
    }


def test_an_apply_tells_what_the_operator_would_and_goes_on_without_it(here: Installation) -> None:
    space = here.namespace

    def warns(*objects: Manifest) -> str:
        code, said = told(here, *objects)
        assert code == 0, said
        return said if "Warning:" in said else ""

    def refuses(*objects: Manifest) -> str:
        code, said = told(here, *objects)
        return said if code and "review.lanewright.dev" in said else ""

    said = eventually(lambda: warns(lane("early", space, "nowhere")), "the API server asks", within=20)
    assert f"IPPool {space}/nowhere does not exist" in said
    assert "correct or remove the rule" in refuses(policy(here, "never matches"))
    here.apply(pool("pool", space))
    names = (f"sound-{number}" for number in count())  # a lane that is there already is not asked about
    eventually(lambda: not warns(lane(next(names), space)), "what is sound passes in silence", within=30)

    here.apply(lane("waits", space, suspend=True))
    here.wait_ready("waits")
    here.send("waits-0-0", "news@waits.example.com", f"user@{LIVE_DOMAIN}", 3)
    eventually(lambda: here.get("lane", "waits")["status"]["queued"] == 3, "the status counts the mail", within=60)
    assert "has about 3 messages queued" in told_by(here, "delete", "lane", "waits")
    assert "waits-0 is to go with about 3 messages queued" in told_by(here, "scale", "lane/waits", "--replicas=0")

    first = here.get("secret", SECRET, OPERATOR_NAMESPACE)["data"]["tls.crt"]
    here.cluster.kubectl("rollout", "restart", f"deployment/{RELEASE}", "-n", OPERATOR_NAMESPACE)
    here.cluster.kubectl("rollout", "status", f"deployment/{RELEASE}", "-n", OPERATOR_NAMESPACE, "--timeout=120s")
    assert here.get("secret", SECRET, OPERATOR_NAMESPACE)["data"]["tls.crt"] == first, "made once"
    eventually(lambda: refuses(policy(here, "is dead")), "another process shows the same certificate", within=30)

    scaled(here, 0)
    try:
        assert warns(policy(here, "nobody is asked")) == ""
    finally:
        scaled(here, 1)
    here.cluster.kubectl("delete", "secret", SECRET, "-n", OPERATOR_NAMESPACE)
    before = bundle(here)
    here.cluster.kubectl("rollout", "restart", f"deployment/{RELEASE}", "-n", OPERATOR_NAMESPACE)
    eventually(lambda: bundle(here) != before, "another authority is made, and trusted", within=90)
    assert len(x509.load_pem_x509_certificates(bundle(here))) == 1
    eventually(lambda: refuses(policy(here, "is dead still")), "and the API server asks again", within=60)
    assert "tls.key" not in json.dumps(here.cluster.get("validatingwebhookconfiguration", CONFIGURATION))
