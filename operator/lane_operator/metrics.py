"""Every metric of the operator, declared once with its meaning."""

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "api_requests",
    "api_seconds",
    "applies",
    "deletes",
    "dnsbl_lookups",
    "leader",
    "oldest_key_seconds",
    "queue_depth",
    "reconcile_errors",
    "reconcile_seconds",
    "reconciles",
    "relay_requests",
    "resync_timestamp_seconds",
    "reviews",
    "status_writes",
]

reconciles = Counter("lanewright_reconciles_total", "Passes over one object.", ["kind"])
reconcile_errors = Counter("lanewright_reconcile_errors_total", "Passes that ended in an error.", ["kind", "reason"])
reconcile_seconds = Histogram(
    "lanewright_reconcile_seconds",
    "Duration of one pass.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
leader = Gauge("lanewright_leader", "1 for the replica that holds the Lease and works; the others watch.")
queue_depth = Gauge("lanewright_queue_depth", "Objects that wait for a pass.")
oldest_key_seconds = Gauge("lanewright_queue_oldest_key_seconds", "How long the oldest of them has been waiting.")
api_requests = Counter(
    "lanewright_api_requests_total",
    "Requests to the Kubernetes API but for watches, by answer; code 0: there was none.",
    ["verb", "kind", "code"],
)
api_seconds = Histogram(
    "lanewright_api_request_seconds",
    "How long the Kubernetes API took to answer.",
    ["verb"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
)
applies = Counter("lanewright_applies_total", "Server-side applies.", ["kind"])
deletes = Counter("lanewright_deletes_total", "Children deleted.", ["kind"])
status_writes = Counter("lanewright_status_writes_total", "Status patches.", ["kind"])
relay_requests = Counter("lanewright_relay_requests_total", "Requests to the slots' /v1.", ["result"])
dnsbl_lookups = Counter(
    "lanewright_dnsbl_lookups_total",
    "Questions to blocklists, by list and whether DNS answered; no such name is an answer.",
    ["list", "result"],
)
reviews = Counter("lanewright_reviews_total", "Objects that the webhook was asked about.", ["result"])
resync_timestamp_seconds = Gauge("lanewright_resync_timestamp_seconds", "When everything was last listed and compared.")
