"""What every end-to-end test gets: the checkout's cluster, and a Kubernetes namespace of its own.

Invariant: a cluster that was there before stays; one that the tests brought up goes with them. It is brought up before
the first test's clock starts, because a first build takes minutes. Test processes side by side (pytest-xdist) have a
cluster and an internet each; tests marked `quiet` judge how long something takes, and run by themselves.
"""

import os
import secrets
from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster, open_cluster
from e2e.cluster.identity import Purpose, beside
from e2e.eventually import eventually
from e2e.installation import images, installation, internet, stock
from e2e.outbound import outbound, sending_namespace

# fixtures for every end-to-end test
__all__ = ["images", "installation", "internet", "outbound", "sending_namespace", "stock"]

_CLUSTER = pytest.StashKey[Cluster]()
_BROUGHT_UP = pytest.StashKey[bool]()
_TEST_SECONDS = 300
_SHARED = frozenset({"sending_namespace", "server"})
"""Fixtures that all tests of a file have one of."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give end-to-end tests minutes where unit tests have one; keep those together that share what their file made."""
    for item in items:
        if _SHARED.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(item.path.name))
        if item.get_closest_marker("cluster") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_TEST_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Bring the cluster up if a selected test needs it."""
    wanted = any("cluster" in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    cluster, _ = open_cluster(beside(os.environ, worker), purpose=Purpose.TESTS)
    session.config.stash[_CLUSTER] = cluster
    session.config.stash[_BROUGHT_UP] = not cluster.kubeconfig.exists()
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        cluster.up()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take down what these tests brought up."""
    if session.config.stash.get(_BROUGHT_UP, False):
        session.config.stash[_CLUSTER].down()


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Cluster:
    """Return the checkout's cluster, up and whole at the beginning of the run."""
    return pytestconfig.stash[_CLUSTER]


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Return a new Kubernetes namespace, where every Pod Security level is allowed; it is deleted after the test."""
    name = f"t-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    # pods are refused until the controller has made this account
    eventually(lambda: cluster.get("serviceaccounts", "-n", name)["items"], "the namespace's default account")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
