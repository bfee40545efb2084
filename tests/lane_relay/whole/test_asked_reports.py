"""What a sender asked to be told (RFC 3461) where bounces come to us: the ISP is Postfix, and reports as asked."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.internet.place import HostPlace
from e2e.internet.postfix import Postfix, PostfixConfig
from tests.lane_relay.running import Relay, Sink, eventually, fixed_route, letter
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)
RETURN_PATH = "b.brand.test"


@pytest.fixture
def feedback_port() -> int:
    return free_port()


@pytest.fixture
def isp(feedback_port: int, sink: Sink) -> Iterator[Postfix]:
    """Takes all mail, throws it away or learns from the next host that there is no such mailbox; offers DSN."""
    sink.answer_with = lambda _stage, address: "550 5.1.6 It has moved" if address.endswith("@gone.test") else None
    folder = Path(tempfile.mkdtemp(prefix="lw-dsn-", dir="/var/tmp"))  # its daemons have no right to pytest's own
    folder.chmod(0o755)
    main = {
        "myhostname": "mx.isp.test",
        "mynetworks": "127.0.0.0/8",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "smtpd_peername_lookup": "no",
        "default_transport": "discard:",
        "transport_maps": f"regexp:{folder}/postfix/etc/transport",
    }
    gone = f"/@gone\\.test$/ smtp:[{sink.address}]:{sink.port}\n"
    tables = {"transport": f"{gone}/@b\\.brand\\.test$/ smtp:[127.0.0.1]:{feedback_port}\n"}
    place = HostPlace(folder / "spawned")
    made = Postfix(place, PostfixConfig("dsn", folder / "postfix", "127.0.0.1", free_port(), main, files=tables))
    try:
        made.up()
        yield made
    finally:
        place.end_all()
        shutil.rmtree(folder)


@pytest.fixture
def lane(isp: Postfix, feedback_port: int, sink: Sink, new_relay: NewRelay, tmp_path: Path) -> Relay:
    """Sends to the ISP; what is for the sender arrives at the sink."""
    (tmp_path / "verp").write_text("v" * 32)
    to_isp = {"domains": ["gone.test", "fine.test"], "host": "127.0.0.1", "port": isp.config.port, "tls": "None"}
    path = {"domain": RETURN_PATH, "forward": "Sender"}
    relay = new_relay(
        delivery={"routes": [to_isp, fixed_route(sink)]},
        domains=[{"name": "brand.test", "mode": "Off", "returnPath": path}],
        feedback={"keyFile": str(tmp_path / "verp"), "smtp": {"host": "127.0.0.1", "port": feedback_port}},
    )
    return relay.start()


def test_senders_hear_what_they_asked_for_and_nothing_else_and_the_relay_hears_of_each_failure(
    lane: Relay, isp: Postfix, sink: Sink
) -> None:
    asked = {
        "ann@fine.test": ["NOTIFY=SUCCESS,FAILURE,DELAY"],
        "bob@gone.test": ["NOTIFY=FAILURE", "ORCPT=rfc822;bob+2Bold@x.test"],
        "cid@gone.test": ["NOTIFY=NEVER"],
        "dan@gone.test": ["NOTIFY=SUCCESS"],
        "eve@fine.test": ["NOTIFY=NEVER"],
    }
    with lane.session() as client:
        for number, (recipient, options) in enumerate(asked.items()):
            of_all = ["RET=FULL", f"ENVID=Q+2B{number}"]
            client.send_message(letter(number, recipient=recipient), mail_options=of_all, rcpt_options=options)

    reports = [one.content.decode() for one in sink.wait(3)]
    eventually(lambda: len(re.findall(r"to=<b-.*relay=127\.0\.0\.1.*status=sent", isp.log())) == 3, "three bounces")

    told = {(_field(one, "Final-Recipient"), _field(one, "Action")): one for one in reports}
    assert set(told) == {
        ("rfc822; ann@fine.test", "relayed"),
        ("rfc822; bob@gone.test", "failed"),
        ("rfc822; dan@gone.test", "relayed"),
    }
    failed = told["rfc822; bob@gone.test", "failed"]
    assert _field(failed, "Original-Envelope-Id") == "Q+1"
    assert _field(failed, "Original-Recipient") == "rfc822; bob+old@x.test"
    records = lane.records()
    assert sorted(one["recipient"] for one in records if one["type"] == "OOB") == [
        "bob@gone.test", "cid@gone.test", "dan@gone.test",
    ]  # fmt: skip
    assert sum(one["type"] == "Reception" and one["sender"] == "" for one in records) == len(sink.arrived) == 3


def _field(report: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)\r$", report, re.MULTILINE)
    assert found is not None, report
    return found[1]
