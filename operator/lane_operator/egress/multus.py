"""Multus: a second interface with the slot's address, by a NetworkAttachmentDefinition of its own.

It copies the pool's template, with static IPAM, and chains `sbr`, so that only what binds the address leaves by it and
the pod's other traffic keeps the cluster's network. A pod gets its network when it is made, so another network has
another name: the pod's template changes with it, slots restart one after the other, and no pod that is made anew
meanwhile gets what its configuration does not know.
"""

import hashlib
import json
import re
from typing import Any

from lane_api.conditions import Reason
from lane_api.names import ALLOWED_ANNOTATION, SECOND_ANNOTATION
from lane_operator.egress.claims import (
    BY_BINDING,
    ONE_FAMILY,
    EngineClaim,
    Limits,
    SlotClaim,
    addressless,
    bound_second,
    no_right,
)
from lane_operator.inputs import Manifest, Refusal

__all__ = ["LIMITS", "NETWORK_KIND", "claim", "is_own_network", "network_named"]

LIMITS = Limits(
    source_check=BY_BINDING,
    leaks_at_start=False,
    texts=(
        "each node that a slot may run on needs the template's master interface and the CNI plugins static and sbr",
        "NetworkPolicy does not reach the second interface",
        ONE_FAMILY,
    ),
)

NETWORK_KIND = "NetworkAttachmentDefinition.k8s.cni.cncf.io"
_NETWORKS = "k8s.v1.cni.cncf.io/networks"
_CNI_VERSION = "0.3.1"  # the lowest that has plugin lists and `sbr`


def claim(slot: SlotClaim) -> EngineClaim | Refusal:
    """The slot's own network, and the pod's request for it."""
    if slot.address is None:
        return addressless(slot)
    if NETWORK_KIND in slot.withheld:
        return no_right(NETWORK_KIND, "add Multus to rights.engines")
    if NETWORK_KIND not in slot.kinds:
        return Refusal(
            Reason.ENGINE_MISSING,
            "the cluster has no NetworkAttachmentDefinition: install Multus, or choose another engine for the pool",
            waiting=Reason.WAITING_FOR_ENGINE,
        )
    if slot.network is None:
        return Refusal(
            Reason.ENGINE_MISSING,
            f"NetworkAttachmentDefinition {slot.config.network} does not exist, or is out of the "
            "operator's reach (watchNamespaces in the chart's values): create it, or correct engineConfig.network of "
            "the pool",
            waiting=Reason.WAITING_FOR_ENGINE,
        )
    if not _is_open(slot.network, slot.pool_namespace):
        return Refusal(
            Reason.FORBIDDEN,
            f"NetworkAttachmentDefinition {slot.config.network} is not for pools of namespace {slot.pool_namespace}: "
            f"annotate it with {ALLOWED_ANNOTATION}={slot.pool_namespace}, or make one in the pool's own namespace",
            waiting=Reason.FORBIDDEN,
        )
    plugins = _plugins(slot.network)
    if not plugins:
        return Refusal(
            Reason.ENGINE_LIMIT,
            f"NetworkAttachmentDefinition {slot.config.network} has no CNI configuration in spec.config to copy: "
            "write one there, such as a macvlan on the node's public interface",
            waiting=Reason.ENGINE_LIMIT,
        )
    source = slot.address.source or slot.address.ip
    second, network = bound_second(slot.address), slot.config.second
    if second is not None and network is None:
        return Refusal(
            Reason.ENGINE_LIMIT,
            f"engineConfig.second does not say the network of {second}: give it prefixLength and gateway",
            waiting=Reason.ENGINE_LIMIT,
        )
    addresses = [_static(source, slot.config.prefix_length, slot.config.gateway)]
    if second is not None and network is not None:
        addresses.append(_static(second, network.prefix_length, network.gateway))
    config = _config(slot, plugins, addresses)
    name = _name(slot, config)
    annotations = {_NETWORKS: name}
    if second is not None and network is not None:
        annotations[SECOND_ANNOTATION] = second  # as in earlier releases, or their pods would restart
    return EngineClaim(
        source=source,
        second_source=second,
        manifests=(_network(name, config),),
        annotations=annotations,
    )


def _network(name: str, config: str) -> Manifest:
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name},
        "spec": {"config": config},
    }


def network_named(pod: Manifest) -> str:
    """The network that a pod, or a template of pods, asks for; empty: none."""
    return str((pod.get("metadata", {}).get("annotations") or {}).get(_NETWORKS, ""))


def is_own_network(slot: str, name: str) -> bool:
    """Whether a network is called as those are that are made for the slot; a copy beside them is somebody's own."""
    return re.fullmatch(rf"{re.escape(slot)}(-[0-9a-f]{{8}})?", name) is not None


def _name(slot: SlotClaim, config: str) -> str:
    """By its content; that of an earlier release has the slot's name, and keeps it for as long as it is the same."""
    if slot.network_named == slot.slot:
        live = slot.networks.get(slot.slot)
        if live is None or _tree(live) == json.loads(config):
            return slot.slot
    return f"{slot.slot}-{hashlib.sha256(config.encode()).hexdigest()[:8]}"


def _tree(network: Manifest) -> Any:
    """The CNI configuration in it; None where there is none to be read."""
    try:
        return json.loads((network.get("spec") or {}).get("config") or "")
    except (ValueError, RecursionError):
        return None


def _is_open(network: Manifest, namespace: str) -> bool:
    """Whoever may make pools in one namespace would else reach, by the operator's rights, every network there is."""
    metadata = network.get("metadata") or {}
    allowed = str((metadata.get("annotations") or {}).get(ALLOWED_ANNOTATION, ""))
    return metadata.get("namespace") == namespace or not {namespace, "*"}.isdisjoint(
        name.strip() for name in allowed.split(",")
    )


def _plugins(network: Manifest) -> list[dict[str, Any]]:
    """The plugins of the template, a list or a single one; empty where there are none to be read."""
    config = _tree(network)
    if not isinstance(config, dict):
        return []
    plugins = config.get(
        "plugins", [{key: value for key, value in config.items() if key not in {"cniVersion", "name"}}]
    )
    if not isinstance(plugins, list):
        return []
    return [plugin for plugin in plugins if isinstance(plugin, dict) and plugin.get("type")]


def _static(source: str, prefix_length: int | None, gateway: str | None) -> dict[str, str]:
    address = {"address": f"{source}/{prefix_length}"}
    return {**address, "gateway": gateway} if gateway else address


def _config(slot: SlotClaim, plugins: list[dict[str, Any]], addresses: list[dict[str, str]]) -> str:
    first = {**plugins[0], "ipam": {"type": "static", "addresses": addresses}}
    rest = [plugin for plugin in plugins[1:] if plugin["type"] != "sbr"]
    config = {"cniVersion": _CNI_VERSION, "name": slot.slot, "plugins": [first, *rest, {"type": "sbr"}]}
    return json.dumps(config, sort_keys=True)
