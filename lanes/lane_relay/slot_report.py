"""Parts of what a slot reports, as JSON for `/v1`: its domains, its certificate, its warm-up, its sites.

Pure but for the certificate, which is read. Before it: the stages' own values. After it: `slot` puts them together.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography import x509

from lane_api.relayconfig import Intake, SecondKey, SigningDomain
from lane_api.selector import SelectorFinding
from lane_relay.clock import rfc3339
from lane_relay.deliver.explain import SiteState
from lane_relay.deliver.told import act_as_json
from lane_relay.egress.gates import Named
from lane_relay.egress.proof import ProofStatus
from lane_relay.feedback.outbox import Outbox
from lane_relay.handover.doubts import SlotDoubt
from lane_relay.handover.owed import SlotOwed
from lane_relay.records import received_at
from lane_relay.resolve.published import RecordState
from lane_relay.resolve.selectors import SelectorState
from lane_relay.warmup.warmer import Warmer

__all__ = [
    "HandoverFigures",
    "certificate_as_json",
    "domain_rows",
    "feedback_as_json",
    "handover_as_json",
    "named_as_json",
    "proof_as_json",
    "record_as_json",
    "site_as_json",
    "time_as_json",
    "warm_up_as_json",
]


_OVERDUE_S: Final = 300.0


class HandoverFigures(Protocol):
    """What hand-over counts, in entries; `in_doubt` in transfers."""

    @property
    def unreadable(self) -> int:
        """Entries whose message the disk does not give."""

    @property
    def given(self) -> int:
        """Taken over by siblings."""

    @property
    def taken(self) -> int:
        """Taken over from siblings."""

    @property
    def taking(self) -> int:
        """Transfers that are coming in."""

    @property
    def waiting(self) -> int:
        """On the way to a sibling."""

    @property
    def stranded(self) -> int:
        """Those of them that must not leave from here while no sibling can take them."""

    @property
    def unrelieved(self) -> int:
        """Sites that refuse our address, to which nobody sends in its place."""

    @property
    def in_doubt(self) -> int:
        """Not answered yet."""

    @property
    def doubts(self) -> list[SlotDoubt]:
        """The same by sibling."""

    @property
    def owed(self) -> list[SlotOwed]:
        """What siblings may still ask about, by sibling."""


def domain_rows(
    domains: Iterable[SigningDomain], known: Iterable[SelectorState], problems: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Each signing domain, whether its selector is live, and why not; `problems` are the signer's, by domain."""
    states = {state.name: state for state in known}
    rows = []
    for domain in domains:
        state = states.get(_record_name(domain, domain.selector))
        if domain.mode == "Off":
            message = "signing is off"
        elif not domain.verify_record:
            message = "DNS is not asked: verifyRecord is off"
        else:
            message = state.detail if state else problems.get(domain.name, "not checked yet")
        rows.append(
            {
                "name": domain.name,
                "selector": domain.selector,
                "published": bool(state and state.live),
                "dns": state.finding if state else SelectorFinding.UNCHECKED,
                "message": message,
                "ed25519": _other_key(domain, domain.ed25519, states),
                "next": _next_key(domain, states),
                "verified": _is_verified(domain),
            }
        )
    return rows


def _record_name(domain: SigningDomain, selector: str) -> str:
    return f"{selector}._domainkey.{domain.name}"


def _next_key(domain: SigningDomain, states: Mapping[str, SelectorState]) -> dict[str, Any] | None:
    """The key that is to sign after the present one."""
    found = _other_key(domain, domain.next, states)
    if found is None or domain.next is None:
        return None
    return {**found, "ed25519": _other_key(domain, domain.next.ed25519, states)}


def _other_key(
    domain: SigningDomain, key: SecondKey | None, states: Mapping[str, SelectorState]
) -> dict[str, Any] | None:
    """A key for which no mail waits, and whether DNS answers it."""
    if domain.mode == "Off" or key is None:
        return None
    state = states.get(_record_name(domain, key.selector))
    return {
        "selector": key.selector,
        "published": bool(state and state.live),
        "dns": state.finding if state else SelectorFinding.UNCHECKED,
        "message": state.detail if state else "the key has not been read",
    }


def _is_verified(domain: SigningDomain) -> bool:
    """Whether the domain's mail waits for its selector."""
    return domain.mode == "Sign" and domain.verify_record


def proof_as_json(proof: ProofStatus, *, is_open: bool) -> dict[str, Any]:
    """Whether the egress address is proved; of two the worse one's state, while `open` says whether mail leaves."""
    return {
        "state": proof.state,
        "open": is_open,
        "message": proof.message,
        "address": proof.address,
        "seen": proof.seen,
        "at": time_as_json(proof.at or None),
    }


def named_as_json(named: Named) -> dict[str, Any]:
    """What DNS says of the egress address's own name."""
    at = time_as_json(named.checked_at or None)
    return {"finding": named.finding, "message": named.detail, "names": list(named.names), "at": at}


def record_as_json(record: RecordState) -> dict[str, Any]:
    """What DNS says of one of a domain's records."""
    return {
        "purpose": record.purpose,
        "name": record.name,
        "finding": record.finding,
        "message": record.detail,
        "found": record.found,
        "at": time_as_json(record.checked_at or None),
    }


def warm_up_as_json(warmer: Warmer) -> list[dict[str, Any]]:
    """Where the address stands with each ISP that it has sent to; `amount` is null where it is warm."""
    return [
        {
            "isp": name,
            "step": isp.step,
            "amount": amount,
            "used": isp.admitted,
            "since": time_as_json(isp.began),
            "delivered": isp.delivered,
            "deferred": isp.deferred,
            "bounced": isp.bounced,
            "reason": isp.reason,
        }
        for name, isp, amount in warmer.states()
    ]


def feedback_as_json(outbox: Outbox) -> dict[str, Any]:
    """Bounces that a webhook does not have yet, and why."""
    return {"unsent": outbox.waiting, "failure": outbox.failure}


def handover_as_json(handover: HandoverFigures, now: float) -> dict[str, Any]:
    """What goes to siblings, and what is in doubt with which; `now` in Unix time."""
    doubts = [
        {
            "slot": doubt.slot,
            "transfers": doubt.transfers,
            "entries": doubt.entries,
            "since": time_as_json(doubt.since or None),
            "reason": doubt.said,
            "overdue": now - doubt.since >= _OVERDUE_S,
        }
        for doubt in handover.doubts
    ]
    owed = [
        {"slot": one.slot, "transfers": one.transfers, "since": time_as_json(one.since or None), "reason": one.said}
        for one in handover.owed
    ]
    waiting = {"waiting": handover.waiting, "stranded": handover.stranded}
    return {**waiting, "inDoubt": handover.in_doubt, "doubts": doubts, "owed": owed}


def site_as_json(state: SiteState) -> dict[str, Any]:
    """One site as JSON: what waits, what is open, and which limit holds it now."""
    return {
        "site": state.site,
        "policy": state.policy,
        "waiting": state.waiting,
        "oldestSince": time_as_json(received_at(state.oldest_id)) if state.oldest_id else None,
        "connections": state.connections,
        "connectionLimit": state.connection_limit,
        "messagesPerSecond": state.messages_per_second,
        "backedOff": state.backed_off,
        "heldBy": state.hold.limit,
        "detail": state.hold.detail,
        "lastFailure": state.last_failure,
        "attempts": state.attempts,
        "delivered": state.delivered,
        "acts": [act_as_json(act) for act in state.acts],
    }


def certificate_as_json(intake: Intake) -> dict[str, Any]:
    """Whose certificate clients see, and until when."""
    if intake.tls is None:
        return {"selfSigned": True, "notAfter": None}
    try:
        certificate = x509.load_pem_x509_certificate(Path(intake.tls.certificate).read_bytes())
    except (OSError, ValueError):
        return {"selfSigned": False, "notAfter": None}
    return {"selfSigned": False, "notAfter": time_as_json(certificate.not_valid_after_utc.timestamp())}


def time_as_json(unix: float | None) -> str | None:
    """A time, or null where there is none."""
    return rfc3339(unix) if unix is not None else None
