"""Samples of replies without a rule: masked, grouped, bounded, each with a rule that works."""

import pytest
import re2

from lane_api.isppolicy import ResponseRule, Stage
from lane_api.responses import check_rules
from lane_relay.deliver.rules import ReplyTable
from lane_relay.deliver.samples import ReplySample, ReplySamples, masked, masked_text, suggestion
from lane_relay.records import Reply
from tests.lane_relay.replies.corpus import HALVES, corpus

TABLE = ReplyTable()


def note(samples: ReplySamples, text: str, site: str = "isp", now: float = 0.0) -> None:
    reply = Reply(int(text[:3]), (text[4:],))
    samples.note(site, "", Stage.RCPT, reply, TABLE.judge("", Stage.RCPT, reply), now)


def test_replies_that_differ_in_numbers_addresses_hosts_and_ids_are_one_sample() -> None:
    samples = ReplySamples()
    note(samples, "451 4.7.1 <a@b.example>: try mx1.b.example [192.0.2.1] later, id 4Xk2-99 see https://b.example/?x=1")
    note(
        samples,
        "451 4.7.1 <cc@d.test>: try mx9.d.test [2001:db8::7] later, id 7Qp1-12 see http://d.test/?x=2",
        now=9.0,
    )
    (sample,) = samples.listed()
    assert (sample.count, sample.first_seen, sample.last_seen) == (2, 0.0, 9.0)
    assert sample.text == "451 4.7.1 <ADDRESS>: try <HOST> [<IP>] later, id <N> see <URL>"


def test_code_and_enhanced_code_stay() -> None:
    assert masked(550, ("5.7.1 Refused 17",)) == "550 5.7.1 Refused <N>"
    assert masked(550, ("Refused",)) == "550 Refused"


@pytest.mark.parametrize("half", HALVES)
def test_the_suggested_rule_matches_its_example_and_every_reply_of_its_kind(half: str) -> None:
    """Over all published replies: a rule that one could not put into a policy as it is would be no suggestion."""
    made = 0
    for one in corpus(half):
        code, text = int(one.text[:3]), one.text[4:]
        if len(text) > 250:
            continue
        verdict = TABLE.judge("", Stage.RCPT, Reply(code, (text,)))
        sample = ReplySample("isp", "", Stage.RCPT, masked(code, (text,)), verdict, 0.0, 0.0)
        found = suggestion(sample)
        if found is None:
            continue
        made += 1
        rule = ResponseRule.model_validate(
            {"id": found.id, "pattern": found.pattern, "category": found.category, "action": found.action,
             "scope": found.scope, "examples": found.examples}
        )  # fmt: skip
        assert check_rules((rule,), re2.compile) == []
        assert re2.search(found.pattern, one.text) is not None, (found.pattern, one.text)
    assert made > 0.9 * sum(len(one.text) <= 254 for one in corpus(half))


def test_samples_are_bounded_a_site_and_in_all_and_the_longest_unseen_goes() -> None:
    samples = ReplySamples()
    words = ["".join(chr(97 + (number // 26**place) % 26) for place in range(3)) for number in range(2000)]
    for word in words[:30]:
        note(samples, f"450 reason {word}")
    assert len(samples.listed()) == 20
    assert "reason aaa" not in " ".join(sample.text for sample in samples.listed())
    for number, word in enumerate(words):
        note(samples, f"450 reason {word}", site=f"site{number // 4}", now=float(number))
    assert len(samples.listed()) == 500
    assert samples.dropped == 10 + 20 + 2000 - 500
    assert samples.counts == {"": 2030}


def test_a_storm_of_refusals_is_counted_whole_and_looked_at_in_part() -> None:
    samples = ReplySamples()
    for number in range(1000):
        note(samples, "450 4.2.0 not now", now=5.0 + number / 1000)
    note(samples, "450 4.2.0 not now", now=6.5)
    (sample,) = samples.listed()
    assert (samples.counts[""], sample.count, samples.skipped) == (1001, 201, 800)


def test_a_recipient_that_is_named_without_its_domain_is_masked_too() -> None:
    """By pattern alone `carl` is a word like any other; replies that differ in nothing else are one sample."""
    assert masked(550, ("5.1.1 User unknown: johnsmith",), "johnsmith@b.example") == "550 5.1.1 User unknown: <ADDRESS>"
    assert (
        masked(550, ("Mailbox for 'PeterPan' disabled",), "peterpan@b.example")
        == "550 Mailbox for '<ADDRESS>' disabled"
    )
    assert masked(550, ("no carl at b.example, carla is",), "carl@b.example") == "550 no <ADDRESS> at <HOST>, carla is"
    assert masked_text("550 5.7.1 192.0.2.1 is listed, case 17") == masked(550, ("5.7.1 192.0.2.1 is listed, case 17",))
    samples = ReplySamples()
    for name in ("carl", "anna", "ossip"):
        reply = Reply(550, (f"error delivering to {name}",))
        verdict = TABLE.judge("", Stage.RCPT, reply)
        samples.note("isp", "", Stage.RCPT, reply, verdict, 0.0, f"{name}@b.example")
    (sample,) = samples.listed()
    found = suggestion(sample)
    assert sample.count == 3
    assert found is not None
    assert "carl" not in found.pattern
