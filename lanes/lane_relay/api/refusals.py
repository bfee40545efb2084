"""Errors of the admin API. Invariant: each is JSON `{"error": ...}` that names the fix. Before: every request."""

from aiohttp import web

__all__ = ["refusal"]


def refusal(status: int, error: str) -> web.Response:
    """An error with its fix."""
    return web.json_response({"error": error}, status=status)
