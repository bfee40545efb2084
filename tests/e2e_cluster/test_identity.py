"""Names of one cluster, and that two checkouts never share one."""

from pathlib import Path

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.identity import Purpose, beside, caches, cluster_id, layout, node_names


def test_two_checkouts_have_different_ids_and_one_keeps_its_own() -> None:
    first, second = Path("/home/a/lanewright"), Path("/home/b/lanewright")
    assert cluster_id(first, {}) == cluster_id(first, {})
    assert cluster_id(first, {}) != cluster_id(second, {})
    assert len(cluster_id(first, {})) == 6


def test_a_demo_tests_and_benchmarks_of_one_checkout_never_share_a_cluster() -> None:
    assert len({cluster_id(Path("/x"), {}, purpose) for purpose in Purpose}) == len(Purpose)


def test_test_processes_side_by_side_have_a_cluster_each() -> None:
    for given in ({}, {"CLUSTER_ID": "mine"}):
        found = [
            cluster_id(Path("/x"), beside(given, worker, Path("/x")), Purpose.TESTS)
            for worker in ("gw0", "gw1", "gw2", "")
        ]
        assert len(set(found)) == 3
        assert found[0] == found[-1], "a run by itself takes over what the first of several has left"
    assert beside({"A": "b"}, "") == {"A": "b"}


def test_cluster_id_overrides_the_hash() -> None:
    assert cluster_id(Path("/x"), {"CLUSTER_ID": "demo2"}) == "demo2"


@pytest.mark.parametrize("name", ["UPPER", "with-dash", "../up", "a" * 11, "ä"])
def test_an_id_that_is_no_name_is_refused_with_the_fix(name: str) -> None:
    with pytest.raises(ClusterError, match="fix: use 1 to 10"):
        cluster_id(Path("/x"), {"CLUSTER_ID": name})


def test_every_name_outside_the_checkout_carries_the_id() -> None:
    where = layout({"CLUSTER_ID": "abc"}, Path("/src"))
    assert where.run == Path("/run/lw-abc")
    assert where.postfix == Path("/var/tmp/lw-abc-postfix")
    assert where.namespace("n1") == "lw-abc-n1"
    assert where.state == Path("/src/build/cluster/abc")


def test_a_node_s_socket_fits_into_a_unix_address() -> None:
    where = layout({"CLUSTER_ID": "a" * 10}, Path("/very/deep" * 20))
    assert len(str(where.containerd_socket("n39"))) < 108


@pytest.mark.parametrize(
    ("given", "names"),
    [(None, ("n1", "n2")), ("3", ("n1", "n2", "n3")), ("n1 n4", ("n1", "n4")), ("n2,n3", ("n2", "n3"))],
)
def test_nodes_are_a_number_or_names(given: str | None, names: tuple[str, ...]) -> None:
    assert node_names({} if given is None else {"NODES": given}) == names


@pytest.mark.parametrize("given", ["0", "", "worker", "n1 n1", "n0", "n40"])
def test_nodes_that_have_no_address_in_the_plan_are_refused(given: str) -> None:
    with pytest.raises(ClusterError, match="names no nodes"):
        node_names({"NODES": given})


def test_the_cache_follows_xdg_and_is_shared_by_checkouts() -> None:
    assert caches({"XDG_CACHE_HOME": "/c"}) == Path("/c/lanewright")
    assert caches({}) == Path.home() / ".cache/lanewright"
