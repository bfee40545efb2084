"""Counts as status shows them, rounded, so that a busy queue does not mean a write a second; pure."""

from collections.abc import Iterable

__all__ = ["oldest", "rounded"]


def rounded(count: int) -> int:
    """The count to two significant digits."""
    digits = len(str(count)) - 2
    return count if digits <= 0 else round(count, -digits)


def oldest(times: Iterable[str | None]) -> str | None:
    """The earliest of some RFC 3339 UTC times, which sort as text."""
    return min((time for time in times if time), default=None)
