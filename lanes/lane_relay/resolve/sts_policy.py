"""MTA-STS as text: the TXT record, the policy, and whether it lists a host (RFC 8461 sections 3 and 4); pure.

Before it: `sts`, which has the texts. After it: `protection`. Invariant: what breaks the grammar is no policy at all.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal, cast

from msgspec import Struct

from lane_relay.smtp.address import normalise_domain

__all__ = ["StsPolicy", "lists", "read_policy", "read_record"]

_RECORD: Final = re.compile(r"v=STSv1[ \t]*;")
_ID: Final = re.compile(r"(?:^|;)[ \t]*id[ \t]*=[ \t]*([A-Za-z0-9]{1,32})[ \t]*(?:;|$)")
_MAX_AGE_S: Final = 31_557_600
"""RFC 8461 section 3.2: about a year; larger values are cut."""
_MODES: Final = ("enforce", "testing", "none")


class StsPolicy(Struct, frozen=True, gc=False):
    """One domain's policy."""

    id: str
    """Of the TXT record by which it was fetched."""
    mode: Literal["enforce", "testing", "none"]
    mx: tuple[str, ...]
    """Host names, or `*.` and a name; lower case."""
    max_age: float
    """Seconds."""
    fetched_at: float
    """Unix time."""

    @property
    def expires_at(self) -> float:
        """Unix time after which it says nothing any more."""
        return self.fetched_at + self.max_age


def read_record(records: Sequence[str]) -> str:
    """The id that the TXT records at `_mta-sts.DOMAIN` announce; empty: no policy, or several (section 3.1)."""
    announced = [record for record in records if _RECORD.match(record)]
    if len(announced) != 1:
        return ""
    found = _ID.search(announced[0])
    return found[1] if found else ""


def read_policy(text: str, policy_id: str, now: float) -> StsPolicy | str:
    """The policy, or what is wrong with it. Of a field given twice the first counts, but for `mx`."""
    fields: dict[str, str] = {}
    hosts: list[str] = []
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            if line.strip():
                return f"a line without a colon: {line[:40]!r}"
            continue
        key, value = key.strip(), value.strip()
        if key == "mx":
            pattern = _pattern(value)
            if not pattern:
                return f"mx is {value[:60]!r}, neither a host's name nor *. and a domain: one line for each"
            hosts.append(pattern)
        else:
            fields.setdefault(key, value)
    if fields.get("version") != "STSv1":
        return "no version: STSv1"
    mode, age = fields.get("mode", ""), fields.get("max_age", "")
    if mode not in _MODES:
        return f"mode is {mode[:20]!r}, neither enforce nor testing nor none"
    if not (age.isascii() and age.isdigit() and len(age) <= 10):
        return f"max_age is {age[:20]!r}, not a number of seconds"
    if mode != "none" and not hosts:
        return "no mx"
    kind = cast("Literal['enforce', 'testing', 'none']", mode)
    return StsPolicy(policy_id, kind, tuple(hosts), float(min(int(age), _MAX_AGE_S)), now)


def _pattern(value: str) -> str:
    """`["*."] Domain` (section 3.2) in A-labels; empty: it is none, and no host could ever fit it."""
    star = "*." if value.startswith("*.") else ""
    domain = normalise_domain(value.removeprefix("*.").removesuffix("."))
    return star + domain if domain else ""


def lists(policy: StsPolicy, host: str) -> bool:
    """Whether a host may get the domain's mail; `*.` stands for exactly one label (section 4.1)."""
    _, _, above = host.partition(".")
    return any(pattern == host or (pattern.startswith("*.") and pattern[2:] == above) for pattern in policy.mx)
