"""Where each value of a site comes from."""

import yaml

from lane_api.conditions import Reason
from lane_api.quantities import parse_rate
from lane_api.relayconfig import RelayConfig, SitePolicy
from lane_operator.desired.policies import site_policies, unknown_isps
from lane_operator.desired.relayconfig import rendered
from lane_relay.pipeline import rule_problems
from tests.lane_operator import made
from tests.lane_relay.replies.agreement import shipped


def rule(name: str, pattern: str) -> dict[str, object]:
    return {
        "id": name,
        "pattern": pattern,
        "category": "rate-limited",
        "action": "Backoff",
        "examples": ["421 4.7.28 rate"],
    }


def test_the_lanes_own_value_wins_over_the_policy_and_the_policy_over_the_limits() -> None:
    spec = made.lane(isps=[{"name": "gmail", "connectionsPerIP": 3}], limits={"connectionsPerIP": 7}).spec
    policies = [
        made.policy("gmail", connectionsPerIP=8, messageRate="20/s"),
        made.policy("other", match={"mx": ["x.y"]}),
    ]

    gmail, other = site_policies(spec, policies)

    assert (gmail.connections, gmail.message_rate) == (3, parse_rate("20/s"))
    assert other.connections == 7


def test_the_day_s_messages_and_the_recipients_of_a_transaction_come_the_same_way() -> None:
    spec = made.lane(isps=[{"name": "gmail", "messagesPerDay": 500}]).spec
    policies = [made.policy("gmail", messagesPerDay=9000, recipientsPerMessage=20), made.policy("other")]

    gmail, other = site_policies(spec, policies)

    assert (gmail.messages_per_day, gmail.recipients_per_message) == (500, 20)
    assert (other.messages_per_day, other.recipients_per_message) == (None, 100)


def test_each_value_says_who_gave_it_and_whose_lost() -> None:
    spec = made.lane(isps=[{"name": "gmail", "connectionsPerIP": 3}], limits={"connectionsPerIP": 7}).spec
    policies = [made.policy("gmail", "mail", connectionsPerIP=5), made.policy("gmail", retryAfter="15m")]

    (gmail,) = site_policies(spec, policies)

    assert {one.field: [(by.source, by.value) for by in one.given] for one in gmail.origins} == {
        "connectionsPerIP": [("isps", "3"), ("ISPPolicy mail/gmail", "5"), ("limits", "7")],
        "retryAfter": [(f"ISPPolicy {policies[1].namespace}/gmail", "15m")],
    }


def test_what_the_lane_never_said_is_told_as_a_default_and_a_backoff_by_who_gave_it() -> None:
    policies = [made.policy("gmail", "mail"), made.policy("gmail", backoff={"for": "90m"})]

    (gmail,) = site_policies(made.lane().spec, policies)
    (given,) = site_policies(made.lane(isps=[{"name": "gmail", "backoff": {"for": "5m"}}]).spec, policies)

    told = {one.field: [by.source for by in one.given] for one in gmail.origins}
    assert told == {
        "connectionsPerIP": ["limits (the default)"],
        "backoff": [f"ISPPolicy {policies[1].namespace}/gmail"],
    }
    assert [one.given[0].source for one in given.origins if one.field == "backoff"] == ["isps"]
    assert (gmail.backoff.for_, given.backoff.for_) == (5400, 300)


def test_policies_keep_their_order_of_precedence() -> None:
    policies = [made.policy(name) for name in ("b", "a", "c")]

    assert [site.name for site in site_policies(made.lane().spec, policies)] == ["b", "a", "c"]


def test_a_policy_of_the_lanes_namespace_lies_over_the_operators_of_that_name() -> None:
    own = made.policy(
        "gmail",
        "mail",
        connectionsPerIP=2,
        match={"domains": ["gmail.com"]},
        responses=[rule("a", "own")],
        reporters=["loop@isp.test"],
    )
    shared = made.policy(
        "gmail",
        connectionsPerIP=8,
        messageRate="20/s",
        backoff={"for": "90m"},
        responses=[rule("a", "shared"), rule("b", "more")],
        reporters=["arf.isp.test", "loop@isp.test"],
    )

    (site,) = site_policies(made.lane().spec, [own, shared])

    assert site.connections == 2
    assert site.message_rate == parse_rate("20/s")
    assert site.backoff.for_ == 5400
    assert (site.domains, site.mx) == (("gmail.com",), ("*.google.com",))
    assert [(one.id, one.pattern) for one in site.responses] == [("a", "own"), ("b", "more")]
    assert site.reporters == ("loop@isp.test", "arf.isp.test")


def test_an_override_that_lies_over_nothing_is_waited_for_and_named() -> None:
    spec = made.lane(isps=[{"name": "gmial", "connectionsPerIP": 3}]).spec

    (refusal,) = unknown_isps(spec, [made.policy("gmail")])

    assert (refusal.reason, refusal.waiting) == (Reason.POLICY_NOT_FOUND, Reason.WAITING_FOR_POLICY)
    assert "isps names gmial" in refusal.message


def test_a_rendered_file_with_the_shipped_policies_is_what_the_relay_reads_and_takes_whole() -> None:
    """Their text is kept apart in rendering: it must stand in the file as if it were not."""
    policies = tuple(
        SitePolicy(name=name, mx=spec.match.mx, responses=spec.responses) for name, spec in shipped().items()
    )
    config = RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out1.example.com"},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "delivery": {"policies": policies, "protection": "NeverPause"},
        }
    )
    tree = yaml.safe_load(rendered(config))
    assert RelayConfig.model_validate(tree) == config
    assert rule_problems(config) == []
