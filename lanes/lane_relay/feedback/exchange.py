"""The suppression list as CSV: what people bring, and what a list gives out. Pure.

What a list gives out has digests, never addresses, and is taken in again, here or in another list with the same key,
where words merge (see `suppressions`). What people bring has addresses or digests, and as many of the other columns as
they know. Invariant: a bad line is told with its number and costs no other line.
"""

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from io import StringIO
from typing import Final, TypeVar

from msgspec import Struct

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import SuppressionScope
from lane_relay.feedback.suppressions import Reason, Source, Suppressed
from lane_relay.mail.token import DIGEST_SIZE
from lane_relay.smtp.address import BadAddress, parse_mailbox

__all__ = [
    "COLUMNS", "BadLine", "Brought", "header", "read_line", "read_time", "shown", "text_of", "write_lines", "written",
]  # fmt: skip

COLUMNS: Final = ("digest", "reason", "class", "scope", "source", "created", "expires", "lifted")
_KNOWN: Final = frozenset({*COLUMNS, "address", "domain"})
_Choice = TypeVar("_Choice", bound=StrEnum)
_LAST: Final = 2**32 - 1
_MAX_LINE: Final = 2000
_DIGITS_OF_DATE: Final = 8
_TOO_LONG: Final = f"the line is longer than {_MAX_LINE} characters"


class BadLine(Struct, frozen=True):
    """Why a line is not taken."""

    why: str


class Brought(Struct, frozen=True):
    """A line that somebody brought; an address is not a digest yet, since that takes the key."""

    address: str = ""
    domain: str = ""
    """From domain that it is about, where the scope is Domain."""
    digest: bytes = b""
    reason: Reason = Reason.MANUAL
    about: TrafficClass | None = None
    """None: the lane's own."""
    source: Source = Source.IMPORT
    created: int = 0
    """0: now."""
    expires: int = 0
    scope: SuppressionScope | None = None
    lifted: bool = False


def text_of(line: bytes) -> str | BadLine:
    """A line's characters: a wrong one would make another address of it, and the one that was meant would get mail."""
    if len(line) > 4 * _MAX_LINE:
        return BadLine(_TOO_LONG)
    try:
        return line.decode()
    except UnicodeDecodeError as wrong:
        return BadLine(f"octet {wrong.start + 1} (0x{line[wrong.start]:02X}) is no UTF-8: save the file as UTF-8")


def header(line: str) -> tuple[str, ...] | BadLine:
    """The columns that a file's first line names; a byte order mark before them is none of them."""
    try:
        names = tuple(name.strip().lower() for name in next(csv.reader([line.removeprefix("\ufeff")]), []))
    except csv.Error as wrong:
        return BadLine(f"the line is no CSV: {wrong}")
    unknown = [name for name in names if name not in _KNOWN]
    if unknown or not {"address", "digest"} & set(names):
        fix = f"begin with a line of column names: address or digest, and any of {', '.join(sorted(_KNOWN))}"
        return BadLine(f"{f'{unknown[0]!r:.40} is no column' if unknown else 'neither address nor digest'}: {fix}")
    return names


def read_line(columns: tuple[str, ...], line: str, latest: int = _LAST) -> Brought | BadLine | None:
    """One line of a file with these columns, None for an empty one; `latest`: Unix seconds, of no word to come."""
    if not line.strip():
        return None
    if len(line) > _MAX_LINE:
        return BadLine(_TOO_LONG)
    try:
        values = next(csv.reader([line], strict=True))
    except (csv.Error, StopIteration):
        return BadLine("the line is no CSV: quotes do not match")
    if len(values) != len(columns):
        return BadLine(f"{len(values)} values for {len(columns)} columns")
    given = {name: value.strip() for name, value in zip(columns, values, strict=True) if value.strip()}
    try:
        return _brought(given, latest)
    except ValueError as wrong:
        return BadLine(str(wrong))


def _brought(given: dict[str, str], latest: int) -> Brought:
    """Raises ValueError with the fix."""
    address, digest = given.get("address", ""), b""
    if address:
        mailbox = parse_mailbox(address)
        if isinstance(mailbox, BadAddress):
            raise ValueError(f"address: {mailbox.reason}")
        address = str(mailbox)
    else:
        digest = _digest(given.get("digest", ""))
    created, expires = (read_time(given.get(field, ""), field) for field in ("created", "expires"))
    if created > latest:
        fix = "write when it was said, or leave it empty, which is now; `expires` says how long it counts"
        raise ValueError(f"created: {given['created']!r:.40} is in the future: {fix}")
    return Brought(
        address,
        given.get("domain", "").lower(),
        digest,
        _member(Reason, given.get("reason", "manual").lower(), "reason"),
        _member(TrafficClass, given["class"], "class") if "class" in given else None,
        _source(given.get("source", "import")),
        created,
        expires,
        _member(SuppressionScope, given["scope"], "scope") if "scope" in given else None,
        given.get("lifted", "").lower() in ("true", "1", "yes"),
    )


def _digest(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != DIGEST_SIZE:
        raise ValueError(f"digest: must be {2 * DIGEST_SIZE} hexadecimal digits, as an export has it")
    return digest


def _member(kind: type[_Choice], value: str, field: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(one.value) for one in kind)
        raise ValueError(f"{field}: {value!r:.40} is none of {known}") from None


def _source(text: str) -> Source:
    try:
        return Source[text.upper().replace("-", "_")]
    except KeyError:
        raise ValueError(f"source: {text!r:.40} is none of {', '.join(map(_named, Source))}") from None


def _named(source: Source) -> str:
    return source.name.lower().replace("_", "-")


def read_time(text: str, field: str) -> int:
    """Unix seconds of a time as RFC 3339 has it, of a date, or of Unix seconds; 0 for none; raises ValueError.

    Eight digits are a date: as seconds they would be of 1973 at the latest.
    """
    if not text:
        return 0
    try:
        if text.isdecimal() and len(text) != _DIGITS_OF_DATE:
            found = int(text)
        else:
            moment = datetime.fromisoformat(text)
            found = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        found = -1
    if not 0 <= found <= _LAST:
        raise ValueError(f"{field}: {text!r:.40} is no time: write 2026-11-28, 2026-11-28T12:00:00Z or Unix seconds")
    return found


def shown(word: Suppressed) -> dict[str, str]:
    """A word as JSON and CSV have it."""
    return {
        "digest": word.digest.hex(),
        "reason": word.reason.value,
        "class": word.about.value,
        "scope": word.scope.value,
        "source": _named(word.source),
        "created": written(word.created),
        "expires": written(word.expires) if word.expires else "",
        "lifted": "true" if word.lifted else "",
    }


def written(unix: int) -> str:
    """A Unix time as RFC 3339 has it."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_lines(words: Iterable[Suppressed]) -> Iterator[str]:
    """The words as lines of CSV, without the line of names."""
    for word in words:
        out = StringIO()
        values = shown(word)
        csv.writer(out, lineterminator="\n").writerow([values[name] for name in COLUMNS])
        yield out.getvalue()
