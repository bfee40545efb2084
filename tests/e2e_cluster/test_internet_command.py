"""`python -m e2e.internet` where no cluster runs: one sentence with the fix, and nothing is made."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from e2e.cluster import local
from e2e.cluster.cgroups import Cgroups
from e2e.cluster.identity import Layout
from e2e.cluster.kind import KindCluster
from e2e.cluster.kinds import Cluster
from e2e.cluster.local import LocalCluster
from e2e.internet import __main__ as command

ID = "nocluster"


class LayoutHere(Layout):
    """With the Postfixes' folder in the checkout, too."""

    @property
    def postfix(self) -> Path:
        return self.checkout / "postfix"


@pytest.fixture(params=["local", "kind"])
def absent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("PATH", "")  # no docker that would know of one
    layout = Layout(ID, tmp_path, tmp_path)
    made: dict[str, Cluster] = {"local": LocalCluster(layout, ("n1",)), "kind": KindCluster(layout, ("n1",))}
    cluster = made[request.param]
    monkeypatch.setattr(command, "open_cluster", lambda: (cluster, "the test says so"))
    return cluster


@pytest.mark.parametrize(
    ("words", "status"), [(["up"], 1), (["status"], 1), (["down"], 0), (["publish", "mail/transactional"], 1)]
)
def test_without_a_cluster_there_is_one_sentence_and_no_trace(
    absent: Cluster, words: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words) == status

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"cluster {ID} is not up, and its internet lies in it: `make cluster` or `make demo` brings it up\n"
    )
    assert not [path for path in (absent.layout.state, absent.layout.run, absent.layout.postfix) if path.exists()]
    assert not [top for top in Cgroups(ID).tops() if top.exists()]


def test_a_cluster_whose_network_is_there_has_an_internet_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = LayoutHere(ID, tmp_path / "checkout", tmp_path)
    (tmp_path / layout.namespace("net")).touch()
    monkeypatch.setattr("e2e.cluster.place.NETNS", tmp_path)
    monkeypatch.setattr(command, "open_cluster", lambda: (local.LocalCluster(layout, ("n1",)), "the test says so"))

    assert command.main(["status"]) == 0
    assert "reflector-1      -\n" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["publish"], ["up", "mail/transactional"]])
def test_a_lane_is_named_for_its_records_alone(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(words)

    assert "publish takes a lane, such as mail/transactional" in capsys.readouterr().err


@pytest.mark.parametrize("lane", ["transactional", "/transactional", "mail/"])
def test_a_lane_without_its_namespace_is_refused_with_what_to_write(
    lane: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(["publish", lane])

    assert f"{lane} is no NAMESPACE/LANE: write for instance mail/" in capsys.readouterr().err


class _Api(BaseHTTPRequestHandler):
    """An API server that knows lanes, and has none."""

    def do_GET(self) -> None:
        lanes = {"resource": "sendinglanes", "singularResource": "sendinglane", "scope": "Namespaced"}
        group = {"metadata": {"name": "lanewright.dev"}, "versions": [{"version": "v1alpha1", "resources": [lanes]}]}
        known = {"/apis": {"items": [group]}, "/api": {"items": []}}
        body = json.dumps(known.get(self.path, {"message": "not found"})).encode()
        self.send_response(200 if self.path in known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_a_lane_that_is_not_there_is_no_word_about_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = LayoutHere(ID, tmp_path / "checkout", tmp_path)
    (tmp_path / layout.namespace("net")).touch()
    layout.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr("e2e.cluster.place.NETNS", tmp_path)
    monkeypatch.setattr(command, "open_cluster", lambda: (local.LocalCluster(layout, ("n1",)), "the test says so"))

    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        layout.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "users": [{"name": "me", "user": {}}],
        }))  # fmt: skip
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert command.main(["publish", "mail/nosuch"]) == 1
        finally:
            server.shutdown()
            thread.join()
    assert capsys.readouterr().err == (
        "there is no lane mail/nosuch\nfix: `kubectl get lanes -A` tells which there are\n"
    )
