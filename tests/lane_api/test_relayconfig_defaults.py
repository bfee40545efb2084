"""What a field of the relay's configuration means where it is absent is the same to every image of a schema version.

The operator leaves out what is as by default, and a slot may run an image before or after the operator's. What was
agreed stands in relayconfig_defaults.yaml. A field that is added is added there, under `later`. One that is changed or
taken away needs another schema version, and an operator that writes the one before it to slots with an older image.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from lane_api.relayconfig import SCHEMA_VERSION, RelayConfig

AGREED = yaml.safe_load(Path(__file__).with_name("relayconfig_defaults.yaml").read_text())
REQUIRED = "(required)"
COMPUTED = "(from other fields)"
"""Always written: nobody has to agree on it."""


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def default(field: FieldInfo) -> str:
    """As JSON, without what is as by default inside of it."""
    if field.is_required():
        return REQUIRED
    if field.default_factory is not None:
        return COMPUTED
    whole: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    said = TypeAdapter(whole).dump_python(field.default, mode="json", by_alias=True, exclude_defaults=True)
    return json.dumps(said)


def fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Each field below a model by its path in the file, with its default."""
    for name, field in model.model_fields.items():
        here = path + (field.alias or name)
        yield here, default(field)
        is_list = isinstance(field.default, tuple) or "tuple[" in str(field.annotation)
        for inner in models_in(field.annotation):
            yield from fields(inner, f"{here}[]." if is_list else f"{here}.")


NOW = dict(fields(RelayConfig))


def test_the_agreement_is_of_this_schema_version() -> None:
    assert AGREED["schemaVersion"] == SCHEMA_VERSION
    assert not set(AGREED["first"]) & set(AGREED["later"])


def test_no_field_that_was_agreed_on_is_gone_or_means_something_else_where_it_is_absent() -> None:
    agreed = AGREED["first"] | AGREED["later"]
    changed = {path: (said, NOW.get(path)) for path, said in agreed.items() if NOW.get(path) != said}
    assert changed == {}, "images disagree: keep it, and have the operator write the new value out, or add a field"


def test_each_field_that_is_new_is_agreed_on() -> None:
    new = {path: said for path, said in NOW.items() if path not in AGREED["first"] | AGREED["later"]}
    assert new == {}, "add these under `later` in relayconfig_defaults.yaml; absent must mean what the relay did before"


def test_nobody_is_required_to_say_what_came_later() -> None:
    """An operator from before it renders none, nor has a file by hand one; but inside a part that is new as a whole."""
    later = AGREED["later"]
    required = {path for path, said in later.items() if said == REQUIRED}
    assert {path for path in required if path.rpartition(".")[0].removesuffix("[]") not in later} == set()
