"""Who holds which address: pure, stable, and recorded in IPPool.status alone."""

from lane_operator.pools.allocate import AllocationResult, allocate

__all__ = ["AllocationResult", "allocate"]
