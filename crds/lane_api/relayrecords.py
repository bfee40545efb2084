"""Of RelayConfig: where accounting records lie, how they are sealed, and who else gets them."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from lane_api.model import ConfigModel
from lane_api.quantities import ByteSize, Duration

__all__ = ["Archive", "ArchiveS3", "Records", "Webhook"]


class ArchiveS3(ConfigModel):
    """A bucket of S3 or of a server that speaks it."""

    bucket: Annotated[str, Field(min_length=3, max_length=255)]
    prefix: Annotated[str, StringConstraints(pattern=r"^[^/].*[^/]$|^[^/]?$")] = ""
    """Before every object's name, without slashes at its ends."""
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """Absent: AWS, by region."""
    region: str = "us-east-1"
    credentials_dir: str
    """Folder with `access_key_id`, `secret_access_key` and, where given, `session_token` and `ca.crt`; read again when
    they change."""


class Archive(ConfigModel):
    """Where sealed segments and heads are kept beside the volume: one of both."""

    s3: ArchiveS3 | None = None
    path: str | None = None
    """A folder of another volume."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.s3 is None) == (self.path is None):
            raise ValueError("an archive is either s3 or path: name one of them")
        return self


class Webhook(ConfigModel):
    """Whom records are sent to, beside the files."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://")]
    secret_dir: str | None = None
    """Folder with `key`, which signs every request (HMAC-SHA256), and, where given, `authorization`, sent as that
    header, and `ca.crt`; read again when they change."""


class Records(ConfigModel):
    """Where accounting records lie; their budget is never the spool's."""

    path: str
    max_size: ByteSize = 2**30
    retention: Duration = 90 * 24 * 3600.0
    seal_every: Annotated[Duration, Field(ge=1)] = 900.0
    """A file of records is sealed when it is this old, if not before: what is archived is at most so far behind."""
    signing_key_file: str | None = None
    """Ed25519 private key in PEM; absent: heads are chained and not signed."""
    recipients: Literal["Plain", "Hashed"] = "Plain"
    """Hashed: records carry a keyed digest of each recipient, with the domain."""
    recipients_key_file: str | None = None
    """At least 16 octets; needed where recipients are Hashed."""
    archive: Archive | None = None
    webhook: Webhook | None = None

    @model_validator(mode="after")
    def _can_hash(self) -> Self:
        if self.recipients == "Hashed" and not self.recipients_key_file:
            raise ValueError("recipients: Hashed needs recipientsKeyFile, a file of at least 16 octets")
        return self
