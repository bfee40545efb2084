"""What RelayConfig says of those who hand mail in: users and their rights, limits of each client, lanes next door."""

from typing import Annotated

from pydantic import Field

from lane_api.model import ConfigModel
from lane_api.quantities import Duration, Rate, RateField

__all__ = ["CampaignTag", "IntakeLimits", "Neighbour", "Tarpit", "UserRights"]


class UserRights(ConfigModel):
    """What one user may do; one who stands nowhere may do what the lane may."""

    name: str
    senders: tuple[str, ...] = ()
    """`@domain` or `local@domain`, of the lane's; empty: all of the lane's."""
    rate: RateField | None = None
    """Messages over all sessions of the slot; absent: no limit."""
    recipient_rate: RateField | None = None
    """Recipients over all sessions of the slot; absent: no limit."""


class Tarpit(ConfigModel):
    """How a session that errs is slowed down."""

    after: Annotated[int, Field(ge=0)] = 5
    """Errors since its last message that are answered at once."""
    first: Duration = 1.0
    """How long the next one's answer takes; each further one takes twice as long."""
    max: Annotated[Duration, Field(le=60)] = 15.0
    """None takes longer. 0: nothing is slowed down."""


class IntakeLimits(ConfigModel):
    """What one slot takes of all, and of one client address."""

    sessions: Annotated[int, Field(ge=1)] = 1000
    """At a time; beyond them a silent stranger's makes room, or the connection gets 421."""
    sessions_per_client: Annotated[int, Field(ge=1)] = 500
    """At a time. Behind a NodePort all clients may show one address; this only stops one from taking everything."""
    connect_rate_per_client: RateField | None = Rate(6000, 60.0)
    """New connections; beyond it 421."""
    message_rate_per_client: RateField | None = None
    """Messages; beyond it 451. Absent: no limit."""
    error_rate_per_client: RateField | None = Rate(600, 60.0)
    """Refused commands and failed authentications, of strangers refused mail too; beyond it new connections get 421."""
    tarpit: Tarpit = Tarpit()


class CampaignTag(ConfigModel):
    """Where the local part of an envelope sender (VERP) names a campaign: between these two, as soon as they come."""

    after: str = ""
    """Empty: from the beginning."""
    before: str = ""
    """Empty: to the end."""


class Neighbour(ConfigModel):
    """Another lane of the namespace, and what it sends as: who came to the wrong lane hears which is right."""

    lane: str
    senders: tuple[str, ...]
