"""The workload of one slot: a StatefulSet of one pod, with the relay and its resolver.

Only what a running process cannot change stands in the template (image, volumes, resources, network): a change of
configuration never rolls a pod.
"""

from dataclasses import replace

from lane_api.effective import effective, figures
from lane_api.names import (
    CONFIG_FILE,
    IMAGES_ANNOTATION,
    LANE_LABEL,
    PLAIN_HTTP_ANNOTATION,
    ROLE_LABEL,
    SLOT_LABEL,
    STANDBY_FROM,
    STOP_GRACE_S,
)
from lane_operator.desired.carried import RESOLVER_DIGEST
from lane_operator.desired.config_secret import digest
from lane_operator.desired.feedback import unused_ports
from lane_operator.desired.places import affinity
from lane_operator.desired.service_account import account_name
from lane_operator.desired.services import slots_service_name
from lane_operator.desired.stamp import labels
from lane_operator.desired.volume_claim import claim_annotations
from lane_operator.desired.volumes import CONFIG_VOLUME, Mounted, mounted
from lane_operator.egress import EngineClaim
from lane_operator.inputs import Claim, DesiredSettings, Lane, Manifest, References

__all__ = ["statefulset"]

UID = 10001  # of the images' user
RESOLVER_DIR = "/etc/lanewright/resolver"
RECOVERY_S = 600
"""A spool of a million messages is read back before the relay answers."""
RESOLVER_CPU, RESOLVER_MEMORY = "50m", "96Mi"


def statefulset(
    lane: Lane,
    references: References,
    claim: Claim,
    engine: EngineClaim,
    settings: DesiredSettings,
    resolver: str | None,
) -> Manifest:
    """The StatefulSet; `resolver` is the sidecar's configuration, None where there is no sidecar."""
    selector = {LANE_LABEL: lane.name, SLOT_LABEL: claim.slot_name}
    images = settings.images.get(claim.slot_name, settings.newest)
    settings = replace(settings, relay_image=images.relay, resolver_image=images.resolver)
    came_by = settings.image_records.get(claim.slot_name, "")
    record = {IMAGES_ANNOTATION: came_by} if came_by else {}
    annotations = dict(engine.annotations)
    if resolver is not None:
        annotations[RESOLVER_DIGEST] = digest(resolver)
    http = lane.spec.submission.http
    if http is not None and http.tls == "None":
        annotations[PLAIN_HTTP_ANNOTATION] = "true"
    role = "active" if claim.slot_index < STANDBY_FROM else "standby"
    own = {"app.kubernetes.io/name": "lane-relay", ROLE_LABEL: role}
    metadata: Manifest = {"labels": {**own, **labels(lane, claim.slot_name)}}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": claim.slot_name, "annotations": claim_annotations(claim) | record},
        "spec": {
            "replicas": 1,
            # else a pod that never became ready is waited for, and a corrected template never reaches it
            "podManagementPolicy": "Parallel",
            "serviceName": slots_service_name(lane),
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": metadata,
                "spec": {
                    **_pod(
                        lane,
                        mounted(lane, claim.slot_name, references, engine.proxy, engine.second_proxy),
                        engine,
                        settings,
                        resolver is not None,
                    ),
                    "affinity": affinity(lane, role, claim.address, engine),
                },
            },
        },
    }


def _pod(
    lane: Lane, mounts: tuple[Mounted, ...], engine: EngineClaim, settings: DesiredSettings, has_resolver: bool
) -> Manifest:
    asked = lane.spec.pod
    optional = {
        "nodeSelector": asked.node_selector,
        "tolerations": list(asked.tolerations),
        "topologySpreadConstraints": list(asked.topology_spread_constraints),
        "priorityClassName": asked.priority_class_name,
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
        # a native sidecar: up before the relay and down after it, so that draining still resolves names
        "initContainers": [_resolver(lane, settings)] if has_resolver else [],
    }
    return {
        "serviceAccountName": account_name(lane),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": STOP_GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_relay(lane, mounts, engine, settings)],
        "volumes": [one.volume for one in mounts],
        **engine.pod,
        **{name: value for name, value in optional.items() if value},
    }


def _relay(lane: Lane, mounts: tuple[Mounted, ...], engine: EngineClaim, settings: DesiredSettings) -> Manifest:
    return {
        "name": "relay",
        "image": settings.relay_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["lane-relay", "--config", CONFIG_FILE],
        "ports": [
            {"name": name, "containerPort": number, "protocol": "TCP"}
            for name, number in engine.ports.items()
            if name not in unused_ports(lane)
        ],
        "resources": dict(effective(lane.spec).resources),
        "securityContext": _locked_down(),
        "volumeMounts": [one.mount for one in mounts],
        "startupProbe": {**_probe("/livez"), "periodSeconds": 2, "failureThreshold": RECOVERY_S // 2},
        "livenessProbe": {**_probe("/livez"), "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 2, "failureThreshold": 2},
    }


def _resolver(lane: Lane, settings: DesiredSettings) -> Manifest:
    values = effective(lane.spec)
    return {
        "name": "resolver",
        "restartPolicy": "Always",
        "image": settings.resolver_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["/usr/sbin/unbound", "-d", "-p", "-c", f"{RESOLVER_DIR}/unbound.conf"],
        "resources": {} if values.best_effort else figures(RESOLVER_CPU, RESOLVER_MEMORY, guaranteed=values.guaranteed),
        "securityContext": _locked_down(),
        "volumeMounts": [{"name": CONFIG_VOLUME, "mountPath": RESOLVER_DIR, "readOnly": True}],
    }


def _probe(path: str) -> Manifest:
    return {"httpGet": {"path": path, "port": "metrics", "scheme": "HTTP"}, "timeoutSeconds": 5}


def _locked_down() -> Manifest:
    """What the restricted Pod Security level asks of a container, and a root file system that nobody writes."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
