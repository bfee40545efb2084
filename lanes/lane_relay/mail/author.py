"""The author of a message: the one address in its one From field, read so that no receiver reads another.

Invariant: what is not plainly one mailbox is refused with a text that says why; guessing here would let a sender show
a From that its policy never saw. No value raises, and none costs more than a few milliseconds.
"""

import re
from email import policy
from email.headerregistry import AddressHeader
from functools import lru_cache
from typing import Final

from lane_relay.records import Record
from lane_relay.smtp.address import BadAddress, parse_mailbox

__all__ = ["Author", "NoAuthor", "parse_author"]

_PLAIN = re.compile(
    r"""(?:"(?:[^"\\\r\n]|\\[^\r\n])*"\s*|[^"<>()\[\]:;,@\\\r\n]*)<([^<>"()\[\]:;,\\\s]+)>|([^<>"()\[\]:;,\\\s]+)"""
)
"""`Name <address>`, `"Name" <address>`, `<address>` or `address`, without comments, groups and lists.

No two neighbours match the same character, so there is one way to try, in time proportional to the length.
The blanks around the whole are taken off before.
"""
_FOLD = re.compile(r"\r\n(?=[ \t])")
_CACHED_AUTHORS: Final = 256
"""A lane has few of them."""
_MAX_OCTETS: Final = 2048
"""Of the whole value: an address has 254 at most, a long name in encoded words some hundreds."""
_MAX_UNUSUAL: Final = 512
"""Characters that the library's parser is given: its time grows with their square, 2048 quotes take it 50 ms."""
_MAX_COMMENTS: Final = 10
"""Opening parentheses; that parser recurses into each."""


class Author(Record, frozen=True, gc=False):
    """Who the message says it is from."""

    address: str
    domain: str
    """Lower case, A-labels."""


class NoAuthor(Record, frozen=True, gc=False):
    """Why the message has no author that can be judged."""

    reason: str


_FORM: Final = 'write it as Name <address>, and "Name, Inc." in quotes where the name has a comma or the like in it'
_MALFORMED: Final = NoAuthor(f"the From field is malformed: {_FORM}")


def parse_author(fields: list[bytes]) -> Author | NoAuthor:
    """The author in these values of From fields."""
    if len(fields) != 1:
        what = "no From field" if not fields else f"{len(fields)} From fields"
        return NoAuthor(f"the message has {what}, it needs exactly one")
    if len(fields[0]) > _MAX_OCTETS:  # before the cache, which keeps what it is asked about
        return NoAuthor(f"the From field is longer than {_MAX_OCTETS} octets")
    return _parse_value(fields[0])


@lru_cache(maxsize=_CACHED_AUTHORS)
def _parse_value(value: bytes) -> Author | NoAuthor:
    try:
        text = _FOLD.sub("", value.decode()).strip()
    except UnicodeDecodeError:
        return NoAuthor("the From field is not UTF-8")
    matched = _PLAIN.fullmatch(text)
    if matched is not None:
        return _judge(matched[1] or matched[2])
    return _parse_unusual(text)


def _parse_unusual(text: str) -> Author | NoAuthor:
    """Comments, quoted local parts and the like, by the standard library's parser."""
    if len(text) > _MAX_UNUSUAL or text.count("(") > _MAX_COMMENTS:
        return NoAuthor("the From field is too long or has too many comments: write it as Name <address>")
    try:
        field = policy.SMTPUTF8.header_factory("from", text)
    except Exception:  # noqa: BLE001 -- it stumbles over malformed values in ways that it does not name: any is the same
        return _MALFORMED
    if field.defects or not isinstance(field, AddressHeader):
        return _MALFORMED
    if len(field.addresses) != 1 or field.groups[0].display_name is not None:
        return NoAuthor(f"the From field must name exactly one address: {_FORM}")
    return _judge(field.addresses[0].addr_spec)


def _judge(address: str) -> Author | NoAuthor:
    mailbox = parse_mailbox(address)
    if isinstance(mailbox, BadAddress):
        return NoAuthor(f"the address of the From field is wrong: {mailbox.reason}")
    return Author(str(mailbox), mailbox.domain)
