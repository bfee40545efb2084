"""The policies that are kept: bounded in number and in memory, whatever strangers publish."""

import tracemalloc
from pathlib import Path

import pytest

from lane_relay.resolve.sts_fetch import MAX_POLICY
from lane_relay.resolve.sts_policy import StsPolicy, read_policy
from lane_relay.resolve.sts_store import PolicyStore

NOW = 1_000_000.0
MIB = 2**20


def policy(hosts: int = 1) -> StsPolicy:
    """One of a text of its own, as it is fetched."""
    text = "version: STSv1\nmode: enforce\nmax_age: 604800\n" + "".join([f"mx: a{one}.b\n" for one in range(hosts)])
    assert len(text) <= MAX_POLICY
    found = read_policy(text, "1", NOW)
    assert isinstance(found, StsPolicy)
    return found


def test_the_largest_policies_there_may_be_take_no_more_memory_than_the_bound() -> None:
    store = PolicyStore(None, NOW, most_bytes=4 * MIB)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(60):
            store.put(f"d{number}.test", policy(4500))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 5 < len(store) < 60
    assert store.bytes <= 4 * MIB
    assert taken < 4.4 * MIB  # what is counted is what it takes


def test_what_was_used_longest_ago_makes_room() -> None:
    store = PolicyStore(None, NOW, most=3)
    for name in ("a", "b", "c"):
        store.put(name, policy())
    store.use("a")
    store.put("d", policy())
    assert [store.get(name) is not None for name in ("a", "b", "c", "d")] == [True, False, True, True]


def test_a_policy_that_replaces_another_or_ends_gives_its_memory_back(tmp_path: Path) -> None:
    store = PolicyStore(tmp_path / "kept.json", NOW)
    store.put("a", policy(1000))
    store.put("a", policy(1))
    once = store.bytes
    assert once < 1000
    assert store.to_save(NOW + 604_801) is not None
    assert (len(store), store.bytes) == (0, 0)
    assert store.to_save(NOW) is None  # nothing new


@pytest.mark.parametrize("octet", [0, 0xFF], ids=["form", "text"])
def test_a_file_that_the_disk_damaged_costs_a_fetch_and_no_start(tmp_path: Path, octet: int) -> None:
    file = tmp_path / "kept.json"
    store = PolicyStore(file, NOW)
    store.put("a.test", policy())
    content = store.to_save(NOW)
    assert content is not None
    file.write_bytes(content.replace(b"enforce", b"enf%crce" % octet))
    assert len(PolicyStore(file, NOW)) == 0


def test_a_file_of_another_process_is_held_to_the_bounds_as_well(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    store = PolicyStore(file, NOW)
    for number in range(10):
        store.put(f"d{number}.test", policy(100))
    content = store.to_save(NOW)
    assert content is not None
    store.write(content)

    again = PolicyStore(file, NOW, most_bytes=store.bytes // 2)
    assert again.bytes <= store.bytes // 2
    assert again.get("d9.test") is not None
    assert again.get("d0.test") is None
