"""What is said of each resource, as a pure function of what was read, decided and seen; one writer puts it down."""

from lane_operator.status.broken import broken_status
from lane_operator.status.lane import lane_status, next_look
from lane_operator.status.policy import policy_status
from lane_operator.status.pool import pool_status
from lane_operator.status.waiting import next_end

__all__ = ["broken_status", "lane_status", "next_end", "next_look", "policy_status", "pool_status"]
