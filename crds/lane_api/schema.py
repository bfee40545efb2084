"""A pydantic model as the structural schema of a CustomResourceDefinition (KEP-2335), and the CRD around it.

Invariant: the same models give the same text, byte for byte; a construct that a structural schema cannot say raises
UnsupportedSchemaError here and never reaches the API server. Read by `crds/generate.py` only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from lane_api.names import GROUP, VERSION

__all__ = ["Column", "Docs", "Resource", "UnsupportedSchemaError", "custom_resource_definition", "structural_schema"]

Schema = dict[str, Any]
Docs = Mapping[str, Mapping[str, str]]
"""Class name -> outside field name, or value of an enum -> what the docstring under it says."""

_NOISE = ("title", "examples", "deprecated", "writeOnly", "readOnly", "default", "additionalProperties")
_FORBIDDEN = ("oneOf", "allOf", "const", "propertyNames", "patternProperties", "prefixItems", "uniqueItems", "not")
_COPIED = (
    "type",
    "format",
    "pattern",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)


class UnsupportedSchemaError(Exception):
    """The model uses something that a structural schema has no words for."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`."""

    name: str
    json_path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API server is to serve it."""

    kind: str
    plural: str
    singular: str
    spec: type[BaseModel]
    status: type[BaseModel]
    description: str
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    scale: bool = False
    rules: tuple[tuple[str, str], ...] = ()
    """CEL over the whole object (only `metadata.name` is to be seen of the metadata), with messages."""


def structural_schema(model: type[BaseModel], docs: Docs) -> Schema:
    """The model as a structural schema: references inlined, null branches and defaults dropped; raises
    UnsupportedSchemaError."""
    emitted = model.model_json_schema(by_alias=True)
    definitions = emitted.pop("$defs", {})
    return _converted(emitted, definitions, docs, model.__name__, ())


def custom_resource_definition(resource: Resource, docs: Docs) -> Schema:
    """The CRD of one kind, v1, one version, served and stored."""
    names: Schema = {"kind": resource.kind, "plural": resource.plural, "singular": resource.singular}
    names["listKind"] = f"{resource.kind}List"
    names["categories"] = ["lanewright"]
    if resource.short_names:
        names["shortNames"] = list(resource.short_names)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [_version(resource, docs)]},
    }


def _version(resource: Resource, docs: Docs) -> Schema:
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in resource.columns],
        "schema": {"openAPIV3Schema": _whole_object(resource, docs)},
        "subresources": {"status": {}},
    }
    if resource.scale:
        version["subresources"]["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return version


def _column(column: Column) -> Schema:
    rendered: Schema = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.wide:
        rendered["priority"] = 1  # kubectl shows columns above 0 with `-o wide` only
    return rendered


def _whole_object(resource: Resource, docs: Docs) -> Schema:
    status = structural_schema(resource.status, docs)
    # kstatus calls an object without status "Current"; with this default it is in progress until the first pass
    status["default"] = {"observedGeneration": -1}
    spec = structural_schema(resource.spec, docs)
    if resource.scale:
        # the only default on a spec: `/scale` answers an error while the field that it reads is absent
        spec["properties"]["replicas"]["default"] = resource.spec.model_fields["replicas"].default
    whole: Schema = {
        "type": "object",
        "description": resource.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    if resource.rules:
        whole["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in resource.rules]
    return whole


def _converted(schema: Schema, definitions: Schema, docs: Docs, owner: str, seen: tuple[str, ...]) -> Schema:
    """One node; `owner` is the class whose fields its properties are, `seen` the references on the way here."""
    schema = _without_null(schema, owner)
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name in seen:
            raise UnsupportedSchemaError(f"{name} contains itself; a structural schema cannot recurse")
        inlined = _converted(definitions[name], definitions, docs, name, (*seen, name))
        return inlined | {key: value for key, value in _extensions(schema).items() if key != "description"}
    unsupported = [key for key in _FORBIDDEN if key in schema and key != "const"]
    if unsupported:
        raise UnsupportedSchemaError(f"{owner}: {', '.join(unsupported)} cannot be said in a structural schema")
    result = {key: schema[key] for key in _COPIED if key in schema} | _extensions(schema)
    if "const" in schema:
        result["enum"] = [schema["const"]]
    _exclusive_bounds(result)
    if "properties" in schema:
        result["properties"] = {
            name: _described(
                _converted(child, definitions, docs, owner, seen),
                docs.get(owner, {}).get(name),
                _meanings(_without_null(child, owner), definitions, docs),
            )
            for name, child in schema["properties"].items()
        }
    if "items" in schema:
        result["items"] = _converted(schema["items"], definitions, docs, owner, seen)
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        result["additionalProperties"] = _converted(values, definitions, docs, owner, seen)
    _refuse_the_unknown(schema, owner)
    return result


def _without_null(schema: Schema, owner: str) -> Schema:
    """`X | None` as X: a field that is absent and one that is null are the same to us."""
    if "anyOf" not in schema:
        return schema
    branches = [branch for branch in schema["anyOf"] if branch != {"type": "null"}]
    if len(branches) != 1:
        raise UnsupportedSchemaError(f"{owner}: a union of {len(branches)} types cannot be said in a structural schema")
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    only: Schema = branches[0]
    return only | rest


def _extensions(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key.startswith("x-kubernetes-") or key == "description"}


def _described(schema: Schema, doc: str | None, meanings: str) -> Schema:
    """The field's own words before those of its class, then what each of its values means."""
    said = " ".join(text for text in (doc or schema.get("description"), meanings) if text)
    return schema | {"description": said} if said else schema


def _meanings(schema: Schema, definitions: Schema, docs: Docs) -> str:
    """What the values of the enum that the field, or each of its entries, refers to stand for; empty for others."""
    name = schema.get("items", schema).get("$ref", "").rpartition("/")[2]
    said = docs.get(name, {})
    return " ".join(f"{value}: {said[value]}" for value in definitions.get(name, {}).get("enum", ()) if value in said)


def _exclusive_bounds(schema: Schema) -> None:
    """JSON Schema 2020's numeric exclusive bounds as OpenAPI 3.0's booleans."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in schema:
            schema[bound] = schema[exclusive]
            schema[exclusive] = True


def _refuse_the_unknown(schema: Schema, owner: str) -> None:
    handled = {*_COPIED, *_NOISE, "properties", "items", "description", "const"}
    unknown = [key for key in schema if key not in handled and not key.startswith("x-kubernetes-")]
    if unknown:
        raise UnsupportedSchemaError(f"{owner}: {', '.join(unknown)} is unknown to the generator")
