"""A domain's key gives way to the next one while the relay runs: mail goes on, by the key that DNS was asked for."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import dkim
from cryptography.hazmat.primitives import serialization

from bench.nameserver import NameServer
from lane_relay.mail.dkim import generate_key
from tests.lane_relay.running import Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient
from tests.ports import free_port


def test_mail_does_not_wait_when_the_next_key_comes_to_sign(
    new_relay: NewRelay, sink: Sink, tmp_path: Path, signing_key: tuple[Path, str]
) -> None:
    key_file, record = signing_key
    (tmp_path / "2").mkdir()
    later = tmp_path / "2" / "brand.test.key"
    later.write_bytes(generate_key())
    text = _record(later)
    zone = f"s1._domainkey.brand IN TXT {record}\ns2._domainkey.brand IN TXT {_spelled(text)}"
    following = {"selector": "s2", "keyFile": str(later)}
    server = NameServer(tmp_path / "dns", free_port(), zone)
    try:
        relay = new_relay(
            delivery={"routes": [fixed_route(sink)], "resolvers": [server.address]},
            domains=[{"name": "brand.test", "selector": "s1", "keyFile": str(key_file), "next": following}],
        )
        admin = AdminClient(relay)
        relay.start().submit(1)
        assert b" s=s1;" in sink.wait(1)[0].content

        def found() -> Any:
            (domain,) = admin.ask("GET", "/v1/slot")[1]["domains"]
            return domain["selector"] == "s1" and domain["next"]["published"]

        eventually(found, "the next key is found in DNS")
    finally:
        server.stop()

    # DNS is away: a key that were to be looked for only now would hold all mail
    relay.change(domains=[{"name": "brand.test", "selector": "s2", "keyFile": str(later)}])
    relay.submit(2)
    content = sink.wait(2)[1].content
    assert b" s=s2;" in content
    assert dkim.verify(content, dnsfunc=lambda _name, timeout=5: text.encode())
    (domain,) = admin.ask("GET", "/v1/slot")[1]["domains"]
    assert (domain["selector"], domain["published"], domain["next"]) == ("s2", True, None)


def _record(path: Path) -> str:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    kind, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return f"v=DKIM1; k=rsa; p={b64encode(key.public_key().public_bytes(kind, form)).decode()}"


def _spelled(text: str) -> str:
    """As a zone file writes it."""
    return " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
