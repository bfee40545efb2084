"""docs/feedback.md: the examples that bring a suppression list from another system, or back from an archive, are run by
a shell as they stand there, and the table of columns has all that are known."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e.internet import packages
from lane_api.classes import TrafficClass
from lane_api.relayfeedback import SuppressionScope
from lane_relay.feedback.exchange import COLUMNS, Brought, header, read_line
from lane_relay.feedback.suppressions import Reason, Source
from tests.lane_relay.api.test_server import certificate
from tests.lane_relay.running import Relay, eventually
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient
from tests.ports import free_port

DOCS = Path(__file__).parents[3] / "docs" / "feedback.md"
PLAIN, ARCHIVED = re.findall(r"<!-- a test runs this -->\n```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)
KEY = b"s" * 32

pytestmark = pytest.mark.timeout(300)


def _answer(relay: Relay, recipient: str) -> str:
    with relay.session() as client:
        client.ehlo_or_helo_if_needed()
        client.mail("otp@brand.test")
        code, text = client.rcpt(recipient)
        return f"{code} {text.decode()}"


class Elsewhere:
    """A lane of that name in another cluster: other certificates and tokens, and this key."""

    def __init__(self, new_relay: NewRelay, folder: Path, key: bytes, traffic_class: str = "Transactional") -> None:
        folder.mkdir()
        certificate(folder, "localhost")
        (folder / "token").write_text("t0ken")
        (folder / "key").write_bytes(key)
        self.folder, self.port = folder, free_port()
        self.relay: Relay = new_relay(
            lane={"trafficClass": traffic_class},
            suppression={"path": str(folder / "list"), "keyFile": str(folder / "key")},
            admin={
                "listen": {"host": "127.0.0.1", "port": self.port},
                "tls": {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")},
                "tokenFile": str(folder / "token"),
            },
        ).start()

    def follow_the_page(self, folder: Path, example: str = ARCHIVED) -> list[dict[str, Any]]:
        """What each piece in the folder is answered."""
        environment = {
            **os.environ,
            "ADMIN_CA": str(self.folder / "tls.crt"),
            "ADMIN_TOKEN": "t0ken",
            "ADMIN_URL": f"https://localhost:{self.port}",
        }
        run = subprocess.run(
            ["bash", "-c", f"set -e -o pipefail\n{example}"],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        decoder, said, at = json.JSONDecoder(), [], 0
        while at < len(run.stdout.rstrip()):
            one, at = decoder.raw_decode(run.stdout, at)
            said.append(one)
        return said


def test_an_archived_list_comes_into_another_cluster_with_its_key_and_names_nobody_without(
    new_relay: NewRelay, tmp_path: Path
) -> None:
    packages.install(packages.CURL)
    (tmp_path / "key").write_bytes(KEY)
    gone = new_relay(
        suppression={"path": str(tmp_path / "list"), "keyFile": str(tmp_path / "key")},
        records={"archive": {"path": str(tmp_path / "archive")}},
    )
    admin = AdminClient(gone)
    gone.start()
    words = b"address,reason\nann@isp.test,complaint\nbob@isp.test,manual\n"
    assert admin.ask("POST", "/v1/suppressions?owner=jane&reason=known", words)[1]["added"] == 2
    assert admin.ask("PUT", "/v1/intake", b'{"state": "Closed", "owner": "jane", "reason": "a move"}')[0] == 200
    eventually(lambda: admin.ask("GET", "/v1/slot")[1]["suppressions"]["archived"], "the list in the archive")
    gone.terminate()
    (place,) = (tmp_path / "archive").rglob("suppressions")

    here = Elsewhere(new_relay, tmp_path / "same-key", KEY)
    assert _answer(here.relay, "ann@isp.test").startswith("250")
    assert [one["added"] for one in here.follow_the_page(place.parent)] == [2]
    assert [one["added"] for one in here.follow_the_page(place.parent)] == [0], "again is no harm"
    assert "suppressed (complaint)" in _answer(here.relay, "ann@isp.test")
    assert "suppressed (manual)" in _answer(here.relay, "bob@isp.test")

    stranger = Elsewhere(new_relay, tmp_path / "another-key", b"x" * 32)
    assert [one["added"] for one in stranger.follow_the_page(place.parent)] == [2]
    assert _answer(stranger.relay, "ann@isp.test").startswith("250"), "the digests are of another key"


def test_plain_addresses_of_another_system_are_brought(new_relay: NewRelay, tmp_path: Path) -> None:
    packages.install(packages.CURL)
    (tmp_path / "unsubscribed.txt").write_bytes(b"ann@isp.test\r\n\r\nBob@isp.test\n")
    here = Elsewhere(new_relay, tmp_path / "lane", KEY, "Bulk")
    (told,) = here.follow_the_page(tmp_path, PLAIN)
    assert (told["read"], told["added"], told["wrong"]) == (2, 2, [])
    for recipient in ("ann@isp.test", "bob@isp.test"):
        assert "suppressed (unsubscribe)" in _answer(here.relay, recipient)
    assert _answer(here.relay, "eve@isp.test").startswith("250")


def test_the_table_of_columns_has_all_that_are_known_and_what_they_may_say() -> None:
    table = DOCS.read_text().partition("| column | what it says |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (.*) \| .* \|$", table, re.MULTILINE))
    assert isinstance(header(",".join(rows)), tuple)
    assert set(rows) == {"address", "domain", *COLUMNS}
    for name, known in (("reason", Reason), ("class", TrafficClass), ("scope", SuppressionScope)):
        assert set(re.findall(r"`([A-Za-z-]+)`", rows[name])) == {str(one.value) for one in known}
    for source in re.findall(r"`([a-z-]+)`", rows["source"]):
        assert isinstance(read_line(("digest", "source"), f"{'0' * 24},{source}"), Brought)
    assert len(re.findall(r"`([a-z-]+)`", rows["source"])) == len(Source)
