"""Two lanes of one namespace, each with an authority and keys of its own, that share their suppression lists."""

import datetime as dt
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lane_operator import credentials
from tests.lane_relay.running import Relay, Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)
CLASSES = {"news": "Bulk", "otp": "Transactional"}
TOKEN = "secret-token-of-this-test"


class Lanes:
    """What the operator gives each lane of the namespace: its own certificate, and the authorities of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {lane: free_port() for lane in CLASSES}
        now = dt.datetime.now(dt.UTC)
        authorities = {lane: credentials.make_ca(lane, now) for lane in CLASSES}
        (folder / "ca.crt").write_bytes(b"".join(one.certificate for one in authorities.values()))
        (folder / "token").write_text(TOKEN)
        (folder / "namespace.key").write_bytes(b"n" * 32)
        for lane, authority in authorities.items():
            leaf = credentials.make_leaf(authority, ("localhost",), now)
            (folder / f"{lane}.crt").write_bytes(leaf.certificate)
            (folder / f"{lane}.key").write_bytes(leaf.key)
            (folder / f"{lane}.suppression").write_bytes(lane.encode() * 8)

    def config(self, lane: str, sink: Sink, scope: str = "Namespace") -> dict[str, Any]:
        """One slot's; the other lane's slot is its neighbour."""
        (other,) = CLASSES.keys() - {lane}
        files = {"certificate": str(self.folder / f"{lane}.crt"), "key": str(self.folder / f"{lane}.key")}
        return {
            "lane": {"name": lane, "trafficClass": CLASSES[lane]},
            "slot": {"name": f"{lane}-0", "hostname": f"{lane}-0.brand.test"},
            "delivery": {"routes": [fixed_route(sink)]},
            "admin": {
                "listen": {"host": "127.0.0.1", "port": self.ports[lane]},
                "tls": files,
                "tokenFile": str(self.folder / "token"),
            },
            "handover": {"caFile": str(self.folder / "ca.crt")},
            "suppression": {
                "path": str(self.folder / f"list-{lane}"),
                "keyFile": str(self.folder / f"{lane}.suppression"),
                "namespaceKeyFile": str(self.folder / "namespace.key"),
                "scope": scope,
                "neighbours": [{"slot": f"{other}-0", "host": "localhost", "port": self.ports[other]}],
            },
        }

    def ask(self, lane: str, method: str, path: str, body: str | None = None, *, as_lane: str = "") -> int:
        """Status of a request, with the token, or with the certificate of a lane's slot."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if as_lane:
            context.load_cert_chain(self.folder / f"{as_lane}.crt", self.folder / f"{as_lane}.key")
        url = f"https://localhost:{self.ports[lane]}{path}"
        headers = {} if as_lane else {"Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(url, body.encode() if body else None, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    def bring(self, lane: str, *lines: str) -> None:
        """Puts words on a lane's list."""
        text = "\n".join(("address,reason,class,scope", *lines))
        assert self.ask(lane, "POST", "/v1/suppressions?owner=jane&reason=known", text) == 200


def refuses(relay: Relay, recipient: str) -> bool:
    with relay.session() as client:
        client.ehlo_or_helo_if_needed()
        client.mail("otp@brand.test")
        return client.rcpt(recipient)[0] == 550


def test_what_one_lane_hears_counts_in_the_other_by_its_class_and_survives_days_apart(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lanes = Lanes(tmp_path)
    news = new_relay(**lanes.config("news", sink)).start()
    sink.answer_with = lambda _stage, address: "550 5.1.1 no such user" if address == "dead@isp.test" else None
    with news.session() as client:
        client.sendmail("otp@brand.test", ["dead@isp.test"], "From: otp@brand.test\r\n\r\nhello")
    eventually(lambda: news.metric("suppressions") == 1, "the bounce")
    lanes.bring("news", "bob@isp.test,complaint,Bulk,", "eve@isp.test,unsubscribe,Bulk,", "own@isp.test,manual,,Lane")
    otp = new_relay(**lanes.config("otp", sink)).start()
    eventually(lambda: otp.metric("suppressions") == 3, "what is shared, and not what is news' own")
    assert refuses(otp, "Dead@isp.test")
    assert not any(refuses(otp, one) for one in ("bob@isp.test", "eve@isp.test", "own@isp.test"))
    assert all(refuses(news, one) for one in ("bob@isp.test", "eve@isp.test", "own@isp.test"))

    news.kill()  # for days; what came meanwhile it has when it is back
    lanes.bring("otp", "ann@isp.test,complaint,Transactional,")
    news.start()
    eventually(lambda: refuses(news, "ann@isp.test"), "a complaint about wanted mail counts for what is less wanted")

    named = "giver=otp-0"  # a neighbour reads on in the list, and that is all
    assert lanes.ask("news", "GET", f"/v1/handover/suppressions?{named}", as_lane="otp") == 200
    assert lanes.ask("news", "GET", "/v1/handover/suppressions?giver=who-0", as_lane="otp") == 403
    assert lanes.ask("news", "GET", f"/v1/handover/{'0' * 32}?{named}", as_lane="otp") == 403
    assert lanes.ask("news", "GET", f"/v1/handover/complaint?{named}&message={'0' * 24}&index=0", as_lane="otp") == 403


def test_a_lane_that_leaves_the_scope_keeps_what_it_heard_and_hears_and_tells_no_more(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lanes = Lanes(tmp_path)
    news = new_relay(**lanes.config("news", sink, "Lane")).start()
    lanes.bring("news", "old@isp.test,complaint,Bulk,")
    news.change(**lanes.config("news", sink))
    assert refuses(news, "old@isp.test")  # heard under the lane's own key
    lanes.bring("news", "new@isp.test,complaint,Bulk,")
    news.kill()
    left = lanes.config("news", sink, "Lane")
    left["suppression"]["neighbours"] = []
    news.write({**news.overrides, **left})
    news.start()
    assert refuses(news, "old@isp.test")
    assert refuses(news, "new@isp.test")
    assert lanes.ask("news", "GET", "/v1/handover/suppressions?giver=otp-0", as_lane="otp") == 403
