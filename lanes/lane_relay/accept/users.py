"""Who may authenticate: a folder with one file a user, holding the password or its hash.

Invariant: comparing takes the same time wherever texts differ, and no password is kept: a successful check is
remembered as an HMAC under a key of this process, so that a slow hash costs once. The file is read at every check,
which is how a changed or deleted user takes effect at once.
`verify` may take a second of CPU and reads the disk: it is called in a thread.
"""

import hashlib
import hmac
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

    def verify(self, username: str, password: str) -> bool:
        """This password is this user's; raises OSError if the folder cannot be read."""
        secret = self._secret(username)
        # The stored secret is part of what is remembered: a new password makes the old one unknown at once.
        text = "\0".join((username, password, secret or "")).encode("utf-8", "surrogatepass")
        seal = hmac.digest(self._key, text, "sha256")
        with self._lock:
            if secret is not None and seal in self._verified:
                self._verified.move_to_end(seal)
                return True
        if not matches(password, secret or "") or not secret:
            return False
        with self._lock:
            self._verified[seal] = None
            if len(self._verified) > _REMEMBERED:
                self._verified.popitem(last=False)
        return True

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
