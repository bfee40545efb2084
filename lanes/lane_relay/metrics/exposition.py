"""The exposition text of Prometheus, made of the catalogue and plain figures at scrape time; changes nothing.

Before it: `catalogue`, `figures`. After it: `health`, which serves the text.
"""

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from lane_relay.metrics.catalogue import CATALOGUE, PREFIX, Declared, Kind
from lane_relay.metrics.figures import Figures, Latencies

__all__ = ["expose"]

_PROCESS: Final = ProcessCollector(registry=None)
"""Memory, descriptors, CPU and start of this process, under the names that all client libraries give them."""


def _family(declared: Declared, figures: Figures) -> Metric:
    """One metric's samples, read from the figures."""
    name, value = PREFIX + declared.name, attrgetter(declared.source)(figures)
    match declared.kind:
        case Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(name, declared.meaning, labels=declared.labels)
            of = value.by_policy if isinstance(value, Latencies) else {figures.traffic_class: value}
            for label, one in of.items():
                histogram.add_metric([label], one.buckets(), one.sum_s)
            return histogram
        case Kind.SUMMARY:
            return SummaryMetricFamily(name, declared.meaning, count_value=figures.commits, sum_value=value)
        case Kind.COUNTER:
            family: CounterMetricFamily | GaugeMetricFamily = CounterMetricFamily(
                name, declared.meaning, labels=declared.labels
            )
        case Kind.GAUGE:
            family = GaugeMetricFamily(name, declared.meaning, labels=declared.labels)
    for labels, number in _rows(declared, figures, value):
        family.add_metric(labels, number)
    return family


def _rows(declared: Declared, figures: Figures, value: object) -> Iterator[tuple[list[str], float]]:
    """(label values, number) of a counter or gauge."""
    if declared.source == "egress_state":
        yield from (([state], float(state == value)) for state in figures.egress_states)
    elif isinstance(value, Mapping):
        for key, number in sorted(value.items()):
            yield list(key) if isinstance(key, tuple) else [key], float(number)
    elif isinstance(value, int | float):
        yield [], float(value)


class _Once:
    """A collector over figures that were read before."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """All families, the relay's identity first."""
        figures = self._figures
        identity = GaugeMetricFamily(PREFIX + "info", "The relay.", labels=("version", "lane", "slot", "class", "form"))
        identity.add_metric([figures.version, figures.lane, figures.slot, figures.traffic_class, figures.form], 1.0)
        yield identity
        for declared in CATALOGUE:
            yield _family(declared, figures)


def expose(figures: Figures) -> bytes:
    """The exposition text of Prometheus for these figures."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(figures))
    registry.register(_PROCESS)
    return generate_latest(registry)
