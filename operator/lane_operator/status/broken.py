"""What is said of an object that our models do not accept, or that we fail at: it and no other is stuck."""

import datetime as dt
from typing import TypeVar

from lane_api.conditions import ConditionType, Reason
from lane_api.ippool import IPPoolStatus
from lane_api.isppolicy import ISPPolicyStatus
from lane_api.lane_status import LaneStatus
from lane_operator.inputs import Manifest
from lane_operator.status.book import Book

__all__ = ["broken_status"]

Status = TypeVar("Status", LaneStatus, IPPoolStatus, ISPPolicyStatus)


def broken_status(
    previous: Status, body: Manifest, message: str, now: dt.datetime, reason: Reason = Reason.INVALID_SPEC
) -> Status:
    """The status as it was, with conditions that name what is wrong."""
    generation = int(body["metadata"]["generation"])
    book = Book(previous.conditions, generation, now)
    book.put(ConditionType.READY, False, reason, message)
    book.put(ConditionType.STALLED, True, reason, message)
    return previous.model_copy(update={"observed_generation": generation, "conditions": book.conditions()})
