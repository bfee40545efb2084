"""The shipped policies and the default table judge published replies as they are labelled, and no rule is dead."""

import json
from pathlib import Path
from typing import Any

import pytest
import re2
import yaml
from jsonschema import Draft7Validator

from lane_api.isppolicy import Action, ResponseRule, Stage
from lane_relay.deliver.default_rules import GREETING_RULES, MESSAGE_RULES
from lane_relay.deliver.rules import ReplyTable
from lane_relay.records import Reply
from tests.lane_relay.replies.agreement import POLICIES, TARGET, dead_rules, disagreements, shipped, table
from tests.lane_relay.replies.corpus import BLIND, HALVES, TABLES, corpus

CRD = Path(__file__).parents[3] / "crds" / "isppolicies.lanewright.dev.yaml"
ISPS = {
    "gmail", "outlook", "microsoft365", "yahoo", "icloud", "gmx", "t-online", "ovh", "orange", "free", "libero",
    "comcast", "qq", "mailru", "proofpoint", "mimecast", "barracuda",
}  # fmt: skip
JUDGED_BY = table()


@pytest.mark.parametrize("half", HALVES)
def test_at_least_97_percent_of_the_replies_are_judged_as_labelled(half: str) -> None:
    found = disagreements(half, JUDGED_BY)
    assert len(found) <= (1 - TARGET) * len(corpus(half)), "\n".join(map(str, found))


@pytest.mark.parametrize("half", HALVES)
def test_no_reply_that_is_labelled_as_about_the_source_bounces_at_an_isp_with_a_policy(half: str) -> None:
    about_the_source = ("Stop", "StopDomain", "Backoff")
    wrong = [one for one in disagreements(half, JUDGED_BY) if one.action == "Bounce"]
    assert [str(one) for one in wrong if one.sample.isp in ISPS and one.sample.action in about_the_source] == []


def test_of_the_blind_set_19_in_20_agree_and_one_refusal_of_the_source_bounces() -> None:
    """What it came to when it had been read: no proof of the rules, but a change that undoes it is seen."""
    found = disagreements(BLIND, JUDGED_BY)
    assert len(found) <= len(corpus(BLIND)) / 20, "\n".join(map(str, found))
    wrong = [one for one in found if one.action == "Bounce" and one.sample.action in ("Stop", "StopDomain", "Backoff")]
    assert [one.rule for one in wrong] == ["gmx/policy"], "\n".join(map(str, wrong))


def test_every_row_of_the_providers_own_tables_is_judged_as_its_table_says() -> None:
    assert [str(one) for one in disagreements(TABLES, JUDGED_BY)] == []


def test_without_a_rule_the_agreement_falls() -> None:
    """Else the figure would say nothing of the rules."""
    seeded = table("yahoo/deferred")
    found = [sum(len(disagreements(half, judged_by)) for half in HALVES) for judged_by in (JUDGED_BY, seeded)]
    assert found[1] > found[0]


def test_no_rule_is_dead() -> None:
    assert dead_rules() == []


def test_there_is_a_policy_for_each_isp_of_the_list_and_each_is_the_file_s_name() -> None:
    assert set(shipped()) == ISPS
    assert {path.stem for path in POLICIES.glob("*.yaml")} == ISPS


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_policy_is_one_that_the_api_server_takes_and_names_where_it_comes_from(path: Path) -> None:
    version = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]
    manifest = yaml.safe_load(path.read_text())
    schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert [error.message for error in Draft7Validator(closed(schema)).iter_errors(manifest["spec"])] == []
    assert [rule.mismatch() for rule in shipped()[path.stem].responses if rule.mismatch()] == []
    head = path.read_text().split("apiVersion")[0]
    assert head.startswith("#")
    assert "guess" in head or "KumoMTA" in head or "publishes" in head or "Momentum" in head, (
        "where the limits are from"
    )


@pytest.mark.parametrize("name", sorted(ISPS))
def test_each_example_of_a_policy_is_judged_by_its_rule(name: str) -> None:
    for rule in shipped()[name].responses:
        for example in rule.examples:
            assert judge(name, rule, example) == f"{name}/{rule.id}"


def judge(name: str, rule: ResponseRule, example: str) -> str:
    """Which rule a relay takes for the example, at a stage of the rule."""
    stage = rule.stage if rule.stage is not Stage.ANY else Stage.RCPT
    return JUDGED_BY.judge(name, stage, Reply(int(example[:3]), (example[4:],))).rule


def closed(schema: Any) -> Any:
    """The schema with every object closed: the API server would prune what is not in it, and a rule with it."""
    if isinstance(schema, dict):
        made = {key: closed(value) for key, value in schema.items()}
        if made.get("type") == "object" and "properties" in made:
            made["additionalProperties"] = False
        return made
    return [closed(one) for one in schema] if isinstance(schema, list) else schema


def test_every_pattern_is_re2_and_every_rule_s_retry_is_within_reason() -> None:
    for spec in shipped().values():
        for rule in spec.responses:
            re2.compile(rule.pattern)
            assert rule.retry_after is None or 1 <= rule.retry_after <= 6 * 3600


def test_the_policies_are_small_enough_for_one_configuration() -> None:
    rules = [json.loads(rule.model_dump_json()) for spec in shipped().values() for rule in spec.responses]
    assert len(json.dumps(rules)) < 256 * 1024
    assert not ReplyTable().problems


def test_no_shipped_rule_gives_a_recipient_up_for_a_temporary_reply() -> None:
    """A second wording of a refusal may come with a 4yz, such as GMX's `450 mailbox unavailable`."""
    bouncing = [(n, rule) for n, spec in shipped().items() for rule in spec.responses if rule.action is Action.BOUNCE]
    bouncing += [("default", rule) for rule in (*GREETING_RULES, *MESSAGE_RULES) if rule.action is Action.BOUNCE]
    wrong = [
        f"{name}/{rule.id}"
        for name, rule in bouncing
        for example in rule.examples
        if re2.search(rule.pattern, f"4{example[1:4]}4{example[5:]}" if example[4] == "5" else f"4{example[1:]}")
    ]
    assert wrong == []
