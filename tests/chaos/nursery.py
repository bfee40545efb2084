"""`python -m tests.chaos.nursery MUTANT`: `tests.lane_relay.nursery` of relays that break one promise, or none."""

import sys

from tests.chaos import mutants
from tests.lane_relay.nursery import serve

if __name__ == "__main__":
    mutants.apply(sys.argv[1])
    serve(sys.stdin)
