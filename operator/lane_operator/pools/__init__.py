"""Who holds which address: pure, stable, and recorded in IPPool.status alone."""

from lane_operator.pools.allocate import AllocationResult, allocate
from lane_operator.pools.existing import claims_of_existing

__all__ = ["AllocationResult", "allocate", "claims_of_existing"]
