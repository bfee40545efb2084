"""How far the shipped policies and the default table agree with the labels of the corpus, and which rules are dead.

`python -m tests.lane_relay.replies.agreement` prints it and writes `build/figures/replies.json`; a target of `make`.
A policy is read as the operator reads it and given to the reply table as a relay has it.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import re2
import yaml

from e2e.figures import clear, record
from lane_api.isppolicy import Action, ISPPolicySpec, ResponseRule, Stage
from lane_api.relayconfig import SitePolicy
from lane_api.responses import check_rules
from lane_relay.deliver.default_rules import GREETING_RULES, MESSAGE_RULES
from lane_relay.deliver.rules import ReplyTable
from lane_relay.records import Reply
from tests.lane_relay.replies.corpus import BLIND, BLIND_2, BLIND_3, FRESH, HALVES, TABLES, Sample, corpus

POLICIES: Final = Path(__file__).parents[3] / "charts" / "lanewright" / "files" / "policies"
COMMAND: Final = "make replies"
TARGET: Final = 0.97
_LABEL_OF: Final = {
    Action.SUSPEND_SITE: "Stop",
    Action.QUARANTINE_IP: "Stop",
    Action.SUSPEND_DOMAIN: "StopDomain",
}


@dataclass(frozen=True)
class Disagreement:
    """A reply that is judged otherwise than it is labelled."""

    sample: Sample
    category: str
    action: str
    rule: str

    def __str__(self) -> str:
        """On one line."""
        wanted = f"{self.sample.category}/{self.sample.action}"
        return (
            f"{self.sample.isp}: {wanted}, not {self.category}/{self.action} by {self.rule}: {self.sample.text[:160]}"
        )


@cache
def shipped() -> dict[str, ISPPolicySpec]:
    """The policies of the chart, by name."""
    files = [yaml.safe_load(path.read_text()) for path in sorted(POLICIES.glob("*.yaml"))]
    return {one["metadata"]["name"]: ISPPolicySpec.model_validate(one["spec"]) for one in files}


def table(leave_out: str = "") -> ReplyTable:
    """What a relay judges by with the shipped policies, less one rule (`policy/id`) for the seeded fault."""
    return ReplyTable(
        tuple(
            SitePolicy(
                name=name,
                mx=spec.match.mx,
                retry_after=spec.retry_after,
                backoff=spec.backoff,
                responses=tuple(rule for rule in spec.responses if f"{name}/{rule.id}" != leave_out),
            )
            for name, spec in shipped().items()
        )
    )


def disagreements(half: str, judged_by: ReplyTable) -> list[Disagreement]:
    """Replies of a half that are judged otherwise; where the source names no stage, as at RCPT."""
    found = []
    for sample in corpus(half):
        reply = Reply(int(sample.text[:3]), (sample.text[4:],))
        verdict = judged_by.judge(sample.isp, sample.stage or Stage.RCPT, reply)
        assert verdict.action is not None
        action = _LABEL_OF.get(verdict.action, str(verdict.action))
        if (verdict.category, action) != (sample.category, sample.action):
            found.append(Disagreement(sample, verdict.category, action, verdict.rule))
    return found


def dead_rules() -> list[str]:
    """Rules that miss an example of theirs or that an earlier one shadows, of the chart and of the default table."""
    sets: dict[str, tuple[ResponseRule, ...]] = {name: spec.responses for name, spec in shipped().items()}
    sets |= {"default at the greeting": GREETING_RULES, "default": MESSAGE_RULES}
    return [f"{name}: {problem}" for name, rules in sets.items() for problem in check_rules(rules, re2.compile)]


def _apart(name: str, target: float | None, judged_by: ReplyTable) -> None:
    """Prints and records a set that is no half: what agreed in category and action, and in either."""
    found, size = disagreements(name, judged_by), len(corpus(name))
    agreed = {
        f"agreed_{name}": size - len(found),
        f"agreed_{name}_category": size - sum(row.category != row.sample.category for row in found),
        f"agreed_{name}_action": size - sum(row.action != row.sample.action for row in found),
    }
    print(*(f"{name}: {row}" for row in found), sep="\n")
    print(f"{name}: of {size}", *(f"{what} {count} ({count / size:.1%})" for what, count in agreed.items()))
    for what, count in agreed.items():
        record("replies", what, round(count / size, 4), "share", target, "higher", COMMAND)


def main() -> None:
    """Prints every disagreement, and records the figures."""
    clear("replies")
    judged_by = table()
    found = {half: disagreements(half, judged_by) for half in HALVES}
    for half, rows in found.items():
        for row in rows:
            print(f"{half}: {row}")
    for half in HALVES:
        size = len(corpus(half))
        share = 1 - len(found[half]) / size
        print(f"{half}: {size - len(found[half])} of {size} agreed ({share:.1%})")
        record("replies", f"corpus_{half}", size, "replies", None, "higher", COMMAND)
        record("replies", f"agreed_{half}", round(share, 4), "share", TARGET, "higher", COMMAND)
    for other, target in ((FRESH, None), (TABLES, TARGET), (BLIND, TARGET), (BLIND_2, TARGET), (BLIND_3, TARGET)):
        _apart(other, target, judged_by)
    everything = sum(len(corpus(half)) for half in HALVES)
    wrong = sum(map(len, found.values()))
    record("replies", "corpus", everything, "replies", 300, "higher", COMMAND)
    record("replies", "agreed", round(1 - wrong / everything, 4), "share", TARGET, "higher", COMMAND)
    dead = dead_rules()
    print(
        *dead, f"{len(dead)} dead rules of {sum(len(spec.responses) for spec in shipped().values())} shipped", sep="\n"
    )
    record("replies", "dead_rules", len(dead), "rules", 0, "lower", COMMAND)
    seeded = sum(len(disagreements(half, table("yahoo/deferred"))) for half in HALVES) - wrong
    print(f"seeded fault, yahoo/deferred left out: {seeded} more disagreements")
    record("replies", "seeded_fault_disagreements", seeded, "replies", 1, "higher", COMMAND)


if __name__ == "__main__":
    main()
