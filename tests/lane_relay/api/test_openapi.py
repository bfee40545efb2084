"""The document of the admin API: what is routed is in it and no other, and it says who may ask for what."""

from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from lane_relay.api import actions, evidence, explain, handover, messages, siblings, slot_requests, suppressions
from lane_relay.api.openapi import document
from lane_relay.api.operation import Operation
from lane_relay.api.server import application_of

UNASKED = cast("Any", None)  # no request is made here


@pytest.fixture
def served() -> list[Operation]:
    """Of a slot that has siblings."""
    return [
        *slot_requests.operations(UNASKED),
        *actions.operations(UNASKED, UNASKED),
        *evidence.operations(UNASKED),
        *explain.operations(UNASKED),
        *messages.operations(UNASKED),
        *suppressions.operations(UNASKED, UNASKED),
        *siblings.operations(UNASKED, None, UNASKED, UNASKED),
        *handover.operations(UNASKED, lambda: 1, UNASKED),
    ]


def test_every_route_is_in_the_document_and_no_other(served: list[Operation], tmp_path: Path) -> None:
    router = application_of(served, tmp_path / "token").router
    routed = {(one.method, one.resource.canonical) for one in router.routes() if one.resource is not None}
    paths = document(served)["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert routed == described | {("GET", "/v1/openapi.json")}


def test_siblings_show_a_certificate_and_everybody_else_the_token(served: list[Operation]) -> None:
    said = document(served)
    assert said["security"] == [{"bearer": []}]
    for path, methods in said["paths"].items():
        for operation in methods.values():
            of_siblings = path.startswith("/v1/handover/")
            assert operation.get("security") == ([{"sibling": []}] if of_siblings else None)
            assert ("401" in operation["responses"]) != of_siblings
            assert ("403" in operation["responses"]) == of_siblings


def test_every_reference_leads_somewhere_and_every_schema_is_one(served: list[Operation]) -> None:
    said = document(served)
    schemas = said["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    wanted = set(_references(said))
    assert {f"#/components/schemas/{name}" for name in schemas} == wanted


def test_operations_have_names_of_their_own(served: list[Operation]) -> None:
    names = [one.name for one in served]
    assert len(names) == len(set(names))


def test_parameters_have_their_bounds_and_what_is_optional_has_no_empty_default(served: list[Operation]) -> None:
    paths = document(served)["paths"]
    queues = {one["name"]: one for one in paths["/v1/queues"]["get"]["parameters"]}
    assert list(queues) == ["first", "limit", "by"]
    assert queues["limit"]["schema"] == {"default": 100, "maximum": 1000, "minimum": 1, "type": "integer"}
    revoke = {one["name"]: one for one in paths["/v1/actions/{order}"]["delete"]["parameters"]}
    assert [(name, one["in"], one["required"]) for name, one in revoke.items()] == [
        ("order", "path", True),
        ("owner", "query", True),
        ("reason", "query", True),
    ]
    (message, *_) = paths["/v1/explain"]["get"]["parameters"]
    assert message["schema"] == {"maxLength": 1000, "minLength": 1, "type": "string"}


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [one for value in node.values() for one in _references(value)]
    return [one for value in node for one in _references(value)] if isinstance(node, list) else []


def test_fields_and_parameters_are_described_by_what_stands_below_them(served: list[Operation]) -> None:
    said = document(served)
    assert said["components"]["schemas"]["Refusal"]["properties"]["error"]["description"] == (
        "What is wrong and what to do."
    )
    fields = [one for schema in said["components"]["schemas"].values() for one in schema.get("properties", {}).values()]
    assert sum("description" in one for one in fields) > 60
    parameters = said["paths"]["/v1/messages"]["get"]["parameters"]
    assert any("description" in one for one in parameters)
