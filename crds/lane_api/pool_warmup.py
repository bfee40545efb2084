"""How a pool's addresses come to send as much as others: the steps, and how fast they are climbed."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.model import ApiModel, cel
from lane_api.outbound import Count
from lane_api.quantities import Span

__all__ = ["PoolWarmUp"]


class PoolWarmUp(ApiModel):
    """How addresses that are new to the ISPs come to send as much as others.

    Each has a daily amount for each ISP, spread over the day, which grows on evidence alone: at least 70% of it was
    used, less than 10% deferred and 2% bounced. 20% deferred or 14 days without a tenth of it are two steps
    back, 30 such days half of them, 90 all. What is beyond the amount leaves from another slot of the lane at once, or
    waits where there is none.
    """

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.schedule) || !has(self.steps) || size(self.steps) == 0",
                "schedule: Default is the usual ladder, and steps are one of yours: take one of them out",
            )
        )
    )

    schedule: Literal["Default"] | None = None
    """Default: the usual ladder, as where neither this nor `steps` is given."""
    steps: Annotated[
        tuple[Annotated[int, Field(ge=1, le=10_000_000)], ...],
        Field(
            max_length=64,
            json_schema_extra=cel(
                ("self.isSorted()", "write the steps in rising order, such as [50, 100, 200]"),
            ),
        ),
    ] = ()
    """Recipients a step, at each ISP with a policy and at all others together. Default: the usual ladder, 50
    (others 200), doubled up to 5,000, by half up to 50,000, by a quarter up to 1,000,000."""
    step_every: Span = 24 * 3600.0
    """Default 24h."""
    connections_per_ip: Count = 2
    """To one ISP at a time while the address is cold for it. Default 2."""
