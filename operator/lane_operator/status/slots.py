"""One line of status a slot: where it is, what it does, and why it does not; pure."""

from lane_api.conditions import Reason
from lane_api.ippool import Quarantine
from lane_api.lane_status import SlotRole, SlotStatus, SlotWarmUp
from lane_api.names import NEEDS_RESTART_TEXT
from lane_operator.inputs import Claim, Desired, Lane, Observation, SlotObservation
from lane_operator.status.figures import rounded

__all__ = ["SHARED", "egress_reason", "is_proved", "is_to_restart", "quarantine_text", "slot_status", "slot_trouble"]

SHARED = "shared"
"""`ip` of a slot without an address of its own."""
_NOTHING = Desired()
_EGRESS: dict[str, tuple[bool | None, Reason]] = {
    "Mismatch": (False, Reason.MISMATCH),
    "PortBlocked": (False, Reason.PORT_BLOCKED),
    "Unproved": (False, Reason.PROBE_FAILED),
    "": (None, Reason.NOT_PROBED),
    "ProofStale": (True, Reason.PROOF_STALE),
    "Proved": (True, Reason.MATCHED),
    "NotNeeded": (True, Reason.SHARED_ADDRESS),
}
"""Worst first: what is said of the lane is what is said of its worst slot."""


def is_proved(seen: SlotObservation | None) -> bool:
    """Whether mail may leave the slot."""
    return seen is not None and seen.may_send


def is_to_restart(seen: SlotObservation) -> bool:
    """What it refused is nothing wrong: its next process takes it, and the operator replaces that."""
    return NEEDS_RESTART_TEXT in seen.config_refused


def egress_reason(slots: list[SlotObservation | None]) -> tuple[bool | None, Reason]:
    """The state of the worst slot: whether it is verified, and the reason."""
    found = [_EGRESS.get(seen.proof_state if seen else "", _EGRESS[""]) for seen in slots]
    return next((verdict for verdict in _EGRESS.values() if verdict in found), _EGRESS[""])


def slot_status(
    lane: Lane, claim: Claim, observation: Observation, waiting: str | None, desired: Desired = _NOTHING
) -> SlotStatus:
    """The slot as last seen; `waiting` is since when it does not serve as asked."""
    seen = observation.slot(claim.slot_name) or SlotObservation(claim.slot_name)
    ip, second = _addresses(lane, claim)
    return SlotStatus(
        name=claim.slot_name,
        ip=ip,
        second=second,
        hostname=claim.address.hostname if claim.address else "",
        role=claim.role,
        ready=seen.pod_ready,
        egress_verified=is_proved(seen),
        message="; ".join(text for text in (slot_trouble(lane, claim, seen), slot_duty(claim)) if text),
        waiting_since=waiting,
        leaving_since=desired.leaving.get(claim.slot_name),
        queued=rounded(seen.queued),
        oldest_since=seen.oldest_since,
        warmup=SlotWarmUp(step=seen.warmup.step, isp=seen.warmup.isp) if seen.warmup is not None else None,
        volume=desired.volume_sizes.get(claim.slot_name, ""),
        config_generation=seen.config_generation,
    )


def _addresses(lane: Lane, claim: Claim) -> tuple[str, str]:
    """What the slot sends from. Of one that only its own objects speak of, what was said before and nothing else: what
    a lane's status says of addresses counts as a pool's word (`demands`), and anybody may write those objects."""
    if claim.address is None:
        return SHARED, ""
    if not claim.found:
        return claim.address.ip, claim.address.second.ip if claim.address.second else ""
    before = next((one for one in lane.status.slots if one.name == claim.slot_name), None)
    return (before.ip, before.second) if before is not None and before.ip == claim.address.ip else ("", "")


def slot_duty(claim: Claim) -> str:
    """What its address must not send, or for whom it stands in; empty for neither."""
    if claim.quarantine is not None:
        return quarantine_text(claim.quarantine)
    return f"stands in for {', '.join(claim.stands_in_for)}" if claim.stands_in_for else ""


def quarantine_text(quarantine: Quarantine) -> str:
    """Which mail must not leave from an address, until when and why, and what becomes of it."""
    mail = f"mail for {', '.join(quarantine.isps)}" if quarantine.isps else "mail"
    instead = f"leaves from {quarantine.stood_in_by}" if quarantine.stood_in_by else "waits or leaves from the others"
    if quarantine.is_by_owner:
        return f"sends nothing, as quarantined in the pool says; its mail {instead}"
    if quarantine.is_by_dnsbl:
        return f"sends nothing until it is listed no more, since {quarantine.reply}; its mail {instead}"
    if not quarantine.stood_in_by:
        instead = "waits"
    reply = f" ({quarantine.reply})" if quarantine.reply else ""
    return f"sends no {mail} until {quarantine.until}, by rule {quarantine.by}{reply}: it {instead}"


def slot_trouble(lane: Lane, claim: Claim, seen: SlotObservation | None) -> str:
    """The first thing that keeps the slot from serving, in plain words; empty where nothing does."""
    if seen is None:
        return "was not seen yet"
    if seen.stopped:
        return f"is stopped; its volume keeps about {rounded(seen.queued)} messages" if seen.queued else "is stopped"
    if claim.hands_over and seen.reachable:
        return "takes no mail: it hands what it has to the lane's other slots, then it restarts"
    if not seen.pod_ready and claim.takes_mail:
        return f"the pod is not ready: {seen.pod_reason or 'it starts'}{_node_network(claim, seen)}"
    if not seen.reachable:
        if claim.role in (SlotRole.STANDBY, SlotRole.PROMOTED) and not claim.takes_mail:
            return f"does not answer the operator{f': {seen.pod_reason}' if seen.pod_reason else ''}"
        return _silence(seen) if seen.pod_ready else ""
    if seen.config_refused and not is_to_restart(seen):
        return f"refused configuration {lane.generation}: {seen.config_refused}"
    if not is_proved(seen):
        return f"sends nothing: {seen.proof_message or 'its egress address is not proved yet'}"
    return ""


def _silence(seen: SlotObservation) -> str:
    if seen.is_asked:
        return "does not answer the operator"
    return "is not asked until what the lane waits for is there; it goes on with what it has"


def _node_network(claim: Claim, seen: SlotObservation) -> str:
    """Why a HostNetwork slot may have no pod at all: Pod Security refuses it before anything else can be seen."""
    if claim.port_block is None or seen.node:
        return ""
    return (
        "; a slot in the node's network needs the namespace to carry the label "
        "pod-security.kubernetes.io/enforce=privileged"
    )
