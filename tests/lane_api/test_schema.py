"""The CustomResourceDefinitions are what the models say, and a structural schema can say it."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from jsonschema import Draft202012Validator
from kubernetes.client import V1CustomResourceDefinition
from pydantic import BaseModel, Field

import generate
from lane_api.schema import UnsupportedSchemaError, structural_schema

CRDS = Path(generate.__file__).parent
FILES = sorted(generate.rendered())


def nodes(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every schema below this one with its path."""
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            found += nodes(schema[key], f"{path}[]")
    return found


def fields(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    """Every field below this schema with its path, as `kubectl explain` lists them."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, child in schema.get("properties", {}).items():
        found += [(f"{path}.{name}", child), *fields(child, f"{path}.{name}")]
    for key in ("items", "additionalProperties"):
        if key in schema:
            found += fields(schema[key], f"{path}[]")
    return found


def spec_and_status(file: str) -> dict[str, Any]:
    document = yaml.safe_load(generate.rendered()[file])
    schema: dict[str, Any] = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("folder", generate.FOLDERS, ids=["crds", "chart"])
def test_the_committed_file_is_what_the_models_say(folder: Path, file: str) -> None:
    assert (folder / file).read_text(encoding="utf-8") == generate.rendered()[file]


def test_a_stale_file_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "FOLDERS", (tmp_path,))

    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize("file", FILES)
def test_the_file_is_a_valid_definition_that_kubectl_can_apply(file: str) -> None:
    V1CustomResourceDefinition.model_validate(yaml.safe_load((CRDS / file).read_text(encoding="utf-8")))

    assert (CRDS / file).stat().st_size < generate.MAX_BYTES


@pytest.mark.parametrize("file", FILES)
def test_only_status_and_the_scaled_field_have_a_default(file: str) -> None:
    with_default = [path for path, node in nodes(spec_and_status(file)) if "default" in node]

    assert with_default == ([".spec.replicas", ".status"] if "sendinglanes" in file else [".status"])


@pytest.mark.parametrize("file", FILES)
def test_every_list_and_string_of_a_spec_is_bounded(file: str) -> None:
    unbounded = [
        path
        for path, node in nodes(spec_and_status(file)["properties"]["spec"])
        if (node.get("type") == "array" and "maxItems" not in node)
        or (node.get("type") == "string" and not {"maxLength", "enum"} & node.keys())
    ]

    assert unbounded == []


@pytest.mark.parametrize("file", FILES)
def test_every_rule_has_a_message(file: str) -> None:
    rules = [rule for _, node in nodes(spec_and_status(file)) for rule in node.get("x-kubernetes-validations", [])]

    assert rules
    assert all(len(rule["message"]) > 20 for rule in rules)


def test_the_entries_of_a_long_list_are_compared_with_each_other_only_when_it_changes() -> None:
    schema = spec_and_status("ippools.lanewright.dev.yaml")
    long = [node for _, node in nodes(schema) if node.get("maxItems", 0) > 64]
    rules = [rule for node in long for rule in node.get("x-kubernetes-validations", ())]
    pairs = [rule for rule in rules if "self.all(a, " in rule["rule"] and "self.exists_one(b, " in rule["rule"]]

    assert len(pairs) == 5, "of addresses, sources, proxies, seconds and their sources"
    assert all(rule["rule"].startswith("oldSelf.hasValue() && oldSelf.value() == self || (") for rule in pairs)
    assert all(rule["optionalOldSelf"] for rule in pairs), "else a pool that is made is not judged at all"


def test_the_docstring_under_a_field_describes_it() -> None:
    described = spec_and_status("sendinglanes.lanewright.dev.yaml")["properties"]["spec"]["properties"]["suspend"]

    assert described["description"] == "Stops delivery; intake goes on."


@pytest.mark.parametrize("part", ["spec", "status"])
@pytest.mark.parametrize("file", FILES)
def test_every_field_is_described(file: str, part: str) -> None:
    found = fields(spec_and_status(file)["properties"][part], part)

    assert [path for path, field in found if not field.get("description", "").strip()] == []


@pytest.mark.parametrize("file", FILES)
def test_a_field_with_a_choice_says_what_each_value_means(file: str) -> None:
    unexplained = [
        (path, value)
        for part in ("spec", "status")
        for path, field in fields(spec_and_status(file)["properties"][part], part)
        for value in field.get("enum", field.get("items", {}).get("enum", ()))
        if not re.search(rf"(^|[ (]){re.escape(value)}: \w", field.get("description", ""))
    ]

    assert unexplained == []


def test_the_docstring_under_a_value_follows_that_of_its_field() -> None:
    docs = {"Chosen": {"how": "What is done."}, "Way": {"A": "At once.", "B": "Later."}}
    schema = structural_schema(Chosen, docs)["properties"]

    assert schema["how"] == {"type": "string", "enum": ["A", "B"], "description": "What is done. A: At once. B: Later."}
    assert schema["also"]["description"] == "How it goes. A: At once. B: Later."
    assert schema["several"]["description"] == "A: At once. B: Later."


def test_the_schema_accepts_what_users_write() -> None:
    schema = spec_and_status("sendinglanes.lanewright.dev.yaml")
    lane = {
        "spec": {
            "trafficClass": "Transactional",
            "poolRef": {"name": "trans-pool"},
            "submission": {"senders": ["@notify.example.com"]},
            "domains": [{"name": "notify.example.com"}],
            "queue": {"size": "10Gi", "lifetime": "4h"},
            "isps": [{"name": "gmail", "messageRate": "20/s"}],
        }
    }

    assert list(Draft202012Validator(schema).iter_errors(lane)) == []


class Inner(BaseModel):
    size: Annotated[int, Field(gt=2)] = 3


class Outer(BaseModel):
    """A thing."""

    maybe: Annotated[str, Field(max_length=9)] | None = None
    only: Literal["x"] = "x"
    share: Annotated[float, Field(gt=0)] = 1.0
    inner: Inner = Inner()
    labels: dict[str, str] = {}


class Way(StrEnum):
    """How it goes."""

    A = "A"
    B = "B"


class Chosen(BaseModel):
    how: Way = Way.A
    also: Way | None = None
    several: tuple[Way, ...] = ()


class Endless(BaseModel):
    child: "Endless | None" = None


class Either(BaseModel):
    value: int | str = 1


def test_references_are_inlined_and_null_const_and_exclusive_bounds_rewritten() -> None:
    expected = {
        "type": "object",
        "description": "A thing.",
        "properties": {
            "maybe": {"type": "string", "maxLength": 9},
            "only": {"type": "string", "enum": ["x"]},
            "share": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            "inner": {
                "type": "object",
                "properties": {"size": {"type": "integer", "minimum": 2, "exclusiveMinimum": True}},
            },
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }

    assert structural_schema(Outer, {}) == expected


@pytest.mark.parametrize("model", [Endless, Either])
def test_what_a_structural_schema_cannot_say_is_refused(model: type[BaseModel]) -> None:
    with pytest.raises(UnsupportedSchemaError):
        structural_schema(model, {})
