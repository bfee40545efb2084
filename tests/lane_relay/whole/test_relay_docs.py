"""The relay of docs/relay.md, started from the page's text, with keys that its commands made."""

import re
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dkim
import pytest

from bench.nameserver import NameServer
from tests.lane_relay.running import Relay, Sink, letter
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port, own_address

DOCS = Path(__file__).parents[3] / "docs" / "relay.md"
KEYS, FILE = re.findall(r"<!-- a test runs this -->\n```(?:sh|yaml)\n(.*?)```", DOCS.read_text(), re.DOTALL)
ISP = own_address(76)
RECORDS = f"isp IN MX 10 mx.isp\nmx.isp IN A {ISP}\n"

pytestmark = pytest.mark.timeout(300)


class Page:
    """The page with our folders, domain and ports in the place of its own."""

    def __init__(self, folder: Path, relay: Relay) -> None:
        self.folder, self.relay = folder, relay
        self.dns_port = free_port()

    def ours(self, text: str) -> str:
        """The text for this machine."""
        for theirs, ours in {
            "/etc/lane-relay": str(self.folder / "etc"),
            "/var/lib/lane-relay": str(self.folder / "var"),
            "example.com": "brand.test",
            "203.0.113.10": "127.0.0.41",
            "127.0.0.1:53": f"127.0.0.1:{self.dns_port}",
            "port: 587": f"port: {self.relay.port}",
            "port: 9590": f"port: {self.relay.health_port}",
        }.items():
            assert theirs in KEYS + FILE, theirs
            text = text.replace(theirs, ours)
        return text

    def published(self) -> str:
        """The TXT record that the page has made, as a zone file writes it."""
        text = (self.folder / "etc" / "s1.txt").read_text().strip()
        pieces = " ".join(f'"{text[at : at + 250]}"' for at in range(0, len(text), 250))
        return f"s1._domainkey.brand IN TXT {pieces}\n"


@pytest.fixture
def page(tmp_path: Path, new_relay: NewRelay) -> Iterator[Page]:
    """The page, its keys made, its name server running."""
    page = Page(tmp_path / "host", new_relay())
    subprocess.run(["bash", "-ec", page.ours(KEYS)], check=True, capture_output=True)
    with ExitStack() as stack:
        server = NameServer(tmp_path / "dns", page.dns_port, RECORDS + page.published())
        stack.callback(server.stop)
        yield page


def test_the_relay_of_the_page_takes_mail_and_delivers_it_signed(page: Page) -> None:
    page.relay.config_file.write_text(page.ours(FILE))
    password = (page.folder / "etc" / "users" / "app").read_text().strip()
    with Sink(ISP, 25) as sink:
        page.relay.start()
        with smtplib.SMTP("127.0.0.1", page.relay.port, timeout=60) as client:
            context = ssl._create_unverified_context()
            client.starttls(context=context)
            client.login("app", password)
            client.send_message(letter(1))
        arrived = sink.wait(1)[0]
    assert arrived.peer == "127.0.0.41"
    assert arrived.helo == "out1.brand.test"
    record = (page.folder / "etc" / "s1.txt").read_bytes().strip()
    assert dkim.verify(arrived.content, dnsfunc=lambda _name, timeout=5: record)
    assert page.relay.terminate() == 0


def test_a_relay_without_a_listener_says_so(page: Page) -> None:
    text = "".join(line for line in page.ours(FILE).splitlines(keepends=True) if "smtp: {host" not in line)
    page.relay.config_file.write_text(text)
    page.relay.start()
    assert "intake.smtp" in page.relay.log()
    assert "takes no mail" in page.relay.log()
