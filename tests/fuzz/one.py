"""One target under atheris: `python -m tests.fuzz.one TARGET[:FAULT] [libFuzzer's options] [corpus or input]`.

atheris never returns, so that each target has a process of its own; with a file in place of a folder it runs that input
alone, which is how a failure is shown again. With a fault the relay is broken first.
"""

import sys

import atheris

with atheris.instrument_imports(include=["lane_relay", "lane_api"]):
    from tests.fuzz.faults import apply
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzzes until the options say that it is enough, or a failure."""
    target = TARGETS[apply(sys.argv[1])]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
