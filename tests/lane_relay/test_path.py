"""What the path tells the other stages of an attempt: of a refused address only where the address was refused."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_api.relayconfig import RelayConfig
from lane_relay.account.settle import Outcome, OutcomeOf
from lane_relay.backlog import Backlog
from lane_relay.clock import Clock
from lane_relay.path import MessagePath
from lane_relay.records import QueueEntry, RecipientResult, Reply, Verdict
from lane_relay.warmup.warmer import Warmer

DAY = 86_400.0


def config() -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out.test"},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "delivery": {"policies": [{"name": "isp"}]},
            "warmup": {},
        }
    )


@pytest.mark.parametrize(
    ("verdict", "is_refused"),
    [
        (Verdict(Category.SPAM_RELATED, Action.SUSPEND_SITE, Scope.IP), True),
        (Verdict(Category.SPAM_RELATED, Action.QUARANTINE_IP, Scope.LANE), True),
        (Verdict(Category.RATE_LIMITED, Action.SUSPEND_SITE, Scope.IP), False),  # the pace, and not the address
        (Verdict(Category.RATE_LIMITED, Action.QUARANTINE_IP, Scope.LANE), False),
        (Verdict(Category.SPAM_RELATED, Action.SUSPEND_SITE, Scope.DOMAIN), False),
        (Verdict(Category.SPAM_RELATED, Action.BACKOFF, Scope.IP), False),
    ],
)
def test_three_replies_take_a_step_of_the_warm_up_where_they_refuse_the_address(
    verdict: Verdict, is_refused: bool
) -> None:
    now = [1_800_000_000.0]
    clock = Clock(now=lambda: now[0], monotonic=lambda: now[0])
    nothing = cast("Any", None)
    path = MessagePath(nothing, nothing, clock)
    path.warmer = warmer = Warmer(config(), clock, "", lambda _name, _value: None)
    path.feedback = cast("Any", SimpleNamespace(counts_complaints=False))
    for number in range(103):
        entry = QueueEntry(number, 0, "d.test", (0,), 1, 0.0)
        warmer.admit("isp", entry)
        result = RecipientResult(0, Stage.RCPT, Reply(421, ("4.7.0 Later",)), verdict)
        good = RecipientResult(0, Stage.END_OF_DATA, Reply(250), Verdict(Category.OTHER, None))
        refused = number < 3
        path.on_counted(
            "isp",
            entry,
            OutcomeOf(result if refused else good, Outcome.DEFERRED if refused else Outcome.DELIVERED),
        )
    now[0] += DAY
    ((_, isp, _),) = warmer.states()
    assert (isp.reason == "the ISP refused the address") is is_refused
    assert isp.step == (0 if is_refused else 1)


def test_what_was_attempted_once_is_not_what_waits_for_us() -> None:
    nothing = cast("Any", None)
    backlog = Backlog()
    path = MessagePath(nothing, backlog, Clock(now=lambda: 0.0, monotonic=lambda: 0.0))
    path.schedule = cast("Any", SimpleNamespace(add=lambda _entry: None))
    old, new, tried = (QueueEntry(number << 40, 0, "d.test", (0, 1), 1, 0.0) for number in (1, 2, 3))
    for entry in (old, new):
        path.on_taken_over(entry)
    path.on_tried(old)
    old.attempts = 1
    part = replace(old, recipients=(0,))
    path.on_parted(part)
    tried.attempts = 4
    path.on_taken_over(tried)

    assert (path.untried.entries, backlog.entries) == (1, 4)
    for entry in (old, part, tried, new):
        path.on_finished(entry)
    assert (path.untried.entries, backlog.entries) == (0, 0)
