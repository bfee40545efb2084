"""Mailboxes of the envelope (RFC 5321 section 4.1.2, RFC 6531): text in, a normalised Mailbox or a reason out.

Invariant: a Mailbox holds no control character, its domain is lower case in A-labels, and `str(mailbox)` parses to
the same Mailbox again. Address literals are refused: a lane sends to domains, whose policies and limits it keeps.
"""

import re
from functools import lru_cache
from typing import Final

import idna

from lane_relay.records import Record

__all__ = ["BadAddress", "Mailbox", "normalise_domain", "parse_mailbox"]

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ATOM_UTF8: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOT_ATOM_UTF8 = re.compile(rf"{_ATOM_UTF8}(?:\.{_ATOM_UTF8})*")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~\u00a0-\U0010ffff]|\\[ -~])*)"')
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_LOCAL, _MAX_DOMAIN, _MAX_MAILBOX = 64, 253, 254
"""Octets: RFC 5321 sections 4.5.3.1.1 to 4.5.3.1.3 (a path of 256 holds two brackets); DNS allows 253."""
_CACHED_DOMAINS: Final = 16384


class Mailbox(Record, frozen=True, gc=False):
    """`local` is as written, quotes included if they are needed; `domain` is normalised."""

    local: str
    domain: str

    def __str__(self) -> str:
        """As it stands in the envelope."""
        return f"{self.local}@{self.domain}"


class BadAddress(Record, frozen=True, gc=False):
    """Why a text is no mailbox that a lane takes."""

    reason: str
    about_domain: bool = False
    """The domain is at fault, not the local part: 5.1.2 or 5.1.8 instead of 5.1.3 or 5.1.7 (RFC 3463)."""


@lru_cache(maxsize=_CACHED_DOMAINS)
def normalise_domain(text: str) -> str:
    """The domain in lower-case A-labels (IDNA 2008), or an empty string if it is none."""
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return ""
    domain = text.lower()
    labels = domain.split(".")
    # An all-numeric last label is an IPv4 address without its brackets, never a top-level domain (RFC 3696 section 2).
    if len(domain) > _MAX_DOMAIN or labels[-1].isdecimal() or not all(map(_LABEL.fullmatch, labels)):
        return ""
    return domain


def parse_mailbox(text: str) -> Mailbox | BadAddress:
    """The mailbox written between the angle brackets of MAIL or RCPT, or what is wrong with it."""
    local, at, domain_text = text.rpartition("@")
    if not at:
        return BadAddress("an address needs a local part, @ and a domain")
    if domain_text[:1] == "[" or domain_text[-1:] == "]":
        return BadAddress("address literals are not accepted, use a domain name", about_domain=True)
    domain = normalise_domain(domain_text)
    if not domain:
        return BadAddress(f"{domain_text!r} is not a domain name", about_domain=True)
    if not _DOT_ATOM.fullmatch(local):
        unusual = _unusual_local(local)
        if unusual is None:
            return BadAddress("the local part is not a dot-atom or quoted string")
        local = unusual
    octets = len(local) if local.isascii() else len(local.encode())
    if octets > _MAX_LOCAL or octets + 1 + len(domain) > _MAX_MAILBOX:
        return BadAddress(f"the address is longer than {_MAX_LOCAL} octets before @ or {_MAX_MAILBOX} in all")
    return Mailbox(local, domain)


def _unusual_local(local: str) -> str | None:
    """A UTF-8 or quoted local part as it is kept; needless quotes go (RFC 5321 section 4.1.2), or None."""
    if not local.isprintable():
        return None
    if _DOT_ATOM_UTF8.fullmatch(local):
        return local
    quoted = _QUOTED.fullmatch(local)
    if quoted is None:
        return None
    plain = re.sub(r"\\(.)", r"\1", quoted[1])
    if _DOT_ATOM_UTF8.fullmatch(plain):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
