"""What a lane's feedback asks for: the relay's part of it, its Service, and which of the pod's ports stay unused."""

from collections.abc import Iterable
from ipaddress import ip_network

from lane_api import names
from lane_api.domains import LaneDomain
from lane_api.names import LANE_LABEL
from lane_api.relayconfig import Endpoint
from lane_api.relayfeedback import ComplaintRates, Feedback, NeighbourSlot, ReturnPath, Suppression, Unsubscribe
from lane_operator.desired.dns_endpoint import HOSTNAME_ANNOTATION, publishes
from lane_operator.desired.secrets import BOUNCE_KEY, NAMESPACE_KEY, feedback_secret
from lane_operator.desired.services import family_policy
from lane_operator.egress import EngineClaim
from lane_operator.inputs import Claim, Lane, Manifest, References

__all__ = ["feedback_of", "feedback_service", "return_path_of", "suppression_of", "unused_ports"]

KEY_FILE = f"{names.FEEDBACK_DIR}/feedback.key"
SUPPRESSION_KEY_FILE = f"{names.FEEDBACK_DIR}/suppression.key"


def feedback_of(lane: Lane, references: References, engine: EngineClaim) -> Feedback | None:
    """The listeners, where they are asked for and the pod has ports (one that stays as it is may have none)."""
    asked = lane.spec.feedback
    if asked is None or not _has_feedback(lane, engine):
        return None
    unsubscribe = asked.unsubscribe if "unsubscribe" in engine.ports else None
    return Feedback(
        key_file=KEY_FILE,
        webhook_key_file=_bounce_key_file(lane, references),
        smtp=Endpoint(host=engine.listen_host, port=engine.ports["feedback"]),
        http=Endpoint(host=engine.listen_host, port=engine.ports["unsubscribe"]) if unsubscribe is not None else None,
        proxies=tuple(ip_network(cidr, strict=False) for cidr in asked.proxies),
        addresses=asked.addresses,
        postmaster=asked.postmaster or "",
        unsubscribe=Unsubscribe(url=unsubscribe.url, mailto=unsubscribe.mailto) if unsubscribe is not None else None,
        complaints=ComplaintRates.model_validate(asked.complaints.model_dump()),
    )


def _has_feedback(lane: Lane, engine: EngineClaim) -> bool:
    return lane.spec.feedback is not None and "feedback" in engine.ports


def _bounce_key_file(lane: Lane, references: References) -> str | None:
    """Where a bounce goes to a webhook, and the key is there: a Secret of an earlier release gets it beforehand."""
    facts = references.secrets.get(feedback_secret(lane))
    posts = any(one.return_path is not None and one.return_path.webhook for one in lane.spec.domains)
    has_key = facts is not None and BOUNCE_KEY in facts.keys
    return f"{names.FEEDBACK_DIR}/{BOUNCE_KEY}" if posts and has_key else None


def suppression_of(lane: Lane, references: References, engine: EngineClaim) -> Suppression | None:
    """The list, which lies on the slot's volume beside the queue.

    A lane that ever shared its list knows the namespace's key for good: what was heard under it goes on counting.
    """
    asked = lane.spec.feedback
    if asked is None or "feedback" not in engine.ports:
        return None
    facts = references.secrets.get(feedback_secret(lane))
    has_key = facts is not None and NAMESPACE_KEY in facts.keys
    scope = asked.suppression.scope
    return Suppression.model_validate(
        {
            "namespace_key_file": f"{names.FEEDBACK_DIR}/{NAMESPACE_KEY}" if has_key else None,
            "neighbours": [
                _neighbour(lane, sharer.name, *slot) for sharer in references.sharers for slot in sharer.slots
            ],
            "path": f"{names.SPOOL_DIR}/suppressions",
            "key_file": SUPPRESSION_KEY_FILE,
            "scope": "Lane" if scope == "Namespace" and not has_key else scope,
            "hard_bounces": asked.suppression.hard_bounces,
            "max_entries": asked.suppression.max_entries,
        }
    )


def _neighbour(lane: Lane, other: str, slot: str, block: int | None) -> NeighbourSlot:
    """A slot of another lane, by its pod's name under that lane's headless Service."""
    service = f"{other}-slots.{lane.namespace}.svc"
    port = names.ADMIN_PORT if block is None else block + names.PORT_NAMES.index("admin")
    return NeighbourSlot(slot=slot, host=f"{slot}-0.{service}", name=f"{slot}.{service}", port=port)


def return_path_of(lane: Lane, domain: LaneDomain, engine: EngineClaim) -> ReturnPath | None:
    """The domain's return path; a pod without feedback leaves the sender's own."""
    asked = domain.return_path
    if asked is None or (asked.mode == "Rewrite" and not _has_feedback(lane, engine)):
        return None
    return ReturnPath.model_validate(
        {"domain": asked.domain, "mode": asked.mode, "forward": asked.forward, "webhook": asked.webhook}
    )


def feedback_service(lane: Lane, claims: Iterable[Claim] = ()) -> Manifest | None:
    """Reports, and links to unsubscribe, over the slots that are ready."""
    asked = lane.spec.feedback
    if asked is None:
        return None
    ports = [("feedback", asked.service.port)] + ([("unsubscribe", 80)] if asked.unsubscribe is not None else [])
    metadata: Manifest = {"name": f"{lane.name}-feedback"}
    annotations = {**_published_name(lane), **asked.service.annotations}
    if annotations:
        metadata["annotations"] = dict(sorted(annotations.items()))
    spec: Manifest = {
        "type": asked.service.type,
        "ipFamilyPolicy": family_policy(asked.service, claims),
        "selector": {LANE_LABEL: lane.name},
        "ports": [{"name": name, "port": number, "protocol": "TCP", "targetPort": name} for name, number in ports],
    }
    if asked.service.type != "ClusterIP":
        spec["externalTrafficPolicy"] = asked.service.external_traffic_policy or "Local"
    if asked.service.load_balancer_class:
        spec["loadBalancerClass"] = asked.service.load_balancer_class
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _published_name(lane: Lane) -> dict[str, str]:
    """Has external-dns publish the address that a load balancer gives, under the name that the MX leads to."""
    service = lane.spec.feedback.service if lane.spec.feedback is not None else None
    if service is None or service.hostname is None or service.type != "LoadBalancer" or not publishes(lane):
        return {}
    return {HOSTNAME_ANNOTATION: service.hostname}


def unused_ports(lane: Lane) -> frozenset[str]:
    """Names of the pod's ports that nothing listens on."""
    feedback = lane.spec.feedback
    unused = {"http"} if lane.spec.submission.http is None else set()
    if feedback is None:
        unused |= {"feedback", "unsubscribe"}
    elif feedback.unsubscribe is None:
        unused.add("unsubscribe")
    return frozenset(unused)
