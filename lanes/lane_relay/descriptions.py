"""What the fields of models mean, from the text below each in their source; for the document alone.

pydantic reads it as well (`use_attribute_docstrings`), but for every model as it is defined: a tenth of the relay's
start, for a document that is seldom asked for. Invariant: models are defined at the top of their modules. Pure but for
the source files. Before: `api.openapi`, `accept.http.document`. After: nothing.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

__all__ = ["describe", "descriptions"]


def describe(schemas: dict[str, Any], base: type[BaseModel]) -> Iterator[None]:
    """Puts them into the schemas of this model and all that are made of it, in steps; what one says already stays."""
    schema = schemas.get(base.__name__, {})
    shapes = [one["properties"] for one in (schema, *schema.get("anyOf", ())) if "properties" in one]
    properties: dict[str, Any] = shapes[0] if shapes else {}
    if properties:
        for name, meant in descriptions(base).items():
            if name in properties:
                properties[name].setdefault("description", meant)
        yield
    for model in base.__subclasses__():
        yield from describe(schemas, model)


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Of its fields and those it has from others, by the name that is seen outside."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= _texts(each)
    return {field.alias or name: found[name] for name, field in model.model_fields.items() if name in found}


def _texts(model: type[BaseModel]) -> dict[str, str]:
    """Name -> the text below it, of the fields that this class defines itself."""
    body = _classes(model.__module__)[model.__name__].body
    found = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[field.target.id] = inspect.cleandoc(text.value)
    return found


@lru_cache(maxsize=4)
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """The classes of a module as they are written; a few are kept, since the models of one come one after another."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}
