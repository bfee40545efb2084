"""What is applied stays as it was applied: no tool finds a difference, and what others own on our objects is theirs.

Every manifest of the README and of `docs/quickstart` is applied as kubectl and Argo CD do (client-side) and as Flux
does (server-side), read back once the operator has written all that it writes on it, and compared by Argo CD's own
engine, by `kubectl diff` and by server-side dry runs. A manifest that does differ is noticed in each of these ways.
"""

import copy
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import figures
from e2e.cluster import Cluster
from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, Stock, installed, lane, pool
from e2e.internet.internet import Internet
from tests.gitops.judge import argo_scripts, differences, verdicts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[1]
NETWORKS = "network-attachment-definitions.k8s.cni.cncf.io"  # its CRD has no name that is the kind's
OURS = ("SendingLane", "IPPool", "ISPPolicy")
ARGO = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller")
FLUX = ("--server-side", "--force-conflicts", "--field-manager=kustomize-controller")


def documented(namespace: str) -> list[Manifest]:
    """The manifests that users are shown, in a namespace of the test's own."""
    texts = [path.read_text() for path in sorted((ROOT / "docs" / "quickstart").glob("*.yaml"))]
    shown = re.findall(r"```yaml\n(apiVersion: .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown
    readme = [dict(one) for text in shown for one in yaml.safe_load_all(text)]
    for one in readme:
        one["metadata"]["name"] = f"readme-{one['metadata']['name']}"
    found = [*(one for text in texts for one in yaml.safe_load_all(text)), *readme]
    return [_moved(one, namespace) for one in found if one["kind"] != "Namespace"]


def _moved(manifest: Manifest, namespace: str) -> Manifest:
    """The manifest in another namespace, whatever else names its own."""
    text = yaml.safe_dump(manifest).replace("mail/public", f"{namespace}/public")
    moved: Manifest = yaml.safe_load(text)
    moved["metadata"]["namespace"] = namespace
    return moved


def applied(here: Installation, manifests: list[Manifest], *arguments: str) -> None:
    """Applies them, and waits until the operator has written its words and its finalizers."""
    here.cluster.kubectl("apply", *arguments, "-f", "-", stdin=yaml.safe_dump_all(manifests))
    for one in _of_ours(manifests):
        eventually(lambda it=one: _is_seen(_live(here, it)), f"{one['kind']} {one['metadata']['name']} is seen")  # type: ignore[misc]  # a default binds the loop's value


def _of_ours(manifests: list[Manifest]) -> Iterator[Manifest]:
    return (one for one in manifests if one["kind"] in OURS)


def _live(here: Installation, manifest: Manifest, *arguments: str) -> Manifest:
    kind = NETWORKS if manifest["kind"] == "NetworkAttachmentDefinition" else manifest["kind"].lower()
    found: Manifest = here.cluster.get(kind, manifest["metadata"]["name"], "-n", here.namespace, *arguments)
    return found


def _is_seen(live: Manifest) -> bool:
    seen = live["status"]["observedGeneration"] == live["metadata"]["generation"]
    return bool(seen and (live["kind"] != "SendingLane" or live["metadata"].get("finalizers")))


def found_different(here: Installation, manifests: list[Manifest]) -> list[str]:
    """The ways and objects in which a tool finds that the cluster has something else than what was applied."""
    pairs = [(one, _live(here, one)) for one in manifests]
    said = differences(pairs)
    by_argo = [f"Argo CD: {_name(one)}" for (one, _), it in zip(pairs, said, strict=True) if it["modified"]]
    by_kubectl = []
    for way in ((), ARGO, FLUX):
        text = here.cluster.kubectl("diff", *way, "-f", "-", stdin=yaml.safe_dump_all(manifests), check=False)
        by_kubectl += [f"kubectl diff {' '.join(way)}: {one}" for one in text.split("diff -u")[1:]]
    return by_argo + by_kubectl


def _name(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


@pytest.mark.long("tests/lane_operator/test_compare.py", "tests/gitops/test_agreement.py")
def test_no_tool_finds_a_difference_in_what_it_has_applied(cluster: Cluster, internet: Internet, stock: Stock) -> None:
    compared, different, noticed = 0, [], 0
    for arguments in ((), FLUX):
        with installed(cluster, internet, stock.take()) as here:
            manifests = documented(here.namespace)
            applied(here, manifests, *arguments)
            of_pool = next(one for one in manifests if one["kind"] == "IPPool")
            for _ in range(2):  # as soon as each is seen, and once addresses are held and slots made
                different += found_different(here, manifests)
                compared += 4 * len(manifests)
                eventually(lambda: "finalizers" in _live(here, of_pool)["metadata"], "the pool's addresses are held")  # noqa: B023  # called here
            noticed += len(found_different(here, [_altered(of_pool)]))

    figures.record("gitops", "diff_after_apply", len(different), "differences", 0, "lower", "make e2e")
    figures.record("gitops", "manifests_compared", compared, "comparisons", None, "higher", "make e2e")
    figures.record("gitops", "alterations_noticed", noticed, "of 8", 8, "higher", "make e2e")
    assert different == []
    assert noticed == 8, "by Argo CD, kubectl and two dry runs, for each way to apply"


def _altered(manifest: Manifest) -> Manifest:
    altered = copy.deepcopy(manifest)
    altered["spec"]["cooldown"] = "1h"
    return altered


def test_what_others_own_on_our_objects_lives(installation: Installation) -> None:
    here, space = installation, installation.namespace
    given = lane("owned", space)
    applied(here, [pool("pool", space), given], *FLUX)
    here.wait_ready("owned")

    def kubectl(*arguments: str) -> None:
        here.cluster.kubectl(*arguments, "-n", space)

    kubectl("label", "sendinglane", "owned", "team=growth")
    kubectl("annotate", "sendinglane", "owned", "example.com/note=mine")
    kubectl("annotate", "service", "owned", "example.com/pool=blue")
    kubectl("label", "statefulset", "owned-0", "team=growth")
    kubectl("scale", "sendinglane", "owned", "--replicas=2")
    eventually(lambda: here.get("sendinglane", "owned")["status"]["replicas"] == 2, "the second slot is made")
    given["spec"]["submission"]["smtp"] = {"port": 2525}
    applied(here, [given], *FLUX)
    eventually(lambda: 2525 in _ports(here.get("service", "owned")), "the Service is applied anew")

    live = here.get("sendinglane", "owned")
    assert live["spec"]["replicas"] == 2
    assert (live["metadata"]["labels"]["team"], live["metadata"]["annotations"]["example.com/note"]) == (
        "growth", "mine",
    )  # fmt: skip
    assert here.get("service", "owned")["metadata"]["annotations"]["example.com/pool"] == "blue"
    assert here.get("statefulset", "owned-0")["metadata"]["labels"]["team"] == "growth"
    assert found_different(here, [given]) == []
    assert _owned_by_us(_live(here, given, "--show-managed-fields")) <= {("f:metadata", "f:finalizers"), ("f:status",)}


def _ports(service: Manifest) -> set[int]:
    return {one["port"] for one in service["spec"]["ports"]}


def _owned_by_us(live: Manifest) -> set[tuple[str, ...]]:
    """The fields of the lane that are the operator's: of metadata by name, else by their first part."""
    found: set[tuple[str, ...]] = set()
    for entry in live["metadata"]["managedFields"]:
        if entry["manager"] != "lanewright":
            continue
        fields: dict[str, Any] = entry["fieldsV1"]
        for part, below in fields.items():
            found |= {(part, name) for name in below if name != "."} if part == "f:metadata" else {(part,)}
    assert found
    return found


def test_a_lane_that_serves_is_healthy_by_what_the_chart_renders(installation: Installation) -> None:
    here, space = installation, installation.namespace
    scripts = rendered_scripts(here.cluster)
    assert {key.replace("_", "/"): text for key, text in scripts.items()} == argo_scripts()

    given = [pool("pool", space), lane("healthy", space)]
    applied(here, given)
    here.wait_ready("healthy")

    def look() -> bool:
        said = verdicts([_live(here, one) for one in given])
        assert [(one.kstatus, one.argo, one.flux) for one in said] == [("Current", "Healthy", "Current")] * 2, said
        return True

    eventually(look, "both are as asked for kstatus, Argo CD and Flux")


def rendered_scripts(cluster: Cluster) -> dict[str, str]:
    """Group and kind -> health script, as Argo CD finds them in the ConfigMap that the chart renders."""
    helm = [str(cluster.layout.bin / "helm"), "template", "lanewright", "charts/lanewright"]
    only = ["--show-only", "templates/argocd.yaml", "--set", "argocd.patch=true", "--kube-version", "1.35.0"]
    done = subprocess.run([*helm, *only], cwd=ROOT, capture_output=True, text=True, check=True)
    patch = yaml.safe_load(yaml.safe_load(done.stdout)["data"]["argocd-cm.yaml"])
    prefix = "resource.customizations.health."
    return {key.removeprefix(prefix): text for key, text in patch["data"].items()}
