"""Names that more than one program, manifest or dashboard spells: groups, labels, ports, paths, each once."""

GROUP = "lanewright.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "lanewright"

LANE_LABEL = "lanewright.dev/lane"
"""Lane name; on every child of a lane."""
SLOT_LABEL = "lanewright.dev/slot"
"""Slot name; on every child of a slot and on its pod. Not under kubernetes.io: Cilium ignores such labels."""
CLASS_LABEL = "lanewright.dev/class"
"""Traffic class; on pods, so that lanes can avoid one another's nodes."""
ROLE_LABEL = "lanewright.dev/made-as"
"""On a slot's pod: `active` or `standby`, as its number says; a standby slot that stands in for another keeps it, for a
label that changed would restart the pod."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "lanewright"}
"""On every object that the operator applies; also the selector of its watches on child kinds."""

DRAIN_FINALIZER = "lanewright.dev/drain"
"""On a SendingLane: taken off when every slot is empty and proven so, or released by annotation."""
QUEUE_FINALIZER = "lanewright.dev/queue"
"""On a queue volume claim: taken off only on proof of empty."""
POOL_FINALIZER = "lanewright.dev/addresses"
"""On an IPPool: taken off when no lane that lives holds an address of it; the record of who holds which is in it."""
RELEASE_ANNOTATION = "lanewright.dev/release"
"""On a SendingLane: `keep-volumes` lets a lane go whose drain deadline has passed; volumes and addresses stay.
`forget-slot/UID` gives up the volume of that claim, with the mail in it."""
RELEASE_KEEP_VOLUMES = "keep-volumes"
RELEASE_FORGET_SLOT = "forget-slot/"
"""Before the uid of a volume claim: that volume is lost for good, and its slot begins anew or goes."""
ALLOWED_ANNOTATION = "lanewright.dev/allowed-namespaces"
"""On a template NetworkAttachmentDefinition: the other namespaces whose pools may name it, with commas; `*`: all."""
DNS_ENDPOINT_KIND = "DNSEndpoint.externaldns.k8s.io"
"""Kind and group of what external-dns publishes."""
UPGRADE_ANNOTATION = "lanewright.dev/upgrade"
"""On a SendingLane: `unjudged` gives its slots the installation's images however they do with them."""
UPGRADE_UNJUDGED = "unjudged"
IMAGES_ANNOTATION = "lanewright.dev/images"
"""On a slot's StatefulSet: by which upgrade it got its images, when, and instead of which; written with them."""
PLAIN_HTTP_ANNOTATION = "lanewright.dev/plain-http"
"""On a slot's pod whose HTTP intake is without TLS: another choice needs another process."""
ADDRESS_ANNOTATION = "lanewright.dev/address"
"""On a slot's StatefulSet: the pool address it holds; second record of an assignment."""
SECOND_ANNOTATION = "lanewright.dev/second-address"
"""Likewise, the one of the other family; on a Multus slot's pod as well, which gets its addresses when it is made."""
ZONE_LABEL = "topology.kubernetes.io/zone"
"""On a node: the zone that it is in, as whoever runs the cluster says."""
NAMESPACE_LABEL = "lanewright.dev/namespace"
"""On what belongs to a lane and is in no namespace: a PersistentVolume kept beyond its namespace, a gateway policy."""
POOL_ANNOTATION = "lanewright.dev/pool"
"""On a slot's StatefulSet: `namespace/name` of the pool its address comes from."""
CONFIG_DIGEST_ANNOTATION = "lanewright.dev/config-digest"
"""On a slot's config Secret: digest of its relay.yaml but for the serial; tells whether the content is another."""
CONFIG_SERIAL_ANNOTATION = "lanewright.dev/config-serial"
"""On a slot's config Secret: the serial of its relay.yaml."""
SPOOL_SEEN_ANNOTATION = "lanewright.dev/spool-seen"
"""On a slot's config Secret: id and mark of its spool as last seen; tells a volume put back from a snapshot."""
HEADS_AT_ANNOTATION = "lanewright.dev/heads-at"
"""On the ConfigMap SLOT-heads: when its newest head was kept, in Unix seconds."""
LEASE_TERMS_ANNOTATION = "lanewright.dev/terms"
"""On the operator's Lease: how far each of its last holders came, `PROCESS:RENEWALS` in their order."""
WENT_BACK_ANNOTATION = "lanewright.dev/went-back-at"
"""On the operator's Lease: when it was noticed that the API server's store went back, or may have."""
CLAIM_BEFORE_ANNOTATION = "lanewright.dev/claim-before"
"""On a volume kept beyond its claim, and on the claim that adopts it: uid of that claim, so that it is no copy's."""
NOT_IN_BACKUPS = {"velero.io/exclude-from-backup": "true"}
"""On what a restore must find absent, so that it is made anew and never speaks of a volume that is no more."""

# Pods listen above 1024, behind the Service's 25, 465, 587; a HostNetwork slot gets a block of 8 of its own.
SMTP_PORT = 5587
SMTPS_PORT = 5465
HTTP_PORT = 8025
METRICS_PORT = 9590
ADMIN_PORT = 9591
FEEDBACK_PORT = 5525
UNSUBSCRIBE_PORT = 5580
PORT_NAMES = ("smtp", "smtps", "metrics", "admin", "http", "feedback", "unsubscribe")
"""Named container ports, in the order in which a HostNetwork block hands them out."""
HOST_PORT_BLOCK = 8
REFLECTOR_PORT = 25
"""Reflectors listen where mail servers do, so that the proof walks the path that mail walks."""

NEEDS_RESTART_TEXT = "cannot change while the relay runs"
UNKNOWN_FIELD_TEXT = "unknown field"
"""In a relay's refusal of a configuration that its next start takes: the operator is about to restart it."""
STOP_GRACE_S = 60
"""Seconds that a slot's pod has to stop: a peer that has a whole message may need most of them to answer."""

CONFIG_DIR = "/etc/lanewright/config"
CONFIG_FILE = f"{CONFIG_DIR}/relay.yaml.gz"
TLS_DIR = "/etc/lanewright/tls"
USERS_DIR = "/etc/lanewright/users"
DKIM_DIR = "/etc/lanewright/dkim"
ADMIN_DIR = "/etc/lanewright/admin"
"""Holds `token`, `tls.crt`, `tls.key` of the admin API."""
FEEDBACK_DIR = "/etc/lanewright/feedback"
"""Holds `feedback.key`, which return paths and links are signed with, and `suppression.key`, which keys digests."""
PROOF_DIR = "/etc/lanewright/proof"
"""Holds `key`, shared with the reflectors."""
PROXY_DIR = "/etc/lanewright/proxy"
"""Holds `username` and `password` for the proxy that has the slot's address."""
PROXY_SECOND = "second"
"""Folder in it with those for the proxy that has its second one."""
ROUTES_DIR = "/etc/lanewright/routes"
"""Holds one folder a smart-host credential, with `username` and `password`."""
AUDIT_DIR = "/etc/lanewright/audit"
"""Holds `signing.key` and `recipients.key` of the lane's records."""
ARCHIVE_ACCESS_DIR = "/etc/lanewright/archive"
"""Holds the credentials of the archive's bucket."""
ARCHIVE_DIR = "/var/lib/lanewright/archive"
"""Where an archive's volume is mounted."""
WEBHOOK_DIR = "/etc/lanewright/webhook"
"""Holds `key`, `authorization`, `ca.crt` of the webhook."""
SPOOL_DIR = "/var/spool/lanewright"
SIDECAR_RESOLVER = "127.0.0.1:5353"
"""The validating resolver in the slot's own pod."""


STANDBY_FROM = 64
"""Slots from this index on are standby slots: spec.replicas ends below it."""


def slot_name(lane: str, index: int) -> str:
    """The name of a lane's slot, also of its StatefulSet: LANE-0, LANE-1, ..., and LANE-s0, LANE-s1, ... in standby."""
    return f"{lane}-{index}" if index < STANDBY_FROM else f"{lane}-s{index - STANDBY_FROM}"


def slot_index(lane: str, slot: str) -> int | None:
    """The index in a slot's name; None for a name that is no slot of this lane."""
    prefix, _, number = slot.rpartition("-")
    digits = number.removeprefix("s")
    if prefix != lane or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits) + (STANDBY_FROM if number != digits else 0)
