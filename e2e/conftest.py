"""What every end-to-end test gets: the checkout's cluster, and a Kubernetes namespace of its own.

Invariant: a cluster that was there before stays; one that the tests brought up goes with them, or, with
`--leave-cluster`, with the next run, which takes it over. It is brought up before the first test's clock starts,
because a first build takes minutes. Test processes side by side (pytest-xdist) have a cluster and an internet each;
tests marked `quiet` judge how long something takes, and run by themselves.
"""

import os
import secrets
from collections.abc import Generator, Iterator

import pytest

from e2e.aftermath import aftermath
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
_LEFT = "left-by-tests"
"""In a cluster's folder: the tests that brought it up have left it to the next run."""
_LONGEST = (
    "test_a_namespace_shares_its_suppressions",
    "test_a_deleted_lane_loses_no_mail",
    "test_what_a_hand_deletes_does_no_harm",
    "test_slots_that_stop_lose_no_mail",
    "test_evidence_outlives_its_lane",
    "test_refusals_in_reconcile_name_the_fix",
    "test_an_idle_operator_writes_nothing",
    "test_a_standby_slot_stands_in_for_a_refused_address",
    "test_a_quota_is_told_and_heals",
    "test_no_secret_is_ever_shown",
    "test_kinds_that_come_later_are_used",
    "test_every_right_is_used",
    "test_mail_leaves_only_from_a_proved_address",
    "test_the_webhook_says_it_at_once",
    "test_lanes_outlive_the_release",
    "test_scale_in_drains_first",
    "test_a_lane_works_behind_its_network_policy",
    "test_each_engine_sends_from_its_own_address",
    "test_gitops_tools_find_no_difference",
)
"""Files that come first: begun last, one of their tests would keep every other cluster waiting."""
_SHARED = frozenset({"sending_namespace", "server"})
"""Fixtures that all tests of a file have one of."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of end-to-end runs."""
    parser.addoption("--leave-cluster", action="store_true", help="leave the first process's cluster to the next run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give end-to-end tests minutes where unit tests have one; keep those together that share what their file made.

    The longest come first.
    """
    items.sort(key=lambda item: _LONGEST.index(item.path.stem) if item.path.stem in _LONGEST else len(_LONGEST))
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
    left = cluster.layout.state / _LEFT
    session.config.stash[_BROUGHT_UP] = left.exists() or not cluster.kubeconfig.exists()
    left.unlink(missing_ok=True)
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        cluster.up()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what its cluster looked like then."""
    report = yield
    if report.failed and (installed := getattr(item, "funcargs", {}).get("installation")):
        report.sections.append(("the cluster afterwards", aftermath(installed.cluster, installed.namespace)))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take down what these tests brought up, or leave it to the next run."""
    if not session.config.stash.get(_BROUGHT_UP, False):
        return
    cluster = session.config.stash[_CLUSTER]
    is_first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    if session.config.getoption("--leave-cluster") and is_first:
        (cluster.layout.state / _LEFT).touch()
    else:
        cluster.down()


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
