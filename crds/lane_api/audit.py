"""A lane's records: how long they are kept, who is named in them, and where they go beside the slot's volume."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.model import ApiModel, ObjectName, cel
from lane_api.quantities import ByteSize, Span

__all__ = ["Archive", "ArchivePvc", "ArchiveS3", "Audit", "Webhook"]

_URL = r"^https?://[^\s/]+(/[^\s]*)?$"
_ENDPOINT = r"^https?://([A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-~]*)?$"
"""With a host that can be asked: the client of the archive bears no other."""


class ArchiveS3(ApiModel):
    """A bucket of S3 or of a server that speaks it; nothing in it is ever overwritten or deleted by a slot."""

    bucket: Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")]
    """Its name; it must be there already."""
    prefix: Annotated[str, Field(max_length=512, pattern=r"^([^/\s]+(/[^/\s]+)*)?$")] = ""
    """Before every object's name; below it come namespace, lane, slot, journal and day. Default: none."""
    endpoint: Annotated[str, Field(max_length=512, pattern=_ENDPOINT)] | None = None
    """Of a server other than AWS, such as https://s3.example.com. Default: AWS, by region."""
    region: Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9-]+$")] = "us-east-1"
    """Default us-east-1."""
    secret_name: ObjectName
    """In the lane's namespace, with `access_key_id` and `secret_access_key`, and where needed `session_token` and
    `ca.crt`. The key needs s3:PutObject, s3:GetObject and s3:ListBucket."""


class ArchivePvc(ApiModel):
    """A volume claim in the lane's namespace; of several slots, one that all their nodes can mount (ReadWriteMany)."""

    claim_name: ObjectName
    """Its name; it must be there already."""


class Archive(ApiModel):
    """Where sealed records and their signed heads are kept when slot, lane and volume are gone: one of both."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("has(self.s3) != has(self.pvc)", "name one place: s3 or pvc; leave archive out for none")
        )
    )

    s3: ArchiveS3 | None = None
    pvc: ArchivePvc | None = None


class Webhook(ApiModel):
    """Records are posted there too, in order and at least once, in batches of JSON (docs/records.md)."""

    url: Annotated[str, Field(max_length=2048, pattern=_URL)]
    """Whole address; it answers 2xx once it has a batch, anything else is tried again."""
    secret_name: ObjectName | None = None
    """In the lane's namespace: `key` signs every request (HMAC-SHA256), `authorization` is sent as that header, and
    `ca.crt` is trusted. Default: none of them."""


class Audit(ApiModel):
    """Per-message records on the queue volume; their budget is never the spool's."""

    max_size: ByteSize = 2**30
    """Of each slot, out of `queue.size`; beyond it the oldest records go, and a signed statement says so. Default
    1Gi."""
    retention: Span = 90 * 24 * 3600.0
    """Older records go, an eighth of it late at most; beyond `maxSize` they go earlier. With an archive they wait until
    they are in it. Default 2160h, 90 days."""
    seal_every: Annotated[
        Span,
        Field(json_schema_extra=cel(("duration(self) >= duration('10s')", "must be at least 10s; default 15m"))),
    ] = 900.0
    """Records are sealed and archived when they are this old, if not before. Default 15m."""
    recipients: Literal["Plain", "Hashed"] = "Plain"
    """Plain: addresses as they are. Hashed: a keyed digest and the domain stand for each recipient; who has the Secret
    LANE-audit finds an address by `lane-relay trace --recipient`. Holds for records to come. Default Plain."""
    archive: Archive | None = None
    """Default: none; then records live as long as the slot's volume."""
    webhook: Webhook | None = None
    """Default: none."""
