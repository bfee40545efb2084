"""Where a relay's accepted mail lies; a part of relay.yaml."""

from typing import Annotated

from pydantic import Field

from lane_api.model import ConfigModel
from lane_api.quantities import ByteSize

__all__ = ["Spool", "SpoolClaim", "SpoolMark"]


class SpoolMark(ConfigModel):
    """How far a spool had come when it was last seen, as `GET /v1/slot` says it under `spool`."""

    id: str
    mark: Annotated[int, Field(ge=0)]


class SpoolClaim(ConfigModel):
    """The volume claim that the spool lies under. A volume that is restored from a backup, or copied, has another."""

    uid: str
    before: str = ""
    """Of a volume that was kept beyond its claim and bound again: uid of that claim. Empty: none is known."""


class Spool(ConfigModel):
    """Where accepted mail lies."""

    path: str
    max_size: ByteSize = 8 * 2**30
    """Intake answers 452 beyond it."""
    seen: SpoolMark | None = None
    """Kept by whoever renders this file: a volume of this id that has not come as far is an older copy, whose mail is
    held. Absent: nobody knows."""
    claim: SpoolClaim | None = None
    """Kept by the spool the first time: what a volume brings that was under another claim is held. Absent: nobody
    knows."""
