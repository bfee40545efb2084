"""The order of the tests: those that run whole processes first.

They wait more than they compute, so the many pure ones fill the time between; begun last, one of them would run alone
while every other worker has nothing left. Needs `--no-loadscope-reorder`: pytest-xdist begins with the files of most
tests.
"""

import pytest

_WHOLE_PROCESSES = (
    "chaos/",
    "e2e_demo/",
    "lane_relay/whole/",
    "interop/",
    "lane_relay/spool/test_power_loss",
    "e2e_internet/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by what runs whole processes; else the order stays."""
    items.sort(key=lambda item: not item.path.as_posix().partition("/tests/")[2].startswith(_WHOLE_PROCESSES))
