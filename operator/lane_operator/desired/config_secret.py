"""The Secret that holds one slot's configuration: relay.yaml, compressed, and its resolver's where it has one.

It is mounted as a directory and pushed as well, so that a change is in force within seconds and never rolls a pod.
Its annotations tell digest and serial of relay.yaml, so that the same content keeps its serial. It is in no backup: a
pod that is restored waits until it is made anew, and so knows the claim that it has then.
"""

import base64
import hashlib
from collections.abc import Mapping

import yaml

from lane_api.names import NOT_IN_BACKUPS
from lane_api.packing import packed, unpacked
from lane_api.relayconfig import RelayConfig
from lane_operator.inputs import Manifest
from lane_operator.packed import entry_of

__all__ = ["RELAY_FILE", "config_name", "config_secret", "digest", "file_of", "parsed_config"]

RELAY_FILE = "relay.yaml.gz"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def config_name(slot: str) -> str:
    """The Secret's name."""
    return f"{slot}-config"


def config_secret(slot: str, relay: str, beside: Mapping[str, str], marks: Mapping[str, str]) -> Manifest:
    """The Secret with relay.yaml and the files `beside` it; `marks` as `serial`'s.

    `data`, since `stringData` is never read back and every pass would differ.
    """
    files = {RELAY_FILE: packed(relay)} | {name: text.encode() for name, text in beside.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": config_name(slot), "labels": NOT_IN_BACKUPS, "annotations": dict(marks)},
        "type": "Opaque",
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
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
    """The text of one file of such a Secret; None where it is not there or no text."""
    if secret is None or name not in (secret.get("data") or {}):
        return None
    try:
        content = entry_of(secret, name)
        return unpacked(content) if name.endswith(".gz") else content.decode()
    except ValueError:  # a hand's work
        return None
