"""The records' part of a slot's RelayConfig. Invariant: paths of keys, never keys."""

from lane_api import names
from lane_api.relayconfig import Archive, ArchiveS3, Records, Webhook
from lane_operator.inputs import Lane

__all__ = ["records_of"]


def records_of(lane: Lane, budget: int) -> Records:
    """Where the slot's records lie, what seals them, and who else gets them."""
    audit = lane.spec.audit
    return Records(
        path=f"{names.SPOOL_DIR}/records",
        max_size=budget,
        retention=audit.retention,
        seal_every=audit.seal_every,
        signing_key_file=f"{names.AUDIT_DIR}/signing.key",
        recipients=audit.recipients,
        recipients_key_file=f"{names.AUDIT_DIR}/recipients.key",
        archive=_archive(lane),
        webhook=_webhook(lane),
    )


def _archive(lane: Lane) -> Archive | None:
    archive = lane.spec.audit.archive
    if archive is None:
        return None
    if archive.s3 is None:
        return Archive(path=names.ARCHIVE_DIR)
    s3 = archive.s3
    return Archive(
        s3=ArchiveS3(
            bucket=s3.bucket,
            prefix=s3.prefix,
            endpoint=s3.endpoint,
            region=s3.region,
            credentials_dir=names.ARCHIVE_ACCESS_DIR,
        )
    )


def _webhook(lane: Lane) -> Webhook | None:
    webhook = lane.spec.audit.webhook
    if webhook is None:
        return None
    return Webhook(url=webhook.url, secret_dir=names.WEBHOOK_DIR if webhook.secret_name else None)
