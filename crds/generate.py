"""Writes the CustomResourceDefinitions from the models in `lane_api`; `--check` fails when a file differs.

Invariant: nobody edits the files it writes. `make crds` runs it; a test runs `--check`.
"""

import ast
import sys
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import yaml
from pydantic import BaseModel

import lane_api
from lane_api import ippool, isppolicy, lane_status, sendinglane
from lane_api.names import GROUP
from lane_api.schema import Column, Docs, Resource, custom_resource_definition

__all__ = ["RESOURCES", "field_docs", "main", "rendered"]

FOLDERS = (Path(__file__).parent, Path(__file__).parents[1] / "charts" / "lanewright" / "files" / "crds")
"""The second is the chart's copy: Helm reads no file outside its chart."""
HEADER = "# Generated from crds/lane_api by `make crds`; edit the models, not this file.\n"
MAX_BYTES = 262_144
"""`kubectl apply` keeps a copy of the object in an annotation, and annotations end there."""

_DESCRIBED = tuple(
    import_module(f"lane_api.{found.name}")
    for found in iter_modules(lane_api.__path__)
    if not found.name.startswith("relay")
)
"""Modules whose fields users read about."""
_READY = '.status.conditions[?(@.type=="Ready")]'
_AGE = Column("AGE", ".metadata.creationTimestamp", "date")

RESOURCES = (
    Resource(
        kind="SendingLane",
        plural="sendinglanes",
        singular="sendinglane",
        short_names=("lane", "lanes"),
        spec=sendinglane.SendingLaneSpec,
        status=lane_status.LaneStatus,
        scale=True,
        description="One stream of outbound mail with its own processes, queues, addresses and limits.",
        columns=(
            Column("READY", f"{_READY}.status"),
            Column("REASON", f"{_READY}.reason"),
            Column("SLOTS", ".status.replicas", "integer"),
            Column("QUEUED", ".status.queued", "integer"),
            Column("OLDEST", ".status.oldestSince", "date"),
            _AGE,
            Column("CLASS", ".spec.trafficClass", wide=True),
            Column("POOL", ".spec.poolRef.name", wide=True),
            Column("IPS", ".status.ips", wide=True),
            Column("DELIVERED/H", ".status.lastHour.delivered", "integer", wide=True),
            Column("DEFERRED/H", ".status.lastHour.deferred", "integer", wide=True),
            Column("BOUNCED/H", ".status.lastHour.bounced", "integer", wide=True),
        ),
        rules=(
            (
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 48",
                (
                    "a lane's name makes the names of its Services and slots: at most 48 characters, a letter first, "
                    "then letters, digits and hyphens, no dots"
                ),
            ),
            (
                "!self.metadata.name.endsWith('-slots')",
                "a lane's name must not end in -slots: that is how the Service of another lane's slots is named",
            ),
        ),
    ),
    Resource(
        kind="IPPool",
        plural="ippools",
        singular="ippool",
        spec=ippool.IPPoolSpec,
        status=ippool.IPPoolStatus,
        description="Addresses with a class and an egress engine, and who may draw from them.",
        columns=(
            Column("READY", f"{_READY}.status"),
            Column("ENGINE", ".spec.engine"),
            Column("TOTAL", ".status.capacity.total", "integer"),
            Column("ASSIGNED", ".status.capacity.assigned", "integer"),
            Column("FREE", ".status.capacity.free", "integer"),
            _AGE,
            Column("COOLING", ".status.capacity.cooling", "integer", wide=True),
            Column("MESSAGE", f"{_READY}.message", wide=True),
        ),
    ),
    Resource(
        kind="ISPPolicy",
        plural="isppolicies",
        singular="isppolicy",
        spec=isppolicy.ISPPolicySpec,
        status=isppolicy.ISPPolicyStatus,
        description="What one ISP tolerates, and what its replies mean.",
        columns=(
            Column("READY", f"{_READY}.status"),
            Column("REASON", f"{_READY}.reason"),
            Column("CONNECTIONS", ".spec.connectionsPerIP", "integer"),
            Column("RATE", ".spec.messageRate"),
            Column("PRIORITY", ".spec.priority", "integer"),
            _AGE,
        ),
    ),
)


def field_docs(*modules: ModuleType) -> Docs:
    """The docstring under each field of each model, inherited ones too, and each value of each enum, by class and
    outside name."""
    classes = {
        node.name: (node, getattr(module, node.name))
        for module in modules
        for node in ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and issubclass(getattr(module, node.name), BaseModel | StrEnum)
    }
    own = {name: _class_docs(node, described) for name, (node, described) in classes.items()}
    return {
        name: {
            field: text for base in reversed(described.__mro__) for field, text in own.get(base.__name__, {}).items()
        }
        for name, (_, described) in classes.items()
    }


def _class_docs(node: ast.ClassDef, described: type[BaseModel | StrEnum]) -> dict[str, str]:
    docs = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        name = _outside_name(field, described)
        if name is None or not isinstance(after, ast.Expr) or not isinstance(after.value, ast.Constant):
            continue
        if isinstance(after.value.value, str):
            docs[name] = " ".join(after.value.value.split())
    return docs


def _outside_name(statement: ast.stmt, described: type[BaseModel | StrEnum]) -> str | None:
    """The name under which users write the field or value that the statement defines; None for anything else."""
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name)) if issubclass(described, BaseModel):
            return described.model_fields[name].alias or name
        case ast.Assign(targets=[ast.Name(id=name)]) if issubclass(described, StrEnum):
            return described[name].value
        case _:
            return None


def rendered() -> dict[str, str]:
    """File name -> content, for every resource."""
    docs = field_docs(*_DESCRIBED)
    return {
        f"{resource.plural}.{GROUP}.yaml": HEADER
        + yaml.safe_dump(custom_resource_definition(resource, docs), sort_keys=False, width=120, allow_unicode=True)
        for resource in RESOURCES
    }


def main(arguments: list[str]) -> int:
    """Writes the files, or with `--check` names those that differ and returns 1."""
    stale = []
    for path, content in ((folder / name, content) for folder in FOLDERS for name, content in rendered().items()):
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        stale.append(str(path))
        if "--check" not in arguments:
            path.write_text(content, encoding="utf-8")
    if stale and "--check" in arguments:
        sys.stderr.write(f"differs from the models: {', '.join(stale)}; run `make crds`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
