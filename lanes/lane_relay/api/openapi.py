"""The OpenAPI document of the admin API (3.1), made of the operations that the slot serves and their models.

Pure. Before it: `operation`. After it: `server` serves it behind the token; tests hold every answer against it.
"""

import re
from collections.abc import Generator, Iterable
from http import HTTPStatus
from typing import Any, Final, cast

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from lane_api import __version__
from lane_relay.api.operation import AnswerModel, Body, Operation, Query
from lane_relay.api.refusals import Refusal
from lane_relay.descriptions import describe, descriptions

__all__ = ["compose", "document"]

_REFERENCE: Final = "#/components/schemas/{model}"
_BEARER: Final = {"type": "http", "scheme": "bearer", "description": "The slot's admin token: Secret SLOT-admin."}
_SIBLING: Final = {"type": "mutualTLS", "description": "A sibling slot's certificate, signed by the lane's authority."}
_EVERYWHERE: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "The token is missing or wrong.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A parameter or the body is wrong; the error says which, and what there is.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Our fault; the slot's log has it.",
}
_FOR_SIBLINGS: Final[dict[int, str]] = {
    HTTPStatus.FORBIDDEN: "Not a sibling, or not with its own certificate.",
    **{status: said for status, said in _EVERYWHERE.items() if status != HTTPStatus.UNAUTHORIZED},
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document of these operations."""
    steps = compose(operations)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("dict[str, Any]", end.value)


def compose(operations: Iterable[Operation]) -> Generator[None, None, dict[str, Any]]:
    """Makes it in steps of a few milliseconds, a tenth of a second in all, for who has others to serve meanwhile."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas)
        yield
    for model in (AnswerModel, Query, Refusal):
        yield from describe(schemas, model)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lanewright: a slot's admin API",
            "version": __version__,
            "description": "Pages begin at `first`, have `limit` rows and say where the `next` one begins, null after "
            "the last. Lists that only grow are read on `after` what one has. Times are RFC 3339 in UTC. A request "
            "that is refused says why and what to do in `error`.",
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"bearer": _BEARER, "sibling": _SIBLING},
        },
    }


def _described(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": _schema(operation.answer, schemas, "serialization")}}
    if operation.also:
        content[operation.also] = {"schema": {"type": "string"}}
    general = _EVERYWHERE if operation.admit is None else _FOR_SIBLINGS
    refusals: dict[int, str] = {**general, **operation.refusals}
    said: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation.path), *_parameters(operation.query, schemas)],
        "responses": {
            str(int(operation.status)): {"description": "Done.", "content": content},
            **{str(int(status)): _refusal(refusals[status], schemas) for status in sorted(refusals)},
        },
    }
    if operation.admit is not None:
        said["security"] = [{"sibling": []}]
    if operation.body is not None:
        said["requestBody"] = _body(operation.body, schemas)
    return said


def _refusal(description: str, schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": _schema(Refusal, schemas, "serialization")}},
    }


def _body(body: Body, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "string"} if body.model is None else _schema(body.model, schemas, "validation")
    return {"required": True, "description": body.description, "content": {body.media_type: {"schema": schema}}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 100}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in re.findall(r"{(\w+)}", path)]


def _parameters(query: type[Query], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """One a field; an empty text as default means that it may be left out."""
    found = query.model_json_schema(ref_template=_REFERENCE)
    schemas.update(found.get("$defs", {}))
    rows, meant = [], descriptions(query)
    for name, schema in found.get("properties", {}).items():
        plain = {key: value for key, value in schema.items() if key not in ("title", "description")}
        if plain.get("default") == "":
            del plain["default"]
        row = {"name": name, "in": "query", "required": name in found.get("required", ()), "schema": plain}
        rows.append(row | ({"description": meant[name]} if name in meant else {}))
    return rows


def _schema(model: Any, schemas: dict[str, Any], mode: JsonSchemaMode) -> dict[str, Any]:
    """A reference to a model's schema, which is put among the components; of a union, the alternatives."""
    if model is None:
        return {"type": "object"}
    found = TypeAdapter(model).json_schema(ref_template=_REFERENCE, mode=mode)
    schemas.update(found.pop("$defs", {}))
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return found
    schemas[model.__name__] = found if "$ref" not in found else schemas[model.__name__]
    return {"$ref": _REFERENCE.format(model=model.__name__)}
