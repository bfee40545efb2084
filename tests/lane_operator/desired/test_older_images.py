"""A slot that still runs an older image takes its configuration: what is as by default is not in the file."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lane_api.packing import unpacked
from lane_api.relayconfig import RelayConfig
from lane_operator.desired import desired_state
from lane_operator.desired.relayconfig import rendered
from lane_relay.config import parse
from tests.lane_operator import made

_AGREED = Path(__file__).parents[2] / "lane_api" / "relayconfig_defaults.yaml"
OLDER_KNOW = set(yaml.safe_load(_AGREED.read_text())["first"])


def file_of(**spec: Any) -> Any:
    """The first slot's relay.yaml, as a tree."""
    of = made.lane(**spec)
    found = desired_state(of, made.references(of, made.pool()), made.assignment(), made.SETTINGS)
    (secret,) = [one for one in found.manifests if one["metadata"]["name"] == "otp-0-config"]
    return yaml.safe_load(unpacked(base64.b64decode(secret["data"]["relay.yaml.gz"])))


def paths(tree: Any, here: str = "") -> Iterator[str]:
    """Every field in it, as the agreement spells them."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            path = f"{here}.{name}" if here else name
            yield path
            yield from paths(value, path)
    elif isinstance(tree, list):
        for value in tree:
            yield from paths(value, f"{here}[]")


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"suspend": True},
        {"routes": [{"domains": ["*"], "host": "relay.example.net"}]},
        {
            "submission": {"senders": ["@notify.example.com"], "limits": {"sessions": 50}},
            "delivery": {"mode": "Discard"},
        },
        {"feedback": {}},
    ],
    ids=lambda spec: ",".join(spec) or "plain",
)
def test_a_lane_that_asks_for_nothing_new_has_no_field_that_an_older_image_refuses(spec: dict[str, Any]) -> None:
    assert set(paths(file_of(**spec))) - OLDER_KNOW == set()


def test_the_file_names_its_version_generation_and_serial_and_nothing_that_is_as_by_default() -> None:
    tree = file_of(routes=[{"domains": ["*"], "host": "relay.example.net"}])

    assert (tree["schemaVersion"], tree["generation"]) == (1, 3)
    assert tree["serial"] > 0
    assert set(tree["delivery"]["routes"][0]) == {"domains", "host"}
    assert not {"delivery.mode", "delivery.state", "intake.state", "egress.isps"} & set(paths(tree))


@pytest.mark.parametrize(("spec", "field"), [({"suspend": True}, "state"), ({"delivery": {"mode": "Discard"}}, "mode")])
def test_what_a_lane_asks_for_is_in_it(spec: dict[str, Any], field: str) -> None:
    assert field in file_of(**spec)["delivery"]


def test_no_limit_where_there_is_one_by_default_is_written_out() -> None:
    of = parse(yaml.safe_dump(file_of()))
    limits = of.intake.limits.model_copy(update={"connect_rate_per_client": None})
    config = of.model_copy(update={"intake": of.intake.model_copy(update={"limits": limits})})

    assert RelayConfig.model_validate(yaml.safe_load(rendered(config))) == config


def test_a_file_with_and_one_without_what_is_as_by_default_are_one_configuration() -> None:
    config = parse(yaml.safe_dump(file_of()))
    full = yaml.safe_dump(config.model_dump(mode="json", by_alias=True, exclude_none=True))

    assert parse(full) == config


@pytest.mark.parametrize(("mode", "written"), [("Require", "Require"), ("Off", "Off"), ("Warn", None)])
def test_what_a_pool_asks_of_ptr_records_is_written_where_it_is_not_as_by_default(
    mode: str, written: str | None
) -> None:
    of = made.lane()
    asked = {"reflectors": ["tcp://198.51.100.5:25"], "secretName": "reflector", "ptr": mode}
    found = desired_state(of, made.references(of, made.pool(verification=asked)), made.assignment(), made.SETTINGS)
    (secret,) = [one for one in found.manifests if one["metadata"]["name"] == "otp-0-config"]
    assert yaml.safe_load(unpacked(base64.b64decode(secret["data"]["relay.yaml.gz"])))["egress"].get("ptr") == written
