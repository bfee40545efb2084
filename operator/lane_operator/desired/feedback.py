"""What a lane's feedback asks for: the relay's part of it, its Service, and which of the pod's ports stay unused."""

from lane_api import names
from lane_api.domains import LaneDomain
from lane_api.names import LANE_LABEL
from lane_api.relayconfig import Endpoint
from lane_api.relayfeedback import ComplaintRates, Feedback, NeighbourSlot, ReturnPath, Suppression, Unsubscribe
from lane_operator.desired.secrets import NAMESPACE_KEY, feedback_secret
from lane_operator.egress import EngineClaim
from lane_operator.inputs import Lane, Manifest, References

__all__ = ["feedback_of", "feedback_service", "return_path_of", "suppression_of", "unused_ports"]

KEY_FILE = f"{names.FEEDBACK_DIR}/feedback.key"
SUPPRESSION_KEY_FILE = f"{names.FEEDBACK_DIR}/suppression.key"


def feedback_of(lane: Lane, engine: EngineClaim) -> Feedback | None:
    """The listeners, where they are asked for and the pod has ports (one that stays as it is may have none)."""
    asked = lane.spec.feedback
    if asked is None or "feedback" not in engine.ports:
        return None
    unsubscribe = asked.unsubscribe if "unsubscribe" in engine.ports else None
    return Feedback(
        key_file=KEY_FILE,
        smtp=Endpoint(host=engine.listen_host, port=engine.ports["feedback"]),
        http=Endpoint(host=engine.listen_host, port=engine.ports["unsubscribe"]) if unsubscribe is not None else None,
        addresses=asked.addresses,
        postmaster=asked.postmaster or "",
        unsubscribe=Unsubscribe(url=unsubscribe.url, mailto=unsubscribe.mailto) if unsubscribe is not None else None,
        complaints=ComplaintRates.model_validate(asked.complaints.model_dump()),
    )


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
    if asked is None or (asked.mode == "Rewrite" and feedback_of(lane, engine) is None):
        return None
    return ReturnPath.model_validate(
        {"domain": asked.domain, "mode": asked.mode, "forward": asked.forward, "webhook": asked.webhook}
    )


def feedback_service(lane: Lane) -> Manifest | None:
    """Reports, and links to unsubscribe, over the slots that are ready."""
    asked = lane.spec.feedback
    if asked is None:
        return None
    ports = [("feedback", 25)] + ([("unsubscribe", 80)] if asked.unsubscribe is not None else [])
    metadata: Manifest = {"name": f"{lane.name}-feedback"}
    if asked.service.annotations:
        metadata["annotations"] = dict(sorted(asked.service.annotations.items()))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": asked.service.type,
            "selector": {LANE_LABEL: lane.name},
            "ports": [{"name": name, "port": number, "protocol": "TCP", "targetPort": name} for name, number in ports],
        },
    }


def unused_ports(lane: Lane) -> frozenset[str]:
    """Names of the pod's ports that nothing listens on."""
    feedback = lane.spec.feedback
    unused = {"http"} if lane.spec.submission.http is None else set()
    if feedback is None:
        unused |= {"feedback", "unsubscribe"}
    elif feedback.unsubscribe is None:
        unused.add("unsubscribe")
    return frozenset(unused)
