"""The PromQL that alerts and dashboard share; each figure is asked for in one way only.

Metric names are the relay's (`lane_relay.metrics`; a test compares). `le` is written as prometheus_client does, as a
float: `le="60"` would match nothing and say so nowhere.
"""

from dataclasses import dataclass

from lane_operator.inputs import Lane

__all__ = ["Queries", "bound"]


def bound(seconds: float) -> str:
    """A histogram's upper edge as the client library writes it."""
    return repr(float(seconds))


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of one lane."""

    selector: str
    """Label matchers, without braces."""

    @classmethod
    def of(cls, lane: Lane) -> "Queries":
        """Of this lane's slots."""
        return cls(f'namespace="{lane.namespace}",lane="{lane.name}"')

    def metric(self, name: str, more: str = "") -> str:
        """One metric of the lane."""
        return f"lane_relay_{name}{{{self.selector}{',' + more if more else ''}}}"

    def rate(self, name: str, by: str, more: str = "", window: str = "5m") -> str:
        """Events a second of a counter."""
        return f"sum by ({by}) (rate({self.metric(name, more)}[{window}]))"

    def latency(self, quantile: float, window: str = "5m") -> str:
        """Seconds from acceptance to the receiver's 250; mail that is not delivered yet is not in it."""
        buckets = f"rate({self.metric('delivery_latency_seconds_bucket')}[{window}])"
        return f"histogram_quantile({quantile}, sum by (le) ({buckets}))"

    def latency_by_isp(self, quantile: float, window: str = "5m") -> str:
        """The same of each ISP policy with deliveries in the window; the others' would be no number."""
        buckets = f"rate({self.metric('delivery_latency_seconds_bucket')}[{window}])"
        return f"histogram_quantile({quantile}, sum by (policy, le) ({buckets})) >= 0"

    def in_time(self, seconds: float, window: str = "5m") -> str:
        """Of recipients whose mail came to an end in the window or is late now, the share that got it in that time."""
        inside = self.metric("delivery_latency_seconds_bucket", f'le="{bound(seconds)}"')
        return f"(sum(increase({inside}[{window}])) or vector(0)) / ({self._due(window)} > 0)"

    def late(self, seconds: float, window: str = "5m") -> str:
        """How many of them did not: delivered later, given up for no reason of their own, or waiting still."""
        inside = self.metric("delivery_latency_seconds_bucket", f'le="{bound(seconds)}"')
        return f"({self._due(window)} - (sum(increase({inside}[{window}])) or vector(0)))"

    def _due(self, window: str) -> str:
        """All of them; nobody is in it twice, since what is late now has not come to an end."""
        delivered, missed = self.metric("delivery_latency_seconds_count"), self.metric("recipients_missed_total")
        ended = (f"(sum(increase({one}[{window}])) or vector(0))" for one in (delivered, missed))
        return f"({' + '.join(ended)} + (sum({self.metric('queue_late')}) or vector(0)))"

    def deliveries(self, window: str = "5m") -> str:
        """Recipients delivered in the window."""
        return f"sum(increase({self.metric('delivery_latency_seconds_count')}[{window}]))"

    def expected_wait(self, window: str = "2m") -> str:
        """Seconds that the queue takes to empty at the present rate (Little's law): says so before latency does."""
        delivered = self.metric("attempts_total", 'result="delivered"')
        queue = f"sum({self.metric('queue_messages')})"
        return f"{queue} / clamp_min(sum(rate({delivered}[{window}])), 0.01)"

    def refused_by_us(self, window: str = "5m") -> str:
        """The share of messages refused because the slots could not take them: reasons 4.3.x, the state of the mail
        system (RFC 3463 section 3.4), and not what a client did wrong or too often."""
        refused = self.metric("intake_refused_total", 'reason=~"4.. 4[.]3[.].*"')
        accepted = self.metric("accepted_messages_total")
        lost = f"(sum(rate({refused}[{window}])) or vector(0))"
        return f"{lost} / ({lost} + sum(rate({accepted}[{window}])) > 0)"

    def egress_shut(self, window: str = "5m") -> str:
        """The share of the slots' time in which nothing could leave for want of a proof."""
        return f"avg(rate({self.metric('egress_shut_seconds_total')}[{window}]))"

    def queue_growth(self, window: str = "2m") -> str:
        """Messages a second by which the queue grows."""
        return f"sum(deriv({self.metric('queue_messages')}[{window}]))"
