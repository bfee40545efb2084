"""Condition types and reasons, spelled once; metav1.Condition as a model.

Ready, EgressVerified, PTRMatches, DNSMatches, QueueHealthy and ListsAnswer are normal-true. Reconciling, Stalled,
Draining, Suspended, AddressQuarantined, Listed, ActsInForce, ActsObserved, MailHeld, RecordsAtRisk, NodeLost,
VolumeForgotten, Upgrading, UpgradeHalted are abnormal-true: present only while true (kstatus reads their presence).
"""

from enum import StrEnum

from lane_api.model import ApiModel
from lane_api.moment import Moment

__all__ = ["Condition", "ConditionType", "Reason"]


class ConditionType(StrEnum):
    """Types of conditions on the three resources."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    EGRESS_VERIFIED = "EgressVerified"
    PTR_MATCHES = "PTRMatches"
    DNS_PUBLISHED = "DNSPublished"
    DNS_MATCHES = "DNSMatches"
    DKIM_ROTATION = "DKIMRotation"
    CERTIFICATE_READY = "CertificateReady"
    QUEUE_HEALTHY = "QueueHealthy"
    DRAINING = "Draining"
    SUSPENDED = "Suspended"
    NO_REDUNDANCY = "NoRedundancy"
    CHILDREN_INCOMPLETE = "ChildrenIncomplete"
    SHARED_DOMAIN = "SharedDomain"
    MIXED_NETWORKS = "MixedNetworks"
    ADDRESS_QUARANTINED = "AddressQuarantined"
    LISTED = "Listed"
    LISTS_ANSWER = "ListsAnswer"
    ACTS_IN_FORCE = "ActsInForce"
    ACTS_OBSERVED = "ActsObserved"
    MAIL_HELD = "MailHeld"
    RECORDS_AT_RISK = "RecordsAtRisk"
    NODE_LOST = "NodeLost"
    VOLUME_FORGOTTEN = "VolumeForgotten"
    UPGRADING = "Upgrading"
    UPGRADE_HALTED = "UpgradeHalted"
    CONFIG_IN_FORCE = "ConfigInForce"
    VALID = "Valid"


class Reason(StrEnum):
    """Reasons of conditions; one meaning each, whatever the type."""

    # Ready
    ALL_SLOTS_VERIFIED = "AllSlotsVerified"
    WAITING_FOR_DNS = "WaitingForDNS"
    NO_SLOTS = "NoSlots"
    ADDRESSES_QUARANTINED = "AddressesQuarantined"
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
    WAITING_FOR_VOLUME = "WaitingForVolume"
    WAITING_FOR_CERTIFICATE = "WaitingForCertificate"
    # Stalled
    INVALID_SPEC = "InvalidSpec"
    POOL_NOT_FOUND = "PoolNotFound"
    NODE_NOT_FOUND = "NodeNotFound"
    POLICY_NOT_FOUND = "PolicyNotFound"
    POOL_CLOSED = "PoolClosed"
    POOL_EXHAUSTED = "PoolExhausted"
    STORE_WENT_BACK = "StoreWentBack"
    CLASS_MISMATCH = "ClassMismatch"
    ENGINE_MISSING = "EngineMissing"
    ENGINE_LIMIT = "EngineLimit"
    SECRET_KEY_MISSING = "SecretKeyMissing"  # noqa: S105
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105
    DOMAIN_SHARED = "DomainShared"
    DRAIN_DEADLINE_EXCEEDED = "DrainDeadlineExceeded"
    FORBIDDEN = "Forbidden"
    VOLUME_DELETED = "VolumeDeleted"
    CERTIFICATE_NOT_ISSUED = "CertificateNotIssued"
    VOLUME_CANNOT_GROW = "VolumeCannotGrow"
    VOLUME_NOT_GROWN = "VolumeNotGrown"
    FILE_SYSTEM_RESIZE_PENDING = "FileSystemResizePending"
    SLOT_NOT_READY = "SlotNotReady"
    SLOT_UNREACHABLE = "SlotUnreachable"
    SLOT_BEHIND = "SlotBehind"
    INTERNAL_ERROR = "InternalError"
    # EgressVerified
    MATCHED = "Matched"
    MISMATCH = "Mismatch"
    PROBE_FAILED = "ProbeFailed"
    NOT_PROBED = "NotProbed"
    PROOF_STALE = "ProofStale"
    PORT_BLOCKED = "PortBlocked"
    SHARED_ADDRESS = "SharedAddress"
    # PTRMatches
    FORWARD_CONFIRMED = "ForwardConfirmed"
    NO_PTR = "NoPTR"
    HELO_MISMATCH = "HELOMismatch"
    NO_WAY_BACK = "NoWayBack"
    # DNSPublished
    ALL_MATCH = "AllMatch"
    NOT_PUBLISHED = "NotPublished"
    NOT_SIGNED = "NotSigned"
    DNS_UNREACHABLE = "DNSUnreachable"
    # DNSMatches
    SPF_WRONG = "SPFWrong"
    MX_WRONG = "MXWrong"
    DMARC_WRONG = "DMARCWrong"
    TLS_RECORD_WRONG = "TLSRecordWrong"
    # DKIMRotation
    NEXT_KEY_UNPUBLISHED = "NextKeyUnpublished"
    NEXT_KEY_PROPAGATES = "NextKeyPropagates"
    OLD_KEY_RETIRES = "OldKeyRetires"
    OLD_KEY_RETIRED = "OldKeyRetired"
    KEYS_STABLE = "KeysStable"
    # CertificateReady
    ISSUED = "Issued"
    SELF_SIGNED = "SelfSigned"
    # Draining
    SCALE_IN = "ScaleIn"
    DELETE = "Delete"
    HELD = "Held"
    NODE_DRAIN = "NodeDrain"
    BEFORE_RESTART = "BeforeRestart"
    # Suspended
    SPEC_SUSPEND = "SpecSuspend"
    # MixedNetworks
    CLASSES_MIXED = "ClassesMixed"
    # NoRedundancy
    SINGLE_SLOT = "SingleSlot"
    SINGLE_NODE = "SingleNode"
    # ChildrenIncomplete
    NO_ARCHIVE = "NoArchive"
    KIND_ABSENT = "KindAbsent"
    NO_NETWORK_POLICY = "NoNetworkPolicy"
    NOT_OURS = "NotOurs"
    DOMAIN_NOT_ALLOWED = "DomainNotAllowed"
    # AddressQuarantined
    STANDBY_PROMOTED = "StandbyPromoted"
    NO_STANDBY = "NoStandby"
    STANDBY_REFUSED = "StandbyRefused"
    # Listed
    DNSBL = "DNSBL"
    # ListsAnswer
    LISTS_WORK = "ListsWork"
    LIST_BROKEN = "ListBroken"
    # ActsInForce
    MAIL_STOPPED = "MailStopped"
    MAIL_SLOWED = "MailSlowed"
    # ActsObserved
    AUTOMATION_OBSERVES = "AutomationObserves"
    # MailHeld
    VOLUME_RESTORED = "VolumeRestored"
    IN_DOUBT = "InDoubt"
    NO_WAY_OUT = "NoWayOut"
    BY_ORDER = "ByOrder"
    # RecordsAtRisk
    ARCHIVE_MISSING = "ArchiveMissing"
    ARCHIVE_FAILING = "ArchiveFailing"
    SEALING_FAILING = "SealingFailing"
    # QueueHealthy
    WITHIN_SLO = "WithinSLO"
    OLD = "Old"
    GROWING = "Growing"
    DISK_LOW = "DiskLow"
    # NodeLost
    NODE_NOT_READY = "NodeNotReady"
    NODE_GONE = "NodeGone"
    # VolumeForgotten
    GIVEN_UP = "GivenUp"
    SLOT_SERVES = "SlotServes"
    SLOT_AWAITED = "SlotAwaited"
    NO_SUCH_VOLUME = "NoSuchVolume"
    # Upgrading
    WAITS_FOR_SLOTS = "WaitsForSlots"
    WAITS_FOR_OTHER_LANES = "WaitsForOtherLanes"
    SLOT_DRAINS = "SlotDrains"
    SLOT_RESTARTS = "SlotRestarts"
    SLOT_WATCHED = "SlotWatched"
    # UpgradeHalted
    ROLLED_BACK = "RolledBack"
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
    last_transition_time: Moment = ""
    """When the status became what it is: RFC 3339, UTC, seconds."""
