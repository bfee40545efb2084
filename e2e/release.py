"""The chart's one release in a cluster: installed, upgraded, and rolled to what the checkout holds now.

`python -m e2e.release`: builds our images, puts them on the nodes and, where the release is installed, rolls operator
and slots to them with its values kept. Before: `e2e.cluster`. After: `installation` (tests), `demo`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from e2e import figures
from e2e.cluster import Cluster, open_cluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.identity import CHECKOUT
from e2e.cluster.images import OURS
from e2e.cluster.progress import note, step

__all__ = [
    "CHART",
    "OPERATOR_NAMESPACE",
    "RELEASE",
    "has_images",
    "image_values",
    "install_command",
    "uninstall",
    "upgrade",
]

CHART: Final = CHECKOUT / "charts" / "lanewright"
RELEASE: Final = "lanewright"
OPERATOR_NAMESPACE: Final = "lanewright-system"


def image_values(images: Mapping[str, str]) -> dict[str, Any]:
    """The chart's values for images that are on the nodes already."""
    repository, _, tag = images["operator"].rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
        "relay": {"image": images["relay"]},
        "resolver": {"image": images["unbound"]},
    }


def install_command(images: Mapping[str, str], namespace: str = "mail") -> str:
    """What a person types to install the chart with images that are on the nodes already."""
    repository, _, tag = images["operator"].rpartition(":")
    return (
        f"helm upgrade --install {RELEASE} charts/lanewright -n {OPERATOR_NAMESPACE} --create-namespace "
        f"--set 'servedNamespaces={{{namespace}}}' --set image.repository={repository},image.tag={tag},"
        f"relay.image={images['relay']},resolver.image={images['unbound']}"
    )


def upgrade(
    cluster: Cluster,
    values: Mapping[str, Any],
    *,
    reuse: bool = False,
    namespace: str = OPERATOR_NAMESPACE,
    release: str = RELEASE,
) -> None:
    """Installs or upgrades the release and waits for its operator; `reuse`: other values stay. Raises ClusterError."""
    done = _helm(
        cluster, "upgrade", "--install", release, str(CHART), "--create-namespace", "--wait", "--timeout", "3m",
        *(["--reuse-values"] if reuse else []), "-f", "-",
        stdin=json.dumps(values), namespace=namespace,
    )  # fmt: skip
    if done.returncode:
        raise ClusterError("the chart cannot be installed", done.stderr.strip())


def uninstall(cluster: Cluster, release: str, namespace: str) -> None:
    """Takes a release away that was there beside the tests' own, and its namespace."""
    _helm(cluster, "uninstall", release, "--wait", namespace=namespace)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def is_installed(cluster: Cluster) -> bool:
    """Whether the cluster has the release."""
    return _helm(cluster, "status", RELEASE).returncode == 0


def _runs(cluster: Cluster, values: Mapping[str, Any]) -> bool:
    """Whether the release has these images."""
    said = _helm(cluster, "get", "values", RELEASE, "-o", "json")
    return has_images(json.loads(said.stdout or "null") or {} if said.returncode == 0 else {}, values)


def has_images(given: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether a release with the values `given` has the images of `values`; who pulls them restarts nothing."""
    named = [(block, key) for block in values for key in values[block] if key != "pullPolicy"]
    return all((given.get(block) or {}).get(key) == values[block][key] for block, key in named)


def _helm(
    cluster: Cluster, *arguments: str, stdin: str | None = None, namespace: str = OPERATOR_NAMESPACE
) -> subprocess.CompletedProcess[str]:
    command = [str(cluster.layout.bin / "helm"), *arguments, "-n", namespace]
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "KUBECACHEDIR": str(cluster.layout.kubectl_cache),  # else helm leaves its own in the user's home
    }
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, input=stdin, timeout=240
    )


def main() -> None:
    """Builds and loads; rolls the release where there is one."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cluster, _ = open_cluster()
    try:
        if not cluster.running():
            cluster.build(OURS)
            note("no cluster runs: the images are built; `make cluster` brings one up")
            return
        began = time.monotonic()
        images = cluster.load(OURS)
        if not is_installed(cluster):
            note("the images are on the nodes; nothing runs that could be rolled to them. `make demo` installs, or")
            note(f"  {install_command(images)}")
            return
        is_new = not _runs(cluster, image_values(images))
        with step("operator and slots roll to them"):
            upgrade(cluster, image_values(images), reuse=True)
        seconds = round(time.monotonic() - began, 1)
        if not is_new:
            note("operator and slots ran these very images already: nothing restarts")
            return
        note(f"the operator runs the new image after {seconds} s; it rolls the slots one after another")
        figures.record("e2e", "source_change_s", seconds, "s", 15.0, "lower", "make images")
    except ClusterError as error:
        note(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
