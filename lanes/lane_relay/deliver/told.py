"""What is told of replies: acts and samples as JSON for `/v1`, and their counts for `/metrics`.

Reads and changes nothing. Before it: `judgement`. After it: `slot`.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

from msgspec import to_builtins

from lane_relay.clock import rfc3339
from lane_relay.deliver.acts import Act
from lane_relay.deliver.judgement import Judgement
from lane_relay.deliver.ready_queue import ReadyQueue
from lane_relay.deliver.samples import ReplySample, ReplySamples, masked_text, suggestion
from lane_relay.metrics import OTHER_POLICY, Figures

__all__ = ["act_as_json", "add_figures", "samples_as_json", "slowed_sites", "stopped_sites"]

_MOST_STOPPED: Final = 1000


def act_as_json(act: Act) -> dict[str, Any]:
    """One thing that a reply rule stops or slows down."""
    return {
        "action": act.action,
        "site": act.site or "*",
        **({"domain": act.domain} if act.domain else {}),
        "since": rfc3339(act.since),
        "until": rfc3339(act.until),
        "rule": act.rule,
        "reply": act.reply,
        "sample": masked_text(act.reply),
    }


def samples_as_json(samples: ReplySamples | None) -> dict[str, Any]:
    """The answer to GET /v1/replies, the most frequent first; None: no reply was heard yet."""
    samples = samples or ReplySamples()
    return {
        "replies": [_sample(sample) for sample in samples.listed()],
        "counts": {policy or OTHER_POLICY: count for policy, count in samples.counts.items()},
        "dropped": samples.dropped,
        "skipped": samples.skipped,
    }


def add_figures(figures: Figures, judgement: Judgement, policies: Container[str], now: float) -> None:
    """What came of replies; a policy that has gone counts as `other`, its rules as themselves. `now`: Unix seconds."""

    def label(policy: str) -> str:
        return policy if policy in policies else OTHER_POLICY

    acts, alerts, replies, stopped = Counter[Any](), Counter[Any](), Counter[Any](), Counter[Any]()
    for (policy, action), count in judgement.done.items():
        acts[label(policy), str(action)] += count
    for (policy, rule), count in judgement.alerts.items():
        alerts[label(policy), rule] += count
    for policy, count in judgement.samples.counts.items():
        replies[label(policy)] += count
    for act in judgement.acts.listed():
        stopped[label(act.site), str(act.action)] += 1
    figures.reply_acts, figures.reply_alerts, figures.default_replies = acts, alerts, replies
    figures.acts_in_force = stopped
    figures.acts_observed = Counter((label(act.site), str(act.action)) for act in judgement.acts.observed(now))


def _sample(sample: ReplySample) -> dict[str, Any]:
    rule = suggestion(sample)
    return {
        "site": sample.site,
        "policy": sample.policy,
        "stage": sample.stage,
        "reply": sample.text,
        "count": sample.count,
        "firstSeen": rfc3339(sample.first_seen),
        "lastSeen": rfc3339(sample.last_seen),
        "judgedBy": sample.verdict.rule,
        "category": sample.verdict.category,
        "action": sample.verdict.action,
        "suggested": to_builtins(rule) if rule is not None else None,
    }


def slowed_sites(judgement: Judgement, sites: Mapping[str, ReadyQueue]) -> list[Act]:
    """The back-offs of whole sites that go on, climbing included, the first to begin first."""
    found = (judgement.acts.slowed(name) for name, site in sites.items() if site.is_backed_off)
    return sorted((act for act in found if act is not None), key=lambda act: act.since)


def stopped_sites(judgement: Judgement, sites: Iterable[ReadyQueue]) -> tuple[str, ...]:
    """Sites whose mail does not leave from here now, or slowly, by what they replied; an empty one: all of them."""
    acts = [act.site for act in judgement.acts.listed() if not act.domain]
    return (*acts, *[site.name for site in sites if site.is_backed_off])[:_MOST_STOPPED]
