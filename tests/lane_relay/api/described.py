"""Holds answers of the admin API against the document that it serves."""

import re
from typing import Any

from jsonschema import Draft202012Validator

__all__ = ["Described"]


class Described:
    """One document; `check` raises what is wrong with an answer."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def check(self, method: str, path: str, status: int, content: Any) -> None:
        """An answer with JSON; what has no operation is answered with an error alone."""
        operation = self._operation(method, path.partition("?")[0])
        if operation is None:
            assert set(content) == {"error"}, (method, path, content)
            return
        responses = operation["responses"]
        assert str(status) in responses, f"{method} {path} answers {status}: {content}"
        schema = responses[str(status)]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(content)

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for template, operations in sorted(self.document["paths"].items()):
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
                found: dict[str, Any] | None = operations.get(method.lower())
                return found
        return None
