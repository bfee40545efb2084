"""`python -m tests.chaos.nursery MUTANT`: `tests.lane_relay.nursery` of relays that break one promise, or none."""

import os
import sys

from lane_relay.compiled import form
from tests.chaos import mutants
from tests.lane_relay.nursery import serve

if __name__ == "__main__":
    if "PYTHONPATH" in os.environ and form() != "compiled":
        sys.exit(f"the relay in {os.environ['PYTHONPATH']} is {form()}, not compiled")
    mutants.apply(sys.argv[1])
    serve(sys.stdin)
