"""The reply table: first match, own rules before ours, bad rules never in force."""

from typing import Any

import pytest
import re2

from lane_api.isppolicy import Action, Category, ResponseRule, Scope, Stage, Trigger
from lane_api.relayconfig import SitePolicy
from lane_api.responses import check_rules, matching_text
from lane_relay.deliver.default_rules import GREETING_RULES, MESSAGE_RULES
from lane_relay.deliver.rules import ReplyTable, RuleSet, first_digits
from lane_relay.guard import CONTAINED
from lane_relay.records import Reply
from tests.lane_relay.replies.corpus import TABLES, corpus


def rule(name: str, pattern: str, *examples: str, **more: Any) -> ResponseRule:
    values = {"category": Category.OTHER, "action": Action.RETRY, **more}
    return ResponseRule(id=name, pattern=pattern, examples=examples, **values)


def reply(text: str) -> Reply:
    return Reply(int(text[:3]), (text[4:],))


@pytest.mark.parametrize(
    ("code", "lines", "text"),
    [
        (550, ("5.1.1 Unknown",), "550 5.1.1 Unknown"),
        (550, ("5.7.1 Blocked", "5.7.1 see http://x"), "550-5.7.1 Blocked see http://x"),
        (421, ("Slow", "down"), "421-Slow down"),
        (550, ("5.7.1 a", "5.7.2 b"), "550-5.7.1 a 5.7.2 b"),
        (250, (), "250 "),
    ],
)
def test_text_for_matching_joins_lines_and_drops_repeated_codes(code: int, lines: tuple[str, ...], text: str) -> None:
    assert matching_text(code, lines) == text


@pytest.mark.parametrize("rules", [GREETING_RULES, MESSAGE_RULES], ids=["greeting", "message"])
def test_the_default_rules_hold_their_own_examples_and_none_is_shadowed(rules: tuple[ResponseRule, ...]) -> None:
    assert check_rules(rules, re2.compile) == []


@pytest.mark.parametrize("example", [(rule, text) for rule in MESSAGE_RULES for text in rule.examples])
def test_every_example_of_a_default_rule_is_judged_by_that_rule(example: tuple[ResponseRule, str]) -> None:
    expected, text = example
    stage = expected.stage if expected.stage is not Stage.ANY else Stage.END_OF_DATA
    verdict = ReplyTable().judge("", stage, Reply(int(text[:3]), (text[4:],)))
    assert (verdict.category, verdict.action) == (expected.category, expected.action)


SOURCE_RELATED = [
    "550 5.7.1 Unfortunately, messages from [203.0.113.7] weren't sent. Please contact your provider (S3150).",
    "554 IP=203.0.113.7 - Dialup/transient IP/hostname not allowed. (DIAL)",
    "550 Ip frequency limited [abc]",
    "554 5.7.1 Service unavailable; Client host [203.0.113.7] blocked using zen.spamhaus.org",
    "550 5.7.606 Access denied, banned sending IP [203.0.113.7]",
    "554 5.7.1 <mail.example[203.0.113.7]>: Client host rejected: Access denied",
    "553 5.7.1 [BL21] Connections will not be accepted from 203.0.113.7, because the ip is in Spamhaus's list",
    "550-5.7.25 The IP address sending this message does not have a PTR record setup",
]


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.EHLO, Stage.MAIL, Stage.RCPT])
@pytest.mark.parametrize("text", SOURCE_RELATED)
def test_a_refusal_of_the_source_never_bounces_the_recipient(text: str, stage: Stage) -> None:
    verdict = ReplyTable().judge("", stage, reply(text))
    assert verdict.action in (Action.BACKOFF, Action.SUSPEND_SITE)
    assert verdict.scope is Scope.IP
    assert verdict.retry_after is not None


@pytest.mark.parametrize("code", [*range(400, 560, 7), 599])
@pytest.mark.parametrize("stage", list(Stage))
def test_every_reply_gets_a_verdict_and_no_4yz_ever_bounces(code: int, stage: Stage) -> None:
    verdict = ReplyTable().judge("", stage, Reply(code, ("whatever",)))
    assert verdict.action is not None
    if code < 500:
        assert verdict.action is not Action.BOUNCE
    elif stage in (Stage.CONNECT, Stage.EHLO) and code != 521:
        assert verdict.action is Action.BACKOFF


@pytest.mark.parametrize(
    ("pattern", "digits"),
    [
        ("^4.*slow", "4"),
        ("(?i)^55[0-9] (a|b)", "5"),
        ("^421 a|^5", "45"),
        ("^(4|530)", "45*"),
        ("^[45]..", "45*"),
        ("^5.*a|b", "45*"),
        ("^5.*(a|b)|^5[|]|^5\\|", "5"),
        ("^5?1", "45*"),
        ("slow", "45*"),
    ],
)
def test_a_rule_is_left_out_only_where_its_pattern_cannot_match(pattern: str, digits: str) -> None:
    assert first_digits(pattern) == {digit.strip("*") for digit in digits}


@pytest.mark.parametrize("rules", [GREETING_RULES, MESSAGE_RULES], ids=["greeting", "message"])
def test_rules_matched_together_find_what_each_alone_would_find(rules: tuple[ResponseRule, ...]) -> None:
    together = RuleSet("x", rules)
    alone = [(one, re2.compile(one.pattern)) for one in rules]
    for text in [*(sample.text for sample in corpus(TABLES)), "354 5.0.0 the connection limit is reached", "", "2"]:
        matching = [one for one, pattern in alone if pattern.search(text) is not None]
        for stage in (Stage.CONNECT, Stage.RCPT, Stage.END_OF_DATA):
            first = next((one for one in matching if one.stage in (stage, Stage.ANY)), None)
            assert together.first(stage, text) is first, text


@pytest.mark.parametrize(
    ("stage", "text", "category"),
    [
        (Stage.MAIL, "550 Domain does not exist", Category.INVALID_SENDER),
        (Stage.RCPT, "550 Domain does not exist", Category.BAD_DOMAIN),
        (Stage.MAIL, "550 Unknown user", Category.INVALID_SENDER),
        (Stage.DATA, "550 Unknown user", Category.BAD_MAILBOX),
        (Stage.MAIL, "451 domain not found", Category.INVALID_SENDER),
    ],
)
def test_what_is_not_there_at_mail_is_the_sender(stage: Stage, text: str, category: Category) -> None:
    assert ReplyTable().judge("", stage, reply(text)).category is category


@pytest.mark.parametrize(
    ("text", "category", "action"),
    [
        ("451 4.7.1 rate limited due to poor reputation", Category.SPAM_RELATED, Action.BACKOFF),
        ("421 4.7.0 rate limited, too many connections", Category.RATE_LIMITED, Action.BACKOFF),
        ("550 Client host blocked using Spamhaus", Category.SPAM_RELATED, Action.SUSPEND_SITE),
        ("550 Dynamic IP addresses are on our block list", Category.POLICY_RELATED, Action.SUSPEND_SITE),
        ("550 blocked by the recipient", Category.POLICY_RELATED, Action.BOUNCE),
        ("550 your email address has been blacklisted", Category.SPAM_RELATED, Action.BOUNCE),
        ("550 content rejected", Category.CONTENT_RELATED, Action.BOUNCE),
        ("550 content rejected as spam", Category.SPAM_RELATED, Action.BOUNCE),
        ("552 5.2.2 mailbox full and inactive", Category.QUOTA_ISSUES, Action.BOUNCE),
        ("550 5.1.1 inactive mailbox", Category.INACTIVE_MAILBOX, Action.BOUNCE),
        ("451 server busy", Category.RATE_LIMITED, Action.BACKOFF),
        ("451 temporary server error", Category.OTHER, Action.RETRY),
        ("421 service not available", Category.BAD_CONNECTION, Action.RETRY),
        ("550 rejected for policy reasons: DMARC", Category.AUTH_FAILURE, Action.BOUNCE),
    ],
)
def test_where_two_categories_fit_the_order_of_the_definitions_decides(
    text: str, category: Category, action: Action
) -> None:
    """docs/replies.md, what a category means and which wins."""
    verdict = ReplyTable().judge("", Stage.RCPT, reply(text))
    assert (verdict.category, verdict.action) == (category, action)


def test_at_the_greeting_nothing_bounces_but_for_a_host_that_takes_no_mail() -> None:
    """Whose message it would be was not said yet."""
    assert [one.id for one in GREETING_RULES if one.action is Action.BOUNCE] == ["accepts-no-mail"]
    verdict = ReplyTable().judge("", Stage.CONNECT, reply("554 sender blacklisted"))
    assert (verdict.category, verdict.action) == (Category.SPAM_RELATED, Action.SUSPEND_SITE)


def test_an_enhanced_code_alone_never_decides() -> None:
    assert ReplyTable().judge("", Stage.RCPT, reply("450 5.1.1 busy")).action is Action.RETRY


def _policy(*rules: ResponseRule, **more: Any) -> SitePolicy:
    return SitePolicy(name="isp", responses=rules, **more)


def test_the_policy_s_own_rules_come_first_and_name_themselves() -> None:
    own = rule("ours", "^550 .*unknown", "550 user unknown", action=Action.BACKOFF, category=Category.RATE_LIMITED)
    verdict = ReplyTable((_policy(own),)).judge("isp", Stage.RCPT, reply("550 5.1.1 user unknown"))
    assert (verdict.rule, verdict.action) == ("isp/ours", Action.BACKOFF)
    assert ReplyTable((_policy(own),)).judge("", Stage.RCPT, reply("550 5.1.1 user unknown")).action is Action.BOUNCE


def test_the_first_rule_that_matches_at_the_stage_wins() -> None:
    rules = (
        rule("a", "slow", "450 slow", stage=Stage.MAIL),
        rule("b", "slow", "450 slow down", stage=Stage.RCPT, action=Action.BACKOFF),
        rule("c", "down", "450 downtime"),
    )
    table = ReplyTable((_policy(*rules),))
    found = [table.judge("isp", stage, reply("450 slow down")).rule for stage in (Stage.MAIL, Stage.RCPT, Stage.DATA)]
    assert found == ["isp/a", "isp/b", "isp/c"]


def test_retry_and_hold_come_from_the_rule_then_the_policy() -> None:
    rules = (
        rule("own", "one", "450 one", retry_after=7.0),
        rule("policy", "two", "450 two", action=Action.BACKOFF),
    )
    more = {"retry_after": 900.0, "backoff": {"for": "1h"}}
    table = ReplyTable((SitePolicy.model_validate({"name": "isp", "responses": rules, **more}),))
    assert table.judge("isp", Stage.RCPT, reply("450 one")).retry_after == 7.0
    verdict = table.judge("isp", Stage.RCPT, reply("450 two"))
    assert (verdict.retry_after, verdict.act_for) == (900.0, 3600.0)
    assert table.judge("isp", Stage.RCPT, reply("450 4.7.1 Greylisted")).retry_after == 900.0
    assert table.judge("isp", Stage.RCPT, reply("550 5.1.1 unknown user")).retry_after is None


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ((rule("a", "(", "450 x"),), "rule a: the pattern is no RE2 expression"),
        ((rule("a", "yes", "450 no"),), "rule a: the pattern misses its own example '450 no'"),
        ((rule("a", "x", "no code x"),), "rule a: the example 'no code x' does not begin with a reply code"),
        (
            (rule("a", "slow", "450 slow"), rule("b", "slow down", "450 slow down")),
            "rule b: shadowed, since the earlier rule a matches its example '450 slow down'",
        ),
        ((rule("a", "x", "450 x"), rule("a", "y", "450 y")), "rule a: the id is used twice"),
        (
            (rule("a", "x", "450 x", action=Action.QUARANTINE_IP, scope=Scope.RECIPIENT),),
            "rule a: action QuarantineIP is about IP or Lane: set scope to that, or leave it out",
        ),
        (
            (rule("a", "x", "450 x", trigger=Trigger(count=2, per=60)),),
            "rule a: trigger counts replies before an act is done, and Retry is no act: leave it out",
        ),
    ],
)
def test_bad_rules_are_named_with_their_reason(rules: tuple[ResponseRule, ...], problem: str) -> None:
    assert any(found.startswith(problem) for found in check_rules(rules, re2.compile))


def test_rules_at_different_stages_do_not_shadow_each_other() -> None:
    rules = (rule("a", "slow", "450 slow", stage=Stage.MAIL), rule("b", "slow", "450 slow", stage=Stage.RCPT))
    assert check_rules(rules, re2.compile) == []


@pytest.mark.parametrize(
    ("action", "about", "lasts"),
    [
        (Action.BOUNCE, Scope.RECIPIENT, None),
        (Action.RETRY, Scope.RECIPIENT, None),
        (Action.ALERT, Scope.RECIPIENT, None),
        (Action.BACKOFF, Scope.SITE, 1800.0),
        (Action.SUSPEND_SITE, Scope.SITE, 3600.0),
        (Action.QUARANTINE_IP, Scope.IP, 7200.0),
        (Action.SUSPEND_DOMAIN, Scope.DOMAIN, 3600.0),
    ],
)
def test_what_a_rule_leaves_out_follows_from_its_action(action: Action, about: Scope, lasts: float | None) -> None:
    verdict = ReplyTable((_policy(rule("a", "x", "450 x", action=action)),)).judge("isp", Stage.RCPT, reply("450 x"))
    assert (verdict.scope, verdict.act_for, verdict.trigger) == (about, lasts, None)


def test_a_policy_with_bad_rules_keeps_its_last_good_ones() -> None:
    good = rule("good", "slow", "450 slow", action=Action.BACKOFF)
    table = ReplyTable((_policy(good),))
    table.apply((_policy(rule("bad", "(", "450 x")),))
    assert table.judge("isp", Stage.RCPT, reply("450 slow")).rule == "isp/good"
    assert "bad" in table.problems["isp"][0]
    table.apply((_policy(good),))
    assert table.problems == {}
    table.apply(())
    assert table.judge("isp", Stage.RCPT, reply("450 slow")).rule == "default/temporary"


def test_a_policy_that_was_never_good_falls_back_to_the_default_rules() -> None:
    table = ReplyTable((_policy(rule("bad", "(", "450 x")),))
    assert table.judge("isp", Stage.RCPT, reply("550 5.1.1 no such user")).category is Category.BAD_MAILBOX


def test_beside_a_bad_rule_the_sound_ones_of_a_policy_that_was_never_good_are_in_force() -> None:
    """A process that starts while a rule is bad has no last good version to fall back on."""
    bad = rule("bad", "(", "450 x")
    table = ReplyTable((_policy(rule("slow", "slow", "450 slow"), bad),))
    assert table.judge("isp", Stage.RCPT, reply("450 slow")).rule == "isp/slow"
    assert "bad" in table.problems["isp"][0]
    table.apply((_policy(bad, rule("late", "late", "450 late")),))
    assert table.judge("isp", Stage.RCPT, reply("450 late")).rule == "isp/late"
    assert table.judge("isp", Stage.RCPT, reply("450 slow")).rule == "default/temporary"
    table.apply((_policy(rule("slow", "slow", "450 slow")),))
    assert table.problems == {}


def test_behind_a_rule_that_is_left_out_nothing_bounces_and_nothing_is_shadowed_by_it() -> None:
    """What the one left out was to catch, a throttle in a 550 say, must not be lost to a broader one."""
    misses = rule("misses", "S3150|late", "550 S3140 our network is limited", action=Action.BACKOFF)
    before = rule("before", "nobody", "550 nobody here", action=Action.BOUNCE)
    behind = rule("behind", "late|^550", "550 too late", action=Action.BOUNCE)
    table = ReplyTable((_policy(before, misses, behind),))
    assert table.judge("isp", Stage.RCPT, reply("550 nobody here")).action is Action.BOUNCE
    verdict = table.judge("isp", Stage.RCPT, reply("550 S3150 limited"))
    assert (verdict.rule, verdict.action) == ("isp/behind", Action.RETRY)


def test_rules_beside_a_bad_one_are_no_good_version_that_would_stay() -> None:
    bad = rule("bad", "(", "450 x")
    table = ReplyTable((_policy(rule("slow", "slow", "450 slow"), bad),))
    table.apply((_policy(rule("slow", "slow", "450 slow")),))
    table.apply((_policy(bad),))
    assert table.judge("isp", Stage.RCPT, reply("450 slow")).rule == "isp/slow"


@pytest.mark.parametrize("address", ["throttle@example.com", "css.spamhaus@example.com", "a@rate-limit.com"])
@pytest.mark.parametrize(
    "text", ["<{}>: Recipient address rejected: User unknown", "The account {} does not exist", "<{}> no such user"]
)
def test_an_address_that_a_peer_repeats_says_nothing_about_the_source(address: str, text: str) -> None:
    """Else whoever may choose a recipient could stop a lane's mail to that ISP for an hour."""
    verdict = ReplyTable().judge("", Stage.RCPT, Reply(550, ("5.1.1 " + text.format(address),)))
    assert (verdict.category, verdict.action) == (Category.BAD_MAILBOX, Action.BOUNCE)


def test_a_reply_whose_judgement_breaks_is_tried_again() -> None:
    before = CONTAINED["reply rules"]
    broken: Any = (None,)  # local parts that are none: a fault on purpose
    verdict = ReplyTable().judge("", Stage.RCPT, Reply(550, ("5.1.1 no such user ann",)), broken)
    assert (verdict.action, CONTAINED["reply rules"]) == (Action.RETRY, before + 1)
