"""The Services of a lane: submission, over its ready slots, and the slots' own names."""

from collections.abc import Iterable

from lane_api.feedback import FeedbackService
from lane_api.names import ADMIN_PORT, LANE_LABEL
from lane_api.submission import IpFamilyPolicy, Service
from lane_operator.inputs import Claim, Lane, Manifest

__all__ = ["family_policy", "slots_service", "slots_service_name", "submission_service"]


def slots_service_name(lane: Lane) -> str:
    """The headless Service, under which each slot has a name."""
    return f"{lane.name}-slots"


def submission_service(lane: Lane, claims: Iterable[Claim] = ()) -> Manifest:
    """Submission; ports are targeted by name, since HostNetwork slots each have their own."""
    asked, smtp = lane.spec.submission.service, lane.spec.submission.smtp
    http = lane.spec.submission.http
    spec: Manifest = {
        "type": asked.type,
        "ipFamilyPolicy": family_policy(asked, claims),
        "selector": {LANE_LABEL: lane.name},
        "ports": [_port("smtp", smtp.port), _port("smtps", smtp.implicit_tls_port)],
    }
    if http is not None:
        spec["ports"].append({**_port("http", http.port), "appProtocol": "https" if http.tls == "Required" else "http"})
    if asked.type != "ClusterIP":
        spec["externalTrafficPolicy"] = asked.external_traffic_policy
    if asked.load_balancer_class:
        spec["loadBalancerClass"] = asked.load_balancer_class
    metadata: Manifest = {"name": lane.name}
    if asked.annotations:
        metadata["annotations"] = dict(sorted(asked.annotations.items()))
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def slots_service(lane: Lane, claims: Iterable[Claim] = ()) -> Manifest:
    """Names for slots that are ready or not: the operator asks those that are not why."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": slots_service_name(lane)},
        "spec": {
            "clusterIP": "None",
            "ipFamilyPolicy": _of_slots(claims),
            "publishNotReadyAddresses": True,
            "selector": {LANE_LABEL: lane.name},
            "ports": [_port("admin", ADMIN_PORT)],
        },
    }


def family_policy(asked: Service | FeedbackService, claims: Iterable[Claim]) -> IpFamilyPolicy:
    """Of which families a Service for clients has addresses."""
    if asked.ip_family_policy is not None:
        return asked.ip_family_policy
    return "SingleStack" if asked.type == "LoadBalancer" else _of_slots(claims)


def _of_slots(claims: Iterable[Claim]) -> IpFamilyPolicy:
    """Both where there are both; a slot in its node's network listens on that one's internal address alone, and a
    Service of the other family would lead to a port that nobody has."""
    return "SingleStack" if any(claim.port_block is not None for claim in claims) else "PreferDualStack"


def _port(name: str, number: int) -> Manifest:
    return {"name": name, "port": number, "protocol": "TCP", "targetPort": name}
