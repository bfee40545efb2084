"""Condition types and reasons, spelled once; metav1.Condition as a model.

Ready and EgressVerified are normal-true. Reconciling, Stalled, Draining, Suspended, AddressQuarantined, MailHeld,
RecordsAtRisk are abnormal-true: present only while true (kstatus reads their presence).
"""

from enum import StrEnum

from lane_api.model import ApiModel

__all__ = ["Condition", "ConditionType", "Reason"]


class ConditionType(StrEnum):
    """Types of conditions on the three resources."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    EGRESS_VERIFIED = "EgressVerified"
    DNS_PUBLISHED = "DNSPublished"
    CERTIFICATE_READY = "CertificateReady"
    DRAINING = "Draining"
    SUSPENDED = "Suspended"
    NO_REDUNDANCY = "NoRedundancy"
    CHILDREN_INCOMPLETE = "ChildrenIncomplete"
    SHARED_DOMAIN = "SharedDomain"
    ADDRESS_QUARANTINED = "AddressQuarantined"
    MAIL_HELD = "MailHeld"
    RECORDS_AT_RISK = "RecordsAtRisk"
    CONFIG_IN_FORCE = "ConfigInForce"
    VALID = "Valid"


class Reason(StrEnum):
    """Reasons of conditions; one meaning each, whatever the type."""

    # Ready
    ALL_SLOTS_VERIFIED = "AllSlotsVerified"
    WAITING_FOR_DNS = "WaitingForDNS"
    NO_SLOTS = "NoSlots"
    DEGRADED = "Degraded"
    SUSPENDED = "Suspended"
    DRAINING = "Draining"
    # Reconciling
    NEW_GENERATION = "NewGeneration"
    PROGRESSING_WITH_RETRY = "ProgressingWithRetry"
    WAITING_FOR_POOL = "WaitingForPool"
    WAITING_FOR_SECRET = "WaitingForSecret"  # noqa: S105  # a reason, not a secret
    WAITING_FOR_POLICY = "WaitingForPolicy"
    WAITING_FOR_ENGINE = "WaitingForEngine"
    WAITING_FOR_NODE = "WaitingForNode"
    WAITING_FOR_SLOTS = "WaitingForSlots"
    WAITING_FOR_PROOF = "WaitingForProof"
    # Stalled
    INVALID_SPEC = "InvalidSpec"
    POOL_NOT_FOUND = "PoolNotFound"
    NODE_NOT_FOUND = "NodeNotFound"
    POLICY_NOT_FOUND = "PolicyNotFound"
    POOL_CLOSED = "PoolClosed"
    POOL_EXHAUSTED = "PoolExhausted"
    CLASS_MISMATCH = "ClassMismatch"
    ENGINE_MISSING = "EngineMissing"
    ENGINE_LIMIT = "EngineLimit"
    SECRET_KEY_MISSING = "SecretKeyMissing"  # noqa: S105
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105
    DOMAIN_SHARED = "DomainShared"
    DRAIN_DEADLINE_EXCEEDED = "DrainDeadlineExceeded"
    FORBIDDEN = "Forbidden"
    VOLUME_DELETED = "VolumeDeleted"
    SLOT_NOT_READY = "SlotNotReady"
    SLOT_UNREACHABLE = "SlotUnreachable"
    SLOT_BEHIND = "SlotBehind"
    INTERNAL_ERROR = "InternalError"
    # EgressVerified
    MATCHED = "Matched"
    MISMATCH = "Mismatch"
    PROBE_FAILED = "ProbeFailed"
    PROOF_STALE = "ProofStale"
    PORT_BLOCKED = "PortBlocked"
    SHARED_ADDRESS = "SharedAddress"
    # DNSPublished
    ALL_MATCH = "AllMatch"
    NOT_PUBLISHED = "NotPublished"
    NOT_SIGNED = "NotSigned"
    DNS_UNREACHABLE = "DNSUnreachable"
    # CertificateReady
    ISSUED = "Issued"
    SELF_SIGNED = "SelfSigned"
    # Draining
    SCALE_IN = "ScaleIn"
    DELETE = "Delete"
    HELD = "Held"
    # Suspended
    SPEC_SUSPEND = "SpecSuspend"
    # NoRedundancy
    SINGLE_SLOT = "SingleSlot"
    SINGLE_NODE = "SingleNode"
    # ChildrenIncomplete
    KIND_ABSENT = "KindAbsent"
    NO_NETWORK_POLICY = "NoNetworkPolicy"
    # AddressQuarantined
    STANDBY_PROMOTED = "StandbyPromoted"
    NO_STANDBY = "NoStandby"
    STANDBY_REFUSED = "StandbyRefused"
    # MailHeld
    VOLUME_RESTORED = "VolumeRestored"
    IN_DOUBT = "InDoubt"
    NO_WAY_OUT = "NoWayOut"
    BY_ORDER = "ByOrder"
    # RecordsAtRisk
    ARCHIVE_MISSING = "ArchiveMissing"
    ARCHIVE_FAILING = "ArchiveFailing"
    SEALING_FAILING = "SealingFailing"
    # ConfigInForce
    IN_FORCE = "InForce"
    PUSHING = "Pushing"
    REFUSED = "Refused"
    # Valid, of IPPool and ISPPolicy
    ACCEPTED = "Accepted"
    DEAD_RULE = "DeadRule"
    POLICY_CONFLICT = "PolicyConflict"
    ADDRESS_CONFLICT = "AddressConflict"
    ADDRESS_REMOVED = "AddressRemoved"


class Condition(ApiModel):
    """metav1.Condition."""

    type: str
    """Such as Ready, Stalled or EgressVerified; one entry each."""
    status: str
    """True, False or Unknown."""
    reason: str
    """One word for programs, such as PoolExhausted; one meaning each, whatever the type."""
    message: str = ""
    """For people: what is so, and the fix."""
    observed_generation: int = 0
    """The `metadata.generation` that it was said of."""
    last_transition_time: str = ""
    """When the status became what it is: RFC 3339, UTC, seconds."""
