"""The OpenAPI document of the HTTP intake, made from the models that parse requests and write answers.

Pure. Before it: `request`, `answer`. After it: `server` serves it; tests compare it with what the relay does.
"""

from functools import lru_cache
from typing import Any, Final

from msgspec.json import encode
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from lane_api import __version__
from lane_relay.accept.http.answer import Fault, Problem, Result, Results
from lane_relay.accept.http.request import Part, Submission
from lane_relay.descriptions import describe

__all__ = ["document", "document_bytes"]

_REFUSALS: Final = {
    "400": "The body is not JSON, or the idempotency key is malformed or given twice and differs.",
    "401": "Credentials are missing or wrong.",
    "403": "The sender is not one of the lane's; the detail names the fix.",
    "408": "The body did not come in time.",
    "409": "A request with the same idempotency key is under way.",
    "410": "The slot that had the request of this idempotency key was removed: see what it sent, and take a new key.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "422": "A field is wrong, every recipient was refused for good, or the idempotency key stands for another request.",
    "429": "This client has too many requests under way.",
    "503": "Not now: intake is closed, the queue is full or cannot be written, or the slot that has this idempotency "
    "key is away. Retry-After says when.",
}


def _refusal(description: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": description, "content": content}


def _post() -> dict[str, Any]:
    taken = {"application/json": {"schema": {"$ref": "#/components/schemas/Results"}}}
    key = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
    return {
        "operationId": "sendMessages",
        "summary": "Hand in mail.",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same request with the same key is sent once within 24 h.",
                "schema": key,
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Submission"}}},
        },
        "responses": {
            "200": {"description": "At least one message is on disk.", "content": taken},
            **{status: _refusal(description) for status, description in _REFUSALS.items()},
        },
    }


def _describe() -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": "describe",
        "summary": "This document.",
        "security": [{}],
        "responses": {"200": {"description": "OpenAPI 3.1.", "content": content}},
    }


_BASIC: Final = {"type": "http", "scheme": "basic", "description": "A user of the lane, under TLS."}
_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "For clients that only know tokens: base64 of user:password, as Basic sends it.",
}


def document() -> dict[str, Any]:
    """The document (OpenAPI 3.1)."""
    models: list[tuple[type[BaseModel], Any]] = [
        (Submission, "validation"),
        (Results, "serialization"),
        (Problem, "serialization"),
    ]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")
    for model in (Part, Result, Results, Fault, Problem):
        for _ in describe(schemas["$defs"], model):
            pass
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lanewright: mail into a lane",
            "version": __version__,
            "description": "One request, one message a recipient; 200 means that every accepted one is on disk.",
        },
        "security": [{"basic": []}, {"bearer": []}, {}],
        "paths": {"/v1/messages": {"post": _post()}, "/v1/openapi.json": {"get": _describe()}},
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"basic": _BASIC, "bearer": _BEARER},
        },
    }


@lru_cache(maxsize=1)
def document_bytes() -> bytes:
    """The document as it is served."""
    return encode(document())
