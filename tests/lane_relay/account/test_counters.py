"""What counts against a lane's promise, and what does not."""

import pytest
from msgspec.structs import replace

from lane_api.isppolicy import Category
from lane_relay.account.counters import Counters
from lane_relay.account.settle import Outcome, OutcomeOf
from tests.lane_relay.account.attempts import BOUNCE, OK, RETRY


@pytest.mark.parametrize(
    ("category", "outcome", "missed"),
    [
        (Category.BAD_MAILBOX, Outcome.BOUNCED, 0),
        (Category.QUOTA_ISSUES, Outcome.EXPIRED, 0),
        (Category.SPAM_RELATED, Outcome.BOUNCED, 1),
        (Category.MESSAGE_EXPIRED, Outcome.EXPIRED, 1),
        (Category.OTHER, Outcome.DEFERRED, 0),
        (Category.POLICY_RELATED, Outcome.SUPPRESSED, 0),
        (Category.POLICY_RELATED, Outcome.DROPPED, 0),
    ],
)
def test_only_what_is_given_up_for_no_reason_of_the_recipients_is_missed(
    category: Category, outcome: Outcome, missed: int
) -> None:
    counters = Counters()
    base = RETRY if outcome is Outcome.DEFERRED else BOUNCE
    counters.count("google", OutcomeOf(replace(base, verdict=replace(base.verdict, category=category)), outcome))
    counters.count("google", OutcomeOf(OK, Outcome.DELIVERED))
    assert counters.missed == missed
