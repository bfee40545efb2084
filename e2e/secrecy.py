"""Whether anything of a Secret's content stands where people read: logs, events, status, annotations, ConfigMaps.

Invariant: what is looked for is read from the Secrets themselves, as text and as base64, so that a new entry is looked
for without being named here; only entries that are public by nature are left out.
Before: `cluster`. After: `installation`, which looks at the end of every test, and the test that plants a leak.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from e2e.cluster import Cluster

PUBLIC = frozenset(
    {"tls.crt", "ca.crt", "relay.yaml.gz", "unbound.conf", "username"}
    | {"selector", "record", "ed25519.record", "2.selector", "2.record", "2.ed25519.record", "rotation"}
)
"""Certificates, rendered configuration, what stands in DNS: no secret is in them."""
SHORTEST = 8  # what is shorter is found anywhere by accident
_KINDS = (
    "events,sendinglanes,ippools,isppolicies,statefulsets,controllerrevisions,pods,services,configmaps,"
    "persistentvolumeclaims,serviceaccounts,poddisruptionbudgets,networkpolicies,network-attachment-definitions"
)


def shown_secrets(cluster: Cluster, operator: str, *namespaces: str) -> list[str]:
    """Where content of the namespaces' Secrets was found, `SECRET/ENTRY in PLACE`; `operator`: its namespace."""
    wanted = {needle: name for space in namespaces for name, needle in _needles(cluster, space)}
    places = dict(_places(cluster, operator, *namespaces))
    return sorted(
        {f"{name} in {place}" for place, text in places.items() for needle, name in wanted.items() if needle in text}
    )


def _needles(cluster: Cluster, namespace: str) -> Iterator[tuple[str, str]]:
    for secret in cluster.get("secrets", "-n", namespace)["items"]:
        for entry, encoded in (secret.get("data") or {}).items():
            if entry in PUBLIC:
                continue
            name = f"{secret['metadata']['name']}/{entry}"
            yield from ((name, needle) for needle in _spellings(encoded) if len(needle) >= SHORTEST)


def _spellings(encoded: str) -> Iterator[str]:
    """As it is stored, and as it reads; of a key in PEM each line, since logs fold lines."""
    yield encoded
    try:
        text = base64.b64decode(encoded).decode()
    except (binascii.Error, UnicodeDecodeError):
        return
    yield from (line for line in text.splitlines() if not line.startswith("-----"))


def _places(cluster: Cluster, operator: str, *namespaces: str) -> Iterator[tuple[str, str]]:
    for namespace in namespaces:
        yield (
            f"objects of {namespace}",
            cluster.kubectl("get", _KINDS, "-n", namespace, "-o", "yaml", "--show-managed-fields"),
        )
    for namespace in {operator, *namespaces}:
        pods: list[dict[str, Any]] = cluster.get("pods", "-n", namespace)["items"]
        for pod in (one["metadata"]["name"] for one in pods):
            log = cluster.kubectl("logs", pod, "-n", namespace, "--all-containers", "--tail=-1", check=False)
            yield f"log of {pod}", log
