"""Which serial a slot's configuration has: rises with each other content, stays while the content does; pure.

The generation of the lane does not tell them apart: a changed policy, pool or Secret gives another content under it.
"""

import re

from lane_api.names import CONFIG_DIGEST_ANNOTATION, CONFIG_SERIAL_ANNOTATION
from lane_operator.inputs import Handed, Manifest

__all__ = ["marks", "serial"]

_SERIAL = re.compile(r"[0-9]{1,15}")
_LARGEST = 10**15 - 1  # far beyond any time in seconds; a hand's larger number must not leave us without a next one


def marks(digest: str, number: int) -> dict[str, str]:
    """The annotations of a config Secret that `serial` reads back."""
    return {CONFIG_DIGEST_ANNOTATION: digest, CONFIG_SERIAL_ANNOTATION: str(number)}


def serial(digest: str, secret: Manifest | None, handed: Handed, now: int) -> int:
    """The serial of this content: the newest one that is known, if that is of the same content, else a higher one.

    `secret` is the slot's config Secret as it stands, `now` Unix seconds: with the Secret lost, what a relay holds has
    a lower serial all the same. What was handed out counts too, for a Secret that cannot be written must not give the
    same content another serial in every pass.
    """
    known = (_live(secret), (handed.digest, handed.serial), (None, handed.reported))
    newest = max(number for _, number in known if number <= _LARGEST)
    contents = {content for content, number in known if number == newest and content is not None}
    return newest if newest and contents == {digest} else max(newest + 1, now)


def _live(secret: Manifest | None) -> tuple[str, int]:
    """Digest and serial on the Secret; 0 where a hand has written what is none."""
    noted = (secret or {}).get("metadata", {}).get("annotations") or {}
    number = noted.get(CONFIG_SERIAL_ANNOTATION, "")
    return noted.get(CONFIG_DIGEST_ANNOTATION, ""), int(number) if _SERIAL.fullmatch(number) else 0
