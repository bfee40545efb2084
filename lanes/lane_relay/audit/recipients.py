"""Recipients in records, as the lane wants them: plain, or as keyed digests with their domain.

A digest is `h:` and 128 bits of HMAC-SHA256 in hexadecimal, over the whole address in lower case, then `@domain`: who
has the key finds an address, who has not learns how much went to which domain and no more. Where a reply or a return
path repeats the address, it is replaced there too. Invariant: a record that passed here holds no plain recipient in
any field of the relay's own making; Message-ID, correlation id and campaign are the sender's and stay.
Before: `account.records` asks for each record. After: the spool's log and the journal; `trace` finds by the key.
"""

import hmac
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from lane_api.relayconfig import Records
from lane_relay.errors import ConfigError

__all__ = ["KEY_OCTETS", "digest", "hide", "parse_key", "read_key"]

KEY_OCTETS: Final = 16
"""That a key has at least."""
_PREFIX: Final = "h:"
_HEX: Final = 32
_SIGNS: Final = re.compile("[@=]")


def parse_key(content: bytes) -> bytes:
    """The key of a file, without space around it; raises ConfigError that names the fix."""
    key = content.strip()
    if len(key) < KEY_OCTETS:
        raise ConfigError(f"the key for recipients has {len(key)} octets and needs {KEY_OCTETS}: openssl rand -hex 32")
    return key


def read_key(config: Records) -> bytes | None:
    """The lane's key, or None where recipients are plain; raises ConfigError that names the fix."""
    if config.recipients != "Hashed" or config.recipients_key_file is None:
        return None
    try:
        return parse_key(Path(config.recipients_key_file).read_bytes())
    except OSError as error:
        raise ConfigError(f"records.recipientsKeyFile cannot be read: {error}") from error


def digest(key: bytes, address: str) -> str:
    """What stands for an address; an address without domain, or a digest already, has none added."""
    if address.startswith(_PREFIX) or not address:
        return address
    lower = address.lower()
    domain = lower.rpartition("@")[2] if "@" in lower else ""
    hashed = hmac.digest(key, lower.encode(), "sha256").hex()[:_HEX]
    return f"{_PREFIX}{hashed}@{domain}" if domain else _PREFIX + hashed


def hide(key: bytes, recipients: tuple[str, ...]) -> Callable[[str], str]:
    """Replaces each of these addresses in a text, also where `@` is written `=` (VERP); other text stays.

    It takes the time of the text's length, however many addresses there are: texts are clients' and peers' to write.
    """
    sought = _Sought([one for one in recipients if one])
    return lambda text: sought.replaced(key, text)


class _Sought:
    """Addresses by what stands before and behind their sign."""

    def __init__(self, addresses: list[str]) -> None:
        self._by_sign: dict[str, dict[str, dict[str, str]]] = {"@": {}, "=": {}}
        """Sign -> local part -> domain -> address."""
        alone = set()
        for address in addresses:
            local, at, domain = _folded(address).rpartition("@")
            if not at:
                alone.add(domain)
                continue
            self._by_sign["@"].setdefault(local, {})[domain] = address
            self._by_sign["="].setdefault(local.replace("@", "="), {})[domain] = address
        self._lengths = {sign: _lengths(locals_) for sign, locals_ in self._by_sign.items()}
        self._domains = {
            sign: {local: _lengths(domains) for local, domains in locals_.items()}
            for sign, locals_ in self._by_sign.items()
        }
        self._alone = re.compile("|".join(map(re.escape, sorted(alone, key=len, reverse=True)))) if alone else None

    def replaced(self, key: bytes, text: str) -> str:
        """The text with digests in the addresses' places; of several the longest, as it is read."""
        folded, parts, at = _folded(text), list[str](), 0
        for sign in _SIGNS.finditer(folded):
            found = self._around(folded, at, sign.start())
            if found is not None:
                begin, end, address = found
                hidden = digest(key, address)
                parts += self._without_names(key, text, folded, at, begin)
                parts.append(hidden if sign[0] == "@" else hidden.partition("@")[0])
                at = end
        return "".join([*parts, *self._without_names(key, text, folded, at, len(text))])

    def _around(self, folded: str, least: int, at: int) -> tuple[int, int, str] | None:
        """(begin, end, address) of the one that has its sign there, behind what was replaced."""
        sign = folded[at]
        for length in self._lengths[sign]:
            local = folded[at - length : at] if at - length >= least else ""
            domains = self._by_sign[sign].get(local) if len(local) == length else None
            for size in self._domains[sign][local] if domains is not None else ():
                address = domains.get(folded[at + 1 : at + 1 + size]) if domains is not None else None
                if address is not None:
                    return at - length, at + 1 + size, address
        return None

    def _without_names(self, key: bytes, text: str, folded: str, begin: int, end: int) -> list[str]:
        """A part of the text in which there is no whole address: what has no domain is hidden there."""
        parts = []
        for found in self._alone.finditer(folded, begin, end) if self._alone is not None else ():
            parts += [text[begin : found.start()], digest(key, found[0])]
            begin = found.end()
        return [*parts, text[begin:end]]


def _lengths(texts: Iterable[str]) -> list[int]:
    """Each that there is, the longest first."""
    return sorted({len(one) for one in texts}, reverse=True)


def _folded(text: str) -> str:
    """As long as the text, with one letter for all that are taken for the same, such as a long s."""
    return text.lower() if text.isascii() else "".join(map(_folded_letter, text))


def _folded_letter(letter: str) -> str:
    upper = letter.upper()
    return (upper if len(upper) == 1 else letter).lower()[0]
