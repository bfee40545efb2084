"""A complaint in one lane is heeded by the others of its namespace that share their lists, by class, and by no other.

The complaint is an ARF report (RFC 5965) about mail that really left, brought to the lane's feedback listener as an ISP
brings it; what a lane thinks of the address is what its submission port says to RCPT.
"""

import asyncio
from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster
from e2e.eventually import eventually
from e2e.installation import LIVE_DOMAIN, Installation, Manifest, Stock, installed, lane, pool
from e2e.internet.internet import Internet, Weights
from e2e.internet.records import Message
from e2e.outbound import RESOURCES
from lane_api.names import FEEDBACK_PORT, METRICS_PORT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ANN, BOB = f"ann@{LIVE_DOMAIN}", f"bob@{LIVE_DOMAIN}"
FIRST, SIBLING, ALONE, LOGIN, OTHER = "first", "sibling", "alone", "login", "other"

_COMPLAIN = """
import smtplib, socket, sys
port, reporter, to, return_path = sys.argv[1:]
report = (
    f"From: {reporter}\\r\\nSubject: FW: news\\r\\nMIME-Version: 1.0\\r\\n"
    'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\\r\\n\\r\\n'
    "--b\\r\\nContent-Type: text/plain\\r\\n\\r\\nThis is an abuse report.\\r\\n"
    "--b\\r\\nContent-Type: message/feedback-report\\r\\n\\r\\n"
    "Feedback-Type: abuse\\r\\nUser-Agent: Test/1\\r\\nVersion: 1\\r\\n\\r\\n"
    f"--b\\r\\nContent-Type: text/rfc822-headers\\r\\n\\r\\nReturn-Path: <{return_path}>\\r\\n"
    "Subject: news\\r\\n\\r\\n--b--\\r\\n"
)
with smtplib.SMTP(socket.gethostbyname(socket.gethostname()), int(port), timeout=20) as smtp:
    smtp.sendmail("", [to], report)
"""

_ASK = """
import smtplib, socket, sys
with smtplib.SMTP(socket.gethostbyname(socket.gethostname()), 5587, timeout=20) as smtp:
    smtp.ehlo()
    smtp.mail(sys.argv[1])
    code, text = smtp.rcpt(sys.argv[2])
    print(code, text.decode())
"""


_METRIC = f"""
import socket, urllib.request
address = socket.gethostbyname(socket.gethostname())
text = urllib.request.urlopen(f"http://{{address}}:{METRICS_PORT}/metrics", timeout=20).read().decode()
of = [line.split() for line in text.splitlines() if line.replace("{{", " ").split(" ")[0] == "lane_relay_suppressions"]
print(sum(float(one[-1]) for one in of))
"""


def _lane(name: str, namespace: str, scope: str, **spec: str) -> Manifest:
    domain = f"{name}.example.com"
    return lane(
        name,
        namespace,
        domains=[{"name": domain, "returnPath": {"domain": f"b.{domain}"}}],
        feedback={"suppression": {"scope": scope}},
        pod={"resources": RESOURCES},
        **spec,
    )


def _first(namespace: str) -> Manifest:
    return _lane(FIRST, namespace, "Namespace")


@pytest.fixture
def elsewhere(cluster: Cluster, internet: Internet, stock: Stock) -> Iterator[Installation]:
    """A second namespace of the same installation."""
    with installed(cluster, internet, stock.take()) as found:
        yield found


def _says(here: Installation, name: str, recipient: str) -> str:
    """What the lane answers to RCPT."""
    return here.cluster.kubectl(
        "exec", "-i", f"{name}-0-0", "-n", here.namespace, "-c", "relay", "--",
        "python3", "-c", _ASK, f"news@{name}.example.com", recipient,
    ).strip()  # fmt: skip


def _return_path(here: Installation, name: str, recipient: str) -> str:
    """The envelope sender that the ISP saw, once the message is there."""

    async def ask() -> list[Message]:
        async with Internet(here.internet.place, here.internet.ground, Weights()).isps as isps:
            return list(await isps.messages("gmail-like"))

    def look() -> str:
        path = f"@b.{name}.example.com"
        return next(
            (one.sender for one in asyncio.run(ask()) if one.sender.endswith(path) and recipient in one.recipients), ""
        )

    return eventually(look, f"the ISP has {name}'s mail to {recipient}")


def _complain(here: Installation, name: str, recipient: str) -> None:
    """The recipient presses "this is spam" on a mail of the lane, and the ISP reports it."""
    here.send(f"{name}-0-0", f"news@{name}.example.com", recipient, 1)
    path = _return_path(here, name, recipient)
    here.cluster.kubectl(
        "exec", "-i", f"{name}-0-0", "-n", here.namespace, "-c", "relay", "--",
        "python3", "-c", _COMPLAIN, str(FEEDBACK_PORT), f"feedback@{LIVE_DOMAIN}", f"fbl@b.{name}.example.com", path,
    )  # fmt: skip


def _refusal(here: Installation, name: str, recipient: str) -> str:
    """Why the lane refuses the recipient; empty if it does not."""
    said = _says(here, name, recipient)
    return said if said.startswith("550 5.7.1") else ""


def _words(here: Installation, name: str) -> int:
    """How many words the lane's first slot has on its list."""
    listed = here.cluster.kubectl(
        "exec", "-i", f"{name}-0-0", "-n", here.namespace, "-c", "relay", "--", "python3", "-c", _METRIC,
    )  # fmt: skip
    return int(float(listed or 0))


def _delete(here: Installation, name: str) -> None:
    here.cluster.kubectl("delete", "sendinglane", name, "-n", here.namespace, "--timeout=120s")
    eventually(lambda: not here.is_there("statefulset", f"{name}-0"), f"{name}'s slot is gone", within=120)


@pytest.mark.long("tests/lane_relay/whole/test_namespace_list.py", "tests/lane_operator/test_sharers.py")
def test_a_complaint_is_heeded_by_the_namespaces_lanes_that_share_their_lists(
    installation: Installation, elsewhere: Installation
) -> None:
    here, space = installation, installation.namespace
    here.apply(
        pool("pool", space),
        _first(space),
        _lane(SIBLING, space, "Namespace"),
        _lane(ALONE, space, "Lane"),
        _lane(LOGIN, space, "Namespace", trafficClass="Transactional"),
    )
    elsewhere.apply(pool("pool", elsewhere.namespace), _lane(OTHER, elsewhere.namespace, "Namespace"))
    here.wait_ready(FIRST, SIBLING, ALONE, LOGIN)
    elsewhere.wait_ready(OTHER)

    _complain(here, FIRST, ANN)
    refused = eventually(lambda: _refusal(here, SIBLING, ANN), "the sibling has heard of the complaint")
    assert "complaint" in refused
    assert _refusal(here, FIRST, ANN)
    # What the Transactional lane hears of the same way must have come there before its 250 says anything.
    _complain(here, LOGIN, BOB)
    eventually(lambda: _refusal(here, FIRST, BOB), "a complaint about a login code concerns Bulk mail, too")
    eventually(lambda: _words(here, LOGIN) >= 2, "the Transactional lane has both words")
    assert _says(here, LOGIN, ANN).startswith("250"), "a complaint about Bulk never suppresses Transactional"
    assert _refusal(here, LOGIN, BOB)
    for place, name in ((here, ALONE), (elsewhere, OTHER)):
        for recipient in (ANN, BOB):
            assert _says(place, name, recipient).startswith("250"), f"{name} shares no list with {FIRST}"

    for name in (FIRST, SIBLING, LOGIN):  # nobody is left who could tell it again
        _delete(here, name)
    here.apply(_first(space))
    here.wait_ready(FIRST)
    assert _refusal(here, FIRST, ANN), "the list stayed with the volume, and its key with the namespace"
    here.apply(_lane(SIBLING, space, "Namespace"))
    here.wait_ready(SIBLING)
    _complain(here, FIRST, f"cid@{LIVE_DOMAIN}")
    # the older lane's slots believe the new one once the kubelet has renewed their mounted Secret: a minute or two
    eventually(
        lambda: _refusal(here, SIBLING, f"cid@{LIVE_DOMAIN}"), "lanes made again hear of each other again", within=180
    )
