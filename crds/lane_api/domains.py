"""A lane's From domains and how each is signed."""

from typing import Literal

from pydantic import ConfigDict

from lane_api.feedback import ReturnPathSpec
from lane_api.model import ApiModel, Label, MailDomain, ObjectName, cel

__all__ = ["DkimSpec", "LaneDomain"]


class DkimSpec(ApiModel):
    """DKIM of one domain (RFC 6376): RSA-2048, relaxed/relaxed, and Ed25519 beside it (RFC 8463)."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.secretName) || has(self.selector)",
                "a given key (secretName) needs selector: the label under _domainkey that publishes its public half",
            ),
        )
    )

    mode: Literal["Sign", "Off"] = "Sign"
    """Sign: mail waits until DNS answers the selector with the key. Off: mail leaves unsigned, as it does in no
    other way; quote it in YAML, which reads a bare Off as false. Default Sign."""
    selector: Label | None = None
    """Default: made with the key and shown in status."""
    secret_name: ObjectName | None = None
    """An existing key: Secret with `tls.key` or `private.key` in PEM; then `selector` is required.

    Absent: a key is made once, in a Secret named in status, and never made again.
    """
    ed25519: bool = True
    """Sign with an Ed25519 key too, made beside the generated one; it joins in once DNS answers the second record in
    status, for which no mail waits. A given key (secretName) signs alone. Default true."""


class LaneDomain(ApiModel):
    """A From domain of the lane."""

    name: MailDomain
    """Exactly what the header From has after its @; mail of another domain, or of one below it, is refused with 550
    5.7.1."""
    dkim: DkimSpec = DkimSpec()
    return_path: ReturnPathSpec | None = None
    """Needs `feedback` with mode Rewrite. Default: the sender's own envelope goes out."""
