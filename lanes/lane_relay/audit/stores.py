"""Where an archive lies: a bucket that speaks S3, or a folder of another volume.

Invariants: nothing that is there is ever overwritten or removed (conditional put; exclusive link); a put that meets its
own content is a success, so that it may be repeated; one that meets other content is a conflict for a person; whatever
the client of S3 raises, its panics with them, is an UnavailableError that says what to look at.
Credentials come from files and are read again when these change. Before: `archive` puts. After: `verify`, `trace` read.
"""

import os
import re
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from lane_api.relayconfig import Archive, ArchiveS3
from lane_relay.audit.evidence import DirectoryStore
from lane_relay.errors import ConfigError, RelayError

if TYPE_CHECKING:
    from obstore.store import S3Store as _Client

__all__ = ["ArchiveStore", "ConflictError", "PathStore", "S3Store", "UnavailableError", "open_archive"]

CONNECT_S: Final = 5.0
REQUEST_S: Final = 60.0  # 16 MiB of records are some 1.5 MiB packed
_NEEDED: Final = ("access_key_id", "secret_access_key")
_WIRED: Final = re.compile(r"[ -~]+")
"""What a header field can carry as it is: no name of a key or token has anything else."""
_KEY: Final = re.compile(r"[^\x00-\x1f\x7f]+")
"""A key itself goes into a digest alone; a control character in it is a slip."""
_ADDRESS: Final = re.compile(r"[!-~]+")
_REGION: Final = re.compile(r"[A-Za-z0-9_-]+")
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


class UnavailableError(RelayError):
    """The archive did not take or give something; it may later."""


class ConflictError(RelayError):
    """Something else is there under a name of ours."""


class PathStore(DirectoryStore):
    """A folder; methods block."""

    def __init__(self, path: Path) -> None:
        """Makes the folder where it is missing; UnavailableError if it cannot be used."""
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o750)
            super().__init__(path)
        except OSError as error:
            raise UnavailableError(f"{path} cannot be used: {error.strerror}") from error

    def put(self, name: str, content: bytes) -> None:
        """Durable when it returns; UnavailableError, ConflictError."""
        path = self._path / name
        try:
            self._put(path, content)
        except FileExistsError:
            if path.read_bytes() != content:
                raise ConflictError(f"{path} is there with other content") from None
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error

    def _put(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        part = path.with_name(f".{uuid4().hex}.part")
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(part)  # fails where something is
        finally:
            part.unlink(missing_ok=True)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class S3Store:
    """A bucket; methods block, and wait at most a minute for each answer."""

    def __init__(self, config: ArchiveS3, request_s: float = REQUEST_S) -> None:
        """Nothing is asked of the server yet."""
        self._config = config
        self._request = timedelta(seconds=request_s)
        self._client: _Client | None = None
        self._stamp: tuple[Any, ...] = ()

    def names(self) -> Iterable[str]:
        """See evidence.Store; UnavailableError."""
        import obstore

        with self._edge("listed"):
            pages = iter(obstore.list(self._opened()))
        while True:
            with self._edge("listed"):
                page = next(pages, None)
            if page is None:
                return
            for found in page:
                yield found["path"]

    def read(self, name: str) -> bytes:
        """See evidence.Store; FileNotFoundError, UnavailableError."""
        import obstore

        with self._edge(f"read ({name})"):
            try:
                return bytes(obstore.get(self._opened(), name).bytes())
            except (FileNotFoundError, obstore.exceptions.NotFoundError):
                pass
        raise FileNotFoundError(f"s3://{self._config.bucket}/{self._key(name)}")

    def put(self, name: str, content: bytes) -> None:
        """Stored when it returns; UnavailableError, ConflictError."""
        import obstore

        is_there = False
        with self._edge(f"written ({name})"):
            try:
                obstore.put(self._opened(), name, content, mode="create", use_multipart=False)
            except obstore.exceptions.AlreadyExistsError:
                is_there = True
        if is_there and self.read(name) != content:
            raise ConflictError(f"s3://{self._config.bucket}/{self._key(name)} is there with other content")

    def _key(self, name: str) -> str:
        return f"{self._config.prefix}/{name}" if self._config.prefix else name

    @contextmanager
    def _edge(self, what: str) -> Iterator[None]:
        """Beyond it the client is no more than a place that is not available now, with a reason."""
        try:
            yield
        except (UnavailableError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a panic of the client is no Exception
            raise self._unavailable(what, error) from error

    def _unavailable(self, what: str, error: BaseException) -> UnavailableError:
        where = f"bucket {self._config.bucket} at {self._config.endpoint or 'AWS'}"
        if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
            return UnavailableError(
                f"{where} cannot be {what}: the credentials in {self._config.credentials_dir} are refused; they need "
                "s3:PutObject, s3:GetObject and s3:ListBucket"
            )
        return UnavailableError(f"{where} cannot be {what}: {_plain(error)}")

    def _opened(self) -> "_Client":
        """The client, made anew when a credential changes."""
        folder = Path(self._config.credentials_dir)
        stamp = tuple(_stamp(folder / name) for name in (*_NEEDED, "session_token", "ca.crt"))
        if self._client is None or stamp != self._stamp:
            self._client, self._stamp = self._open(folder), stamp
        return self._client

    def _open(self, folder: Path) -> "_Client":
        from obstore.store import S3Store as Client

        self._check_place()
        given = {name: _content(folder / name) for name in (*_NEEDED, "session_token")}
        for name in _NEEDED:
            if not given[name]:
                raise UnavailableError(f"{folder / name} is missing or empty: the archive's Secret needs {name}")
        for name, value in given.items():
            if value and not (_KEY if name == "secret_access_key" else _WIRED).fullmatch(value):
                raise UnavailableError(
                    f"{folder / name} holds a line end or another character that none has: write {name} of the "
                    "archive's Secret anew, as one line of it alone"
                )
        config: dict[str, Any] = {
            "region": self._config.region,
            "checksum_algorithm": "SHA256",  # what a bucket with object lock asks for
            "conditional_put": "etag",
            **{name: given[name] for name in (*_NEEDED, "session_token") if given[name]},
        }
        if self._config.endpoint:
            config["endpoint"] = self._config.endpoint
        client: dict[str, Any] = {
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "timeout": self._request,
            "allow_http": (self._config.endpoint or "").startswith("http://"),
        }
        if authorities := _authorities(folder / "ca.crt"):
            client["root_certificate"] = authorities
        return Client(
            self._config.bucket,
            prefix=self._config.prefix or None,
            config=config,  # type: ignore[arg-type]  # made above, key by key
            client_options=client,  # type: ignore[arg-type]
            retry_config={"max_retries": 0, "retry_timeout": self._request},  # `archive` waits longer
        )

    def _check_place(self) -> None:
        """The endpoint and the region can be asked at all; UnavailableError.

        The agreement's pattern wants the same of new lanes; here it stops an archive, there it would stop a relay.
        """
        endpoint = self._config.endpoint
        if endpoint is not None and not _is_address(endpoint):
            raise UnavailableError(
                f"the archive's endpoint {endpoint!r:.200} names no host: write it as https://s3.example.com, with "
                ":PORT where it has one"
            )
        if not _REGION.fullmatch(self._config.region):
            raise UnavailableError(
                f"the archive's region {self._config.region!r:.80} is none: write letters, digits and hyphens alone, "
                "such as eu-central-1"
            )


ArchiveStore = PathStore | S3Store


def open_archive(config: Archive) -> ArchiveStore:
    """The store that is configured; UnavailableError if it cannot be used now."""
    if config.s3 is not None:
        return S3Store(config.s3)
    if config.path is None:
        raise ConfigError("an archive is either s3 or path: name one of them")
    return PathStore(Path(config.path))


def _is_address(endpoint: str) -> bool:
    try:
        found = urlsplit(endpoint)
        named, _ = found.hostname, found.port
    except ValueError:  # half an IPv6 address, or a port that cannot be
        return False
    return found.scheme in ("http", "https") and bool(named) and _ADDRESS.fullmatch(endpoint) is not None


def _authorities(path: Path) -> str:
    """The certificates of a file, without the words between them; empty: no file; UnavailableError if it has none."""
    text = _content(path)
    if not text and not path.exists():
        return ""
    found = "\n".join(_CERTIFICATE.findall(text))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (ssl.SSLError, ValueError) as error:
        raise UnavailableError(
            f"{path} holds no certificate in PEM that can be read: put the server's authority there (it begins with "
            "-----BEGIN CERTIFICATE-----), or leave ca.crt out of the archive's Secret"
        ) from error
    return found + "\n"


def _plain(error: BaseException) -> str:
    """The first line of what the client says; the rest is its inside."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
