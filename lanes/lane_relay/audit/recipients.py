"""Recipients in records, as the lane wants them: plain, or as keyed digests with their domain.

A digest is `h:` and 128 bits of HMAC-SHA256 in hexadecimal, over the whole address in lower case, then `@domain`: who
has the key finds an address, who has not learns how much went to which domain and no more. Where a reply or a return
path repeats the address, it is replaced there too. Invariant: a record that passed here holds no plain recipient in
any field of the relay's own making; Message-ID, correlation id and campaign are the sender's and stay.
Before: `account.records` asks for each record. After: the spool's log and the journal; `trace` finds by the key.
"""

import hmac
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lane_api.relayconfig import Records
from lane_relay.errors import ConfigError

__all__ = ["KEY_OCTETS", "digest", "hide", "parse_key", "read_key"]

KEY_OCTETS: Final = 16
"""That a key has at least."""
_PREFIX: Final = "h:"
_HEX: Final = 32


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
    """Replaces each of these addresses in a text, also where `@` is written `=` (VERP); other text stays."""
    forms = {}
    for address in recipients:
        hidden = digest(key, address)
        forms[address.lower()] = hidden
        forms[address.lower().replace("@", "=")] = hidden.partition("@")[0]
    if not forms:
        return lambda text: text
    longest_first = sorted(forms, key=len, reverse=True)
    pattern = re.compile("|".join(f"({re.escape(form)})" for form in longest_first), re.IGNORECASE)
    # by its group, not by its text: what re takes for the same letter (such as a long s) need not be so in lower case
    return lambda text: pattern.sub(lambda matched: forms[longest_first[(matched.lastindex or 1) - 1]], text)
