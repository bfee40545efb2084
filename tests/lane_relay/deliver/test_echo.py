"""What a peer repeats of ours is not its word: whoever hands mail in chooses addresses, not what stops a site."""

import time
from pathlib import Path

import pytest
import re2
import yaml

from lane_api.isppolicy import Action, ISPPolicySpec, ResponseRule, Stage
from lane_api.relayconfig import SitePolicy
from lane_api.responses import check_rules, without_echo
from lane_relay.deliver.rules import ReplyTable, without_addresses
from lane_relay.records import Reply
from lane_relay.smtp.reply import MAX_REPLY_BYTES

SHIPPED = Path("charts/lanewright/files/policies")
_ACTS = (Action.BACKOFF, Action.SUSPEND_SITE, Action.QUARANTINE_IP, Action.SUSPEND_DOMAIN)


def policies() -> list[SitePolicy]:
    found = []
    for file in sorted(SHIPPED.glob("*.yaml")):
        spec = ISPPolicySpec.model_validate(yaml.safe_load(file.read_text())["spec"])
        found.append(SitePolicy.model_validate({"name": file.stem, "mx": ("*",), "responses": spec.responses}))
    return found


def spellings(rule: ResponseRule) -> list[str]:
    """Local parts that say what the rule's own example says."""
    words = [example[4:64].strip() for example in rule.examples]
    quoted = [f'"{word}"' for word in words if '"' not in word and "\\" not in word]
    plain = [word.replace(" ", "_") for word in words if "@" not in word and "<" not in word and ">" not in word]
    return quoted + plain


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: policy.name)
@pytest.mark.parametrize("answer", ["5.1.1 <{}@b.example>: User unknown", "5.1.1 User unknown: {}@b.example"])
def test_no_address_sets_off_a_rule_that_slows_or_stops(policy: SitePolicy, answer: str) -> None:
    table = ReplyTable((policy,))
    tried = 0
    for rule in policy.responses:
        if rule.action not in _ACTS:
            continue
        for local in spellings(rule):
            tried += 1
            verdict = table.judge(policy.name, Stage.RCPT, Reply(550, (answer.format(local),)))
            assert verdict.action not in _ACTS, (rule.id, local)
    assert tried or not any(rule.action in _ACTS for rule in policy.responses)


@pytest.mark.parametrize("local", ["OFR006_102", "S3150", "[BL21]_x", "ipcheck.blocked-1"])
def test_a_local_part_alone_is_masked_where_the_recipient_is_known(local: str) -> None:
    assert without_echo(f"550 5.1.1 {local}: unknown", (local,)) == "550 5.1.1 x: unknown"
    assert without_echo(f"550 5.1.1 {local}: unknown", ("another",)) == f"550 5.1.1 {local}: unknown"


def test_codes_and_plain_words_stay_whatever_the_recipient_is_called() -> None:
    """Else `user@` would make `user unknown` a reply that nobody knows, and `5.7.1@` hide an enhanced code."""
    assert without_echo("550 5.1.1 user unknown", ("user",)) == "550 5.1.1 user unknown"
    assert without_echo("550 5.7.1 blocked", ("5.7.1", "550")) == "550 5.7.1 blocked"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("550 <a@b.example>: no", "550 <x@x>: no"),
        ("550 [a@b.example]: no", "550 x@x]: no"),
        ('550 "Suspected spam ip"@b.example: no', "550 x@x: no"),
        ('550 <"a > b"@b.example>: no', "550 <x@x>: no"),
        ("550 a@b.example, c@d.example (e@f.example:blocked)", "550 x@x, x@x x@x:blocked)"),
    ],
)
def test_addresses_keep_their_place_and_their_brackets(text: str, read: str) -> None:
    assert without_echo(text) == read


def test_a_rule_that_needs_a_certain_address_is_refused_with_the_reason() -> None:
    rule = ResponseRule(
        id="r",
        pattern=r"postmaster@example\.com",
        category="other",
        action="Retry",
        examples=("550 see postmaster@example.com",),
    )
    (problem,) = check_rules((rule,), re2.compile)
    assert "reads '550 see x@x', for addresses are masked" in problem


@pytest.mark.parametrize("words", ["a", "@", "<@", "<", "<a@", "a@", '"', "a.", ":", '\\"'])
@pytest.mark.parametrize("before", ["", "<", '"'])
def test_the_time_that_a_reply_takes_grows_with_its_length_and_not_with_its_square(words: str, before: str) -> None:
    """Whoever is mailed chooses what his server says, and all of the lane's mail waits while it is read."""
    reply = Reply(421, (before + words * (MAX_REPLY_BYTES // len(words)),))
    table = ReplyTable()
    begun = time.thread_time()
    table.judge("", Stage.RCPT, reply, ("user.1",))
    without_addresses(reply)
    assert time.thread_time() - begun < 1.0  # with the square of it: 2 to 10 s


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("<a@b.example>: no", "<x@x>: no"),
        ("<@relay.example:a@b.example> no", "<x@x> no"),
        ("a@b@c.example no", "x@x@c.example no"),
        ('"a b"@c.example no', "x@x no"),
        (f"{'l' * 64}@b.example no", "x@x no"),
        (f"{'l' * 64}=b.example@c.example no", "x@x no"),
    ],
)
def test_each_address_reads_the_same(said: str, read: str) -> None:
    assert without_echo(f"550 5.1.1 {said}") == f"550 5.1.1 {read}"
