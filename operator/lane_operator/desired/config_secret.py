"""The Secret that holds one slot's configuration: relay.yaml, and its resolver's where it has one.

It is mounted as a directory and pushed as well, so that a change is in force within seconds and never rolls a pod.
Its annotations tell digest and serial of relay.yaml, so that the same content keeps its serial. It is in no backup: a
pod that is restored waits until it is made anew, and so knows the claim that it has then.
"""

import base64
import hashlib
from collections.abc import Mapping

import yaml

from lane_api.names import NOT_IN_BACKUPS
from lane_api.relayconfig import RelayConfig
from lane_operator.desired.resolver import RESOLVER_FILE
from lane_operator.inputs import Manifest
from lane_operator.packed import entry_of

__all__ = ["RELAY_FILE", "config_name", "config_secret", "digest", "file_of", "parsed_config"]

RELAY_FILE = "relay.yaml"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def config_name(slot: str) -> str:
    """The Secret's name."""
    return f"{slot}-config"


def config_secret(slot: str, relay: str, resolver: str | None, marks: Mapping[str, str]) -> Manifest:
    """The Secret; `data`, since `stringData` is never read back and every pass would differ; `marks` as `serial`'s."""
    files = {RELAY_FILE: relay} | ({} if resolver is None else {RESOLVER_FILE: resolver})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": config_name(slot), "labels": NOT_IN_BACKUPS, "annotations": dict(marks)},
        "type": "Opaque",
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in files.items()},
    }


def digest(text: str) -> str:
    """Tells one text from another."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parsed_config(secret: Manifest | None) -> RelayConfig | None:
    """The configuration in such a Secret; None where there is none that can be read."""
    try:
        return RelayConfig.model_validate(yaml.load(file_of(secret, RELAY_FILE) or "", Loader=_Loader))  # noqa: S506  # a safe one
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ):  # a hand's work: also a date that is none, or depth without end
        return None


def file_of(secret: Manifest | None, name: str) -> str | None:
    """One file of such a Secret; None where it is not there or no text."""
    if secret is None or name not in (secret.get("data") or {}):
        return None
    try:
        return entry_of(secret, name).decode()
    except ValueError:
        return None
