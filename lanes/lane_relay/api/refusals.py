"""Errors of the admin API. Invariant: each is JSON `{"error": ...}` that names the fix. Before: every request."""

from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Refusal", "refusal", "words_of"]


class Refusal(BaseModel):
    """Nothing was done, or not all of it."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    error: str
    """What is wrong and what to do."""


def refusal(status: int, error: str) -> web.Response:
    """An error with its fix."""
    return web.json_response({"error": error}, status=status)


def words_of(wrong: ValidationError) -> str:
    """Each field that is wrong, and why, in one line."""
    return "; ".join(_said(error) for error in wrong.errors(include_url=False))


def _said(error: Any) -> str:
    field = ".".join(map(str, error["loc"]))
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{field}: {said}" if field else said
