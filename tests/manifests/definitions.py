"""Kubernetes' own and others' definitions as JSON schemas that kubeconform reads, one file a kind.

From what pinned Go modules carry (`e2e/cluster/modules/definitions`), so that nothing is asked of the internet in a
test. Strict: a field that a schema does not name is an error, as with the API server's strict validation.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import programs
from e2e.cluster.identity import Layout

__all__ = ["LOCATION", "write_schemas"]

Schema = dict[str, Any]
LOCATION = "{{ .Group }}_{{ .ResourceAPIVersion }}_{{ .ResourceKind }}.json"
"""kubeconform's template of a file's name; of the core group, Group is the version."""
OURS = Path(__file__).parents[2] / "crds"
OTHERS = (
    *(
        ("definitions", f"{kinds}.yaml")
        for kinds in ("certificates", "dnsendpoints", "podmonitors", "prometheusrules", "scaledobjects")
    ),
    *(("cilium", f"{kinds}.yaml") for kinds in ("gateway-policies", "network-policies")),
    ("multus", "multus-daemonset.yml"),
)
"""(module, file in it) of the kinds that children and examples are of, beside Kubernetes' own."""
_REF = "#/definitions/"


def write_schemas(here: Layout, folder: Path) -> None:
    """Writes a schema for each kind of Kubernetes, ours, and those that children are of."""
    swagger = json.loads(programs.module_file(here, "definitions", "kubernetes.json").read_text())["definitions"]
    for name, definition in swagger.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            group = kind["group"] or kind["version"]
            _write(folder, group, kind["version"], kind["kind"], _standalone(name, swagger))
    documents = [
        *(programs.module_file(here, module, name).read_text() for module, name in OTHERS),
        *(path.read_text() for path in sorted(OURS.glob("*.yaml"))),
    ]
    for text in documents:
        for definition in yaml.safe_load_all(text):
            if definition and definition["kind"] == "CustomResourceDefinition":
                _write_custom(folder, definition["spec"])


def _write_custom(folder: Path, spec: Schema) -> None:
    for version in spec["versions"]:
        schema = _strict(version["schema"]["openAPIV3Schema"])
        schema.get("properties", {}).update({"apiVersion": {"type": "string"}, "kind": {"type": "string"}})
        schema.get("properties", {})["metadata"] = {"type": "object"}
        _write(folder, spec["group"], version["name"], spec["names"]["kind"], schema)


def _write(folder: Path, group: str, version: str, kind: str, schema: Schema) -> None:
    (folder / f"{group}_{version}_{kind.lower()}.json").write_text(json.dumps(schema))


def _standalone(name: str, definitions: Schema) -> Schema:
    """The definition with every other that it leads to."""
    wanted, found = [name], {}
    while wanted:
        one = wanted.pop()
        if one not in found:
            found[one] = _strict(definitions[one])
            wanted += _named(definitions[one])
    return {"$ref": _REF + name, "definitions": found}


def _named(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(_REF)
        for value in schema.values():
            yield from _named(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _named(value)


def _strict(schema: Any, closes: bool = True) -> Any:
    """The schema without Kubernetes' own words, that refuses fields which it does not name.

    Branches of anyOf and its like name only what they ask for, so they refuse none (`closes` is not set).
    """
    if isinstance(schema, list):
        return [_strict(one, closes) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    made = {name: _strict(value, closes and name not in _BRANCHES) for name, value in schema.items() if name in _WORDS}
    for holder in ("properties", "definitions"):  # whose keys are names, not words
        if holder in schema:
            made[holder] = {name: _strict(value, closes) for name, value in schema[holder].items()}
    is_open = not closes or schema.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in made and "additionalProperties" not in made and not is_open:
        made["additionalProperties"] = False
    return made


_BRANCHES = frozenset({"allOf", "anyOf", "not", "oneOf"})
_WORDS = frozenset(
    {
        "$ref", "additionalProperties", "allOf", "anyOf", "enum", "items", "maxItems", "maxLength", "maximum",
        "minItems", "minLength", "minimum", "not", "oneOf", "pattern", "required", "type", "uniqueItems",
    }
)  # fmt: skip
"""JSON schema's; `format` is left out, since Kubernetes has its own."""
