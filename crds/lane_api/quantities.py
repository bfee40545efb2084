"""Durations, sizes and rates as users write them (`15m`, `25Mi`, `60/m`) and as programs compute with them.

Parsed at the edge, once; inside, a duration is float seconds, a size is int bytes, a rate is a `Rate`.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema

__all__ = [
    "ByteSize",
    "Duration",
    "Rate",
    "RateField",
    "Span",
    "format_duration",
    "parse_duration",
    "parse_rate",
    "parse_size",
]

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"  # Go's duration syntax, as everywhere in Kubernetes
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SIZE_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$"
_SIZE = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(k|M|G|T|Ki|Mi|Gi|Ti)?$")
_RATE_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE_PATTERN = r"^[0-9]+/(s|m|h|d)$"
_RATE = re.compile(r"^([0-9]+)/(s|m|h|d)$")


def parse_duration(value: Any) -> float:
    """Seconds of a duration such as `90s`, `1h30m` or a plain number of seconds; raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str) or not re.match(_DURATION_PATTERN, value):
        fix = "write numbers with units (ms, s, m, h), such as 30s, 15m, 1h30m or 720h"
        raise ValueError(f"{value!r} is no duration: {fix}")
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(value))


def format_duration(seconds: float) -> str:
    """The shortest exact spelling of a duration in the largest unit that divides it."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    whole = int(seconds)
    for unit, size in (("h", 3600), ("m", 60)):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def parse_size(value: Any) -> int:
    """Bytes of a Kubernetes quantity such as `25Mi`; raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    matched = _SIZE.match(value) if isinstance(value, str) else None
    if matched is None:
        raise ValueError(f"{value!r} is no size: write a number and a unit, such as 512Ki, 25Mi or 10Gi")
    return int(float(matched[1]) * _SIZE_UNITS[matched[2] or ""])


def format_size(size_bytes: int) -> str:
    """The size in the largest binary unit that divides it."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if size_bytes and size_bytes % _SIZE_UNITS[unit] == 0:
            return f"{size_bytes // _SIZE_UNITS[unit]}{unit}"
    return str(size_bytes)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many events in so many seconds; a pacing mean, kept as written so that it prints as written."""

    count: int
    per_s: float

    @property
    def per_second(self) -> float:
        """Events a second."""
        return self.count / self.per_s

    def __str__(self) -> str:
        """The rate as users write it."""
        return f"{self.count}/{next(unit for unit, seconds in _RATE_UNITS.items() if seconds == self.per_s)}"


def parse_rate(value: Any) -> Rate:
    """The Rate of `20/s`, `60/m`, `500/h` or `10000/d`; raises ValueError, also for a rate of 0."""
    if isinstance(value, Rate):
        return value
    matched = _RATE.match(value) if isinstance(value, str) else None
    if matched is None:
        raise ValueError(f"{value!r} is no rate: write a number and a unit, such as 20/s, 60/m, 500/h or 10000/d")
    if int(matched[1]) == 0:
        raise ValueError("a rate of 0 would stop mail in silence; to stop a lane, set spec.suspend: true")
    return Rate(int(matched[1]), _RATE_UNITS[matched[2]])


_LONGEST = "87600h"
_TOO_LONG = {
    "rule": f"duration(self) <= duration('{_LONGEST}')",
    "message": f"must be at most {_LONGEST}, ten years: what is later cannot be told from never",
}
_NO_TIME = {
    "rule": "duration(self) > duration('0s')",
    "message": "must be more than 0s: write how long, such as 30s or 15m",
}


def _duration_schema(*rules: dict[str, str]) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "type": "string",
            "pattern": _DURATION_PATTERN,
            "maxLength": 24,
            "x-kubernetes-validations": [_TOO_LONG, *rules],
        }
    )


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    _duration_schema(),
]
"""Any time, also none at all."""
Span = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    _duration_schema(_NO_TIME),
]
"""A time that must pass: none at all would mean without a pause, or never."""
ByteSize = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _SIZE_PATTERN, "maxLength": 24}),
]
RateField = Annotated[
    Rate,
    PlainValidator(parse_rate),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": _RATE_PATTERN,
            "maxLength": 16,
            "x-kubernetes-validations": [
                {
                    "rule": "!self.matches('^0+/')",
                    "message": "a rate of 0 would stop mail in silence; to stop a lane, set spec.suspend: true on it",
                }
            ],
        }
    ),
]
