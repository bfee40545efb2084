"""Who holds which address: pure, stable, and recorded in IPPool.status alone."""

from lane_operator.pools.allocate import AllocationResult, allocate
from lane_operator.pools.existing import claims_of_existing
from lane_operator.pools.growth import with_growth
from lane_operator.pools.ports import port_block_of
from lane_operator.pools.quarantine import with_stand_ins

__all__ = ["AllocationResult", "allocate", "claims_of_existing", "port_block_of", "with_growth", "with_stand_ins"]
