"""Figures of the relay for Prometheus: what is counted, what each metric means, how it is written."""

from lane_relay.metrics.catalogue import CATALOGUE, PREFIX, Declared, Kind
from lane_relay.metrics.exposition import expose
from lane_relay.metrics.figures import OTHER_POLICY, Figures, Latencies, LatencyHistogram, RecordsFigures

__all__ = [
    "CATALOGUE",
    "OTHER_POLICY",
    "PREFIX",
    "Declared",
    "Figures",
    "Kind",
    "Latencies",
    "LatencyHistogram",
    "RecordsFigures",
    "expose",
]
