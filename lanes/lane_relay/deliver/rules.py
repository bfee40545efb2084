"""The reply table: (site's policy, stage, reply) -> category, action, scope; the only place that judges replies.

A policy's own rules come first, then the default rules; the first match wins. A policy with a bad rule keeps its last
good version in force; where this process never saw one, the rules that nothing is wrong with are. `problems` says what
is wrong.
Before it: replies from sessions. After it: `account`, and back-off. Invariant: every reply gets a verdict.
"""

import re
from collections.abc import Sequence
from typing import Final

import re2

from lane_api.isppolicy import Action, Category, ResponseRule, Scope, Stage
from lane_api.relayconfig import SitePolicy
from lane_api.responses import check_rules, matching_text, sound_rules, without_echo
from lane_relay.deliver.default_rules import GREETING_RULES, MESSAGE_RULES
from lane_relay.guard import contain
from lane_relay.records import Reply, Verdict

__all__ = ["DELIVERED", "ReplyTable", "RuleSet", "without_addresses"]

_ADDRESS: Final = re.compile(r"<[^<>@]*@[^<>]*>|(?P<word>[^\s<>@]+)(?P<domain>@[^\s<>@:;,()\[\]]+)?")
"""Addresses, and words that are none, so that each is gone through once (as in `without_echo`)."""
_LASTS_S: Final[dict[Action, float | None]] = {
    Action.BACKOFF: None,
    Action.SUSPEND_SITE: 3600.0,
    Action.QUARANTINE_IP: 2 * 3600.0,
    Action.SUSPEND_DOMAIN: 3600.0,
}
"""How long acts last where the rule does not say; back-off: as its policy says, or as the lane's default does."""
_TOGETHER: Final = 16
"""Rules in one RE2 set. On the corpus, with other digits and ids in each reply, one set of all took 210 us a reply, 12,
16 or 20 together about 30; the same reply again takes least with 16."""
_MEMORY: Final = 8 << 20
"""Bytes that a set's automaton may take; it takes them only as replies differ."""
_FLAGS: Final = re.compile(r"^\(\?[a-z]+\)")
_FIRST_DIGIT: Final = re.compile(r"\^([45])(?![?*+{])")
DELIVERED: Final = Verdict(Category.OTHER, None)
_LOCAL_RETRY: Final = Verdict(Category.OTHER, Action.RETRY)
"""Of a reply outside 4yz and 5yz where one was due: the peer is confused, and may not be later."""


def without_addresses(reply: Reply) -> Reply:
    """The reply without the addresses that it repeats, for logs and reports: they name people."""
    return Reply(reply.code, tuple([_ADDRESS.sub(_nobody, line) for line in reply.lines]))


def _nobody(found: re.Match[str]) -> str:
    return found[0] if found["word"] and not found["domain"] else "<>"


class _Group:
    """Some rules that follow each other, matched in one pass over the text (an RE2 set)."""

    def __init__(self, rules: tuple[ResponseRule, ...]) -> None:
        self._rules = rules
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY
        self._set = re2.Set.SearchSet(options)
        for rule in rules:
            self._set.Add(rule.pattern)
        self._set.Compile()

    def first(self, stage: Stage, text: str) -> ResponseRule | None:
        for index in sorted(self._set.Match(text) or ()):
            rule: ResponseRule = self._rules[index]
            if rule.stage is stage or rule.stage is Stage.ANY:
                return rule
        return None


class RuleSet:
    """One ordered list of rules, matched in passes over the text, each for some of them.

    Replies differ in what they name, so RE2 builds its automaton on the way; where that outgrows its memory it is built
    anew, again and again, at a hundred times the price. Hence no set of all: a 4yz is not matched with what begins with
    ^5, nor the other way round, and of the rest few together.
    """

    def __init__(self, name: str, rules: tuple[ResponseRule, ...]) -> None:
        """Raises re2.error if a pattern is none; `check_rules` finds that out first."""
        self.name = name
        self.rules = rules
        self._groups: dict[str, tuple[_Group, ...]] = {}
        for digit in ("4", "5", ""):
            mine = [rule for rule in rules if digit in first_digits(rule.pattern)]
            parts = [tuple(mine[at : at + _TOGETHER]) for at in range(0, len(mine), _TOGETHER)]
            self._groups[digit] = tuple([_Group(part) for part in parts])

    def first(self, stage: Stage, text: str) -> ResponseRule | None:
        """The first rule that matches at this stage."""
        for group in self._groups.get(text[:1], self._groups[""]):
            rule = group.first(stage, text)
            if rule is not None:
                return rule
        return None


def first_digits(pattern: str) -> frozenset[str]:
    """The first digits of replies that a pattern can match: "4", "5" and "" (any other); all where it does not say."""
    found: set[str] = set()
    for alternative in _alternatives(_FLAGS.sub("", pattern)):
        named = _FIRST_DIGIT.match(alternative)
        found |= {named[1]} if named is not None else {"4", "5", ""}
    return frozenset(found)


def _alternatives(pattern: str) -> list[str]:
    """What stands between the outermost bars."""
    parts, depth, is_class, at = [""], 0, False, 0
    while at < len(pattern):
        char = pattern[at]
        step = 2 if char == "\\" else 1
        if is_class:
            is_class = char != "]"
        else:
            is_class = char == "["
            depth += (char == "(") - (char == ")")
            if char == "|" and depth == 0:
                parts.append("")
                at += 1
                continue
        parts[-1] += pattern[at : at + step]
        at += step
    return parts


class ReplyTable:
    """All rule sets in force."""

    def __init__(self, policies: tuple[SitePolicy, ...] = ()) -> None:
        self._greeting = RuleSet("default", GREETING_RULES)
        self._message = RuleSet("default", MESSAGE_RULES)
        self._policies: dict[str, SitePolicy] = {}
        self._sets: dict[str, RuleSet] = {}
        self._partial: set[str] = set()
        """Policies whose rules in force are what was sound in a version with a bad one, so no good version."""
        self.problems: dict[str, tuple[str, ...]] = {}
        """By policy: why its newest rules are not in force."""
        self.apply(policies)

    def apply(self, policies: tuple[SitePolicy, ...]) -> None:
        """Other policies; unchanged rules are not compiled again."""
        sets: dict[str, RuleSet] = {}
        problems: dict[str, tuple[str, ...]] = {}
        partial: set[str] = set()
        for policy in policies:
            known = self._sets.get(policy.name)
            if known is not None and known.rules == policy.responses:
                sets[policy.name] = known
                continue
            wrong = check_rules(policy.responses, re2.compile)
            if not wrong:
                sets[policy.name] = RuleSet(policy.name, policy.responses)
                continue
            problems[policy.name] = tuple(wrong)
            if known is not None and known.name not in self._partial:
                sets[policy.name] = known
                continue
            partial.add(policy.name)
            sets[policy.name] = RuleSet(policy.name, sound_rules(policy.responses, re2.compile))
        self._policies = {policy.name: policy for policy in policies}
        self._sets = sets
        self._partial = partial
        self.problems = problems

    def judge(self, policy: str, stage: Stage, reply: Reply, locals_: Sequence[str] = ()) -> Verdict:
        """What a peer's reply means, coming from a site of this policy (or of none: empty).

        `locals_`: the local parts of those it may be about, which it may repeat; they are not the peer's words.
        """
        if 200 <= reply.code < 300:
            return DELIVERED
        try:
            return self._judge(policy, stage, reply, locals_)
        except Exception as error:  # noqa: BLE001 -- whoever is mailed chooses the words
            contain("reply rules", error, policy=policy)
            return _LOCAL_RETRY

    def _judge(self, policy: str, stage: Stage, reply: Reply, locals_: Sequence[str]) -> Verdict:
        text = without_echo(matching_text(reply.code, reply.lines), locals_)
        own = self._sets.get(policy)
        rule = own.first(stage, text) if own is not None else None
        source = policy
        if rule is None:
            source = "default"
            default = self._greeting if stage is Stage.CONNECT or stage is Stage.EHLO else self._message
            rule = default.first(stage, text)
        if rule is None:
            return _LOCAL_RETRY
        return self._verdict(rule, f"{source}/{rule.id}", self._policies.get(policy))

    def local(self, policy: str, category: Category, scope: Scope = Scope.SITE) -> Verdict:
        """What our own observation (no connection, no answer) means: another try, after the policy's interval."""
        found = self._policies.get(policy)
        return Verdict(category, Action.RETRY, scope, found.retry_after if found is not None else None)

    @staticmethod
    def _verdict(rule: ResponseRule, name: str, policy: SitePolicy | None) -> Verdict:
        retry_after = act_for = None
        if rule.action is not Action.BOUNCE:
            retry_after = rule.retry_after
            if policy is not None and policy.retry_after is not None and (retry_after is None or "default/" in name):
                retry_after = policy.retry_after  # the policy's own word before our general one
        if rule.action in _LASTS_S:
            act_for = rule.for_ if rule.for_ is not None else _LASTS_S[rule.action]
            if rule.action is Action.BACKOFF and policy is not None and (rule.for_ is None or "default/" in name):
                act_for = policy.backoff.for_
        trigger = (rule.trigger.count, rule.trigger.per) if rule.trigger is not None else None
        return Verdict(rule.category, rule.action, rule.about, retry_after, act_for, trigger, name)
