"""All that the disks of two slots can hold together after a crash of either or both, in a hand-over on simulated disks.

The tests of `handover` judge most of these pairs; here are all, also of a transfer that a person takes back.
Before: `__main__`. After: `tests.lane_relay.handover`, whose judge raises AssertionError.
"""

import asyncio
import logging
from dataclasses import dataclass, field

import structlog

from tests.lane_relay.handover import test_owed, test_transfer


@dataclass
class PairsReport:
    """What was found."""

    pairs: int = 0
    broken: list[str] = field(default_factory=list)
    """Pairs from which a recipient comes back with two owners, or none."""

    def told(self) -> str:
        """One line, and examples."""
        examples = "".join(f"\n    {one}" for one in self.broken[:3])
        return f"{self.pairs} pairs of crash images, {len(self.broken)} with two owners or none{examples}"


def all_pairs() -> PairsReport:
    """Minutes of CPU on some machines."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # of the relay's stages
    try:
        return asyncio.run(_all_pairs())
    finally:
        structlog.reset_defaults()


async def _all_pairs() -> PairsReport:
    found = PairsReport()
    for number, pair in enumerate(await test_transfer.crash_pairs()):
        found.pairs += 1
        try:
            await test_transfer.judge(*pair)
        except AssertionError as broken:
            found.broken.append(f"pair {number} of a transfer: {broken}")
    for is_taken_back in (False, True):
        pairs, _ = await test_owed.crash_pairs(is_taken_back=is_taken_back)
        for number, pair in enumerate(pairs):
            found.pairs += 1
            try:
                await test_owed.judge(*pair, is_taken_back=is_taken_back)
            except AssertionError as broken:
                found.broken.append(f"pair {number} of one that is owed, taken back {is_taken_back}: {broken}")
    return found
