"""Who may authenticate: a folder with one file a user, holding the password or its hash.

Invariants: comparing takes the same time wherever texts differ; for a name that is nobody's the hash of somebody else
is computed, so that the time tells nobody who is a user here; no password is kept: a successful check is remembered as
an HMAC under a key of this process, so that a slow hash costs once. The file is read at every check, which is how a
changed or deleted user takes effect at once.
`verify` may take a second of CPU and reads the disk: it is called in a thread, and so is `recalls`.
"""

import hashlib
import hmac
import os
import re
from base64 import b64decode
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Final

__all__ = ["Users", "matches"]

_SCRYPT = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/.]*)\$([A-Za-z0-9+/.]+)")
_PBKDF2 = re.compile(r"\$pbkdf2-sha256\$(\d{1,8})\$([A-Za-z0-9+/.]*)\$([A-Za-z0-9+/.]+)")
"""Both as passlib writes them: base64 without padding, with `.` for `+` in the second."""
_USER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._@+-]{0,252}")
"""Keys of a Secret, and nothing that leads out of the folder (Kubernetes' own links begin with two dots)."""
_MAX_SECRET_BYTES: Final = 4096
_MAX_SCRYPT_BYTES: Final = 256 * 2**20
"""Of memory for one check: N = 2**17 with r = 8 (OWASP's figure, 128 MiB) fits."""
_REMEMBERED: Final = 4096


class Users:
    """The users of one folder; `verify` is safe to call from several threads."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.folder = folder
        self._key = key
        """Random, of this process."""
        self._lock = Lock()
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        """Guarded by `_lock`; oldest out."""
        self._listed: tuple[int, tuple[str, ...]] | None = None
        """When the folder was changed last (nanoseconds), and its users then."""

    def recalls(self, username: str, password: str) -> bool:
        """This password was found to be this user's before, and both are what they were; no hash is computed.

        Raises OSError if the folder cannot be read.
        """
        secret = self._secret(username)
        return secret is not None and self._is_verified(self._seal(username, password, secret))

    def verify(self, username: str, password: str) -> bool:
        """This password is this user's; raises OSError if the folder cannot be read."""
        secret, stand_in = self._secret(username), self._stand_in(username)
        seal = self._seal(username, password, secret or "")
        if secret is not None and self._is_verified(seal):
            return True
        if not matches(password, secret or stand_in) or not secret:
            return False
        with self._lock:
            self._verified[seal] = None
            if len(self._verified) > _REMEMBERED:
                self._verified.popitem(last=False)
        return True

    def _seal(self, username: str, password: str, secret: str) -> bytes:
        """The stored secret is part of what is remembered: a new password makes the old one unknown at once."""
        text = f"{username}\0{password}\0{secret}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, "sha256")

    def _is_verified(self, seal: bytes) -> bool:
        with self._lock:
            if seal not in self._verified:
                return False
            self._verified.move_to_end(seal)
            return True

    def _stand_in(self, username: str) -> str:
        """The secret that a name without one is compared with, always the same for a name; empty: nobody has any.

        A user's own: of no other could it be said that it is of the same kind and cost. It is read for everybody.
        """
        seed = hmac.digest(self._key, b"stand-in\0" + username.encode("utf-8", "surrogatepass"), "sha256")
        names = self._names()
        return self._secret(names[int.from_bytes(seed[:8]) % len(names)]) or "" if names else ""

    def _names(self) -> tuple[str, ...]:
        """All users; listed anew when the folder was changed."""
        changed = self.folder.stat().st_mtime_ns
        listed = self._listed
        if listed is None or listed[0] != changed:
            with os.scandir(self.folder) as found:
                names = [one.name for one in found if _USER.fullmatch(one.name) and one.is_file()]
            listed = self._listed = (changed, tuple(sorted(names)))
        return listed[1]

    def _secret(self, username: str) -> str | None:
        if not _USER.fullmatch(username):
            self.folder.stat()  # raises if all of it is gone: nobody is a stranger then, a client may come again
            return None
        try:
            with (self.folder / username).open("rb") as file:
                text = file.read(_MAX_SECRET_BYTES)
        except (FileNotFoundError, IsADirectoryError):
            self.folder.stat()  # raises if all of it is gone: nobody is a stranger then, a client may come again
            return None
        return text.decode("utf-8", "replace").rstrip("\r\n")


def matches(password: str, secret: str) -> bool:
    """The password is what the stored secret stands for: itself, or the source of a scrypt or PBKDF2 hash."""
    given = password.encode("utf-8", "surrogatepass")
    if secret.startswith("$scrypt$"):
        return _matches_scrypt(given, secret)
    if secret.startswith("$pbkdf2-sha256$"):
        return _matches_pbkdf2(given, secret)
    return hmac.compare_digest(given, secret.encode())


def _matches_scrypt(given: bytes, secret: str) -> bool:
    matched = _SCRYPT.fullmatch(secret)
    if matched is None:
        return False
    log_n, r, p = (int(matched[group]) for group in (1, 2, 3))
    salt, expected = _unpadded(matched[4]), _unpadded(matched[5])
    needed = 128 * r * ((1 << log_n) + p + 2)
    if not (log_n >= 1 and r and p and expected) or needed > _MAX_SCRYPT_BYTES:
        return False
    computed = hashlib.scrypt(given, salt=salt, n=1 << log_n, r=r, p=p, maxmem=needed + 2**20, dklen=len(expected))
    return hmac.compare_digest(computed, expected)


def _matches_pbkdf2(given: bytes, secret: str) -> bool:
    matched = _PBKDF2.fullmatch(secret)
    if matched is None or not 1 <= int(matched[1]) <= 10_000_000:
        return False
    salt, expected = _unpadded(matched[2]), _unpadded(matched[3])
    computed = hashlib.pbkdf2_hmac("sha256", given, salt, int(matched[1]), dklen=max(len(expected), 1))
    return hmac.compare_digest(computed, expected)


def _unpadded(text: str) -> bytes:
    """Base64 without padding; a text of impossible length is empty and matches nothing."""
    text = text.replace(".", "+")
    return b"" if len(text) % 4 == 1 else b64decode(text + "=" * (-len(text) % 4))
