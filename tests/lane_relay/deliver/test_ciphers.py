"""Which hosts TLS comes about with does not depend on who built the image's Python or what its openssl.cnf says."""

import os
import ssl
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.lane_relay.deliver.certificates import server_context
from tests.lane_relay.deliver.delivery import delivering, route_to
from tests.lane_relay.deliver.scripted_peer import EHLO, Peer, running

STARTTLS = EHLO.replace(b"250 SIZE", b"250-STARTTLS\r\n250 SIZE")
_OAKLEY_2 = bytes.fromhex(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B"
    "302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"
    "49286651ECE65381FFFFFFFFFFFFFFFF"
)
"""A group of 1,024 bits (RFC 2409 section 6.2), as old servers have."""
_NARROW = """openssl_conf = narrow
[narrow]
ssl_conf = modules
[modules]
system_default = narrow_default
[narrow_default]
CipherString = ECDHE+AESGCM
"""
_SAYS = """
from lane_relay.accept.certificate import _context
from lane_relay.deliver.tls import make_contexts
made = make_contexts()
for context in (made.unchecked, made.checked, _context()):
    print(" ".join(cipher["name"] for cipher in context.get_ciphers()))
"""


def _contexts_lists(**environment: str) -> list[set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _SAYS], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_ciphers_without_forward_secrecy_are_offered_whatever_the_build_leaves_out(tmp_path: Path) -> None:
    """A system's default stands for a build's here: both are in force where a context does not say its own."""
    narrow = tmp_path / "openssl.cnf"
    narrow.write_text(_NARROW)
    for ciphers in _contexts_lists(OPENSSL_CONF=str(narrow)):
        assert {"AES256-GCM-SHA384", "AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256"} <= ciphers


@pytest.mark.parametrize("ciphers", ["AES256-GCM-SHA384:AES128-SHA", "DHE-RSA-AES256-GCM-SHA384"])
async def test_a_host_without_forward_secrecy_or_with_a_short_group_gets_its_mail_encrypted(
    tmp_path: Path, ciphers: str
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    context, _ = server_context(tmp_path, "old.test", key=key, ciphers=f"{ciphers}:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    group = tmp_path / "group.pem"
    as_der = b"\x30\x81\x87\x02\x81\x81\x00" + _OAKLEY_2 + b"\x02\x01\x02"  # PKCS #3: the prime, and 2
    group.write_text(f"-----BEGIN DH PARAMETERS-----\n{b64encode(as_der).decode()}\n-----END DH PARAMETERS-----\n")
    context.load_dh_params(str(group))
    peer = Peer({"ehlo": STARTTLS}, context=context)
    async with running(peer), delivering() as delivery:
        delivery.send(route_to(peer.port))
        attempt = (await delivery.attempted(1))[0]
    assert peer.messages[0].encrypted
    assert attempt.tls is not None
    assert attempt.tls.cipher == ciphers.partition(":")[0]
