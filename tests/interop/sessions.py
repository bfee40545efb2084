"""Both ways with every peer: what was handed in arrives byte by byte, over TLS and in the clear.

`Stage` holds two relays (one asks for AUTH, one trusts loopback) that send isp.test to a sink; a server under test gets
its in.test from them by a route that demands TLS with a certificate that is checked, or by one without. A case is one
message one way; it fails with what differed.
"""

import os
import re
import smtplib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.interop.clients import Client, Relays
from tests.interop.servers import Server, Surroundings
from tests.interop.shapes import SENDER, Shape, difference, mark, shapes
from tests.lane_relay.deliver.certificates import Issued, make_authority
from tests.lane_relay.running import Relay, Sink, eventually, fixed_route

_WITH: Final = re.compile(rb"^\tby out1\.brand\.test with (\S+) id ", re.MULTILINE)
_WITHIN_S: Final = 60.0
_FAILURES: Final = ("Bounce", "Expiration", "TransientFailure")


@dataclass
class Tally:
    """What became of the cases of one peer."""

    name: str
    cases: int = 0
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """What this peer cannot do, with anybody."""

    def add(self, way: str, wrong: dict[str, str], cases: int) -> None:
        """`wrong`: shape -> what differed."""
        self.cases += cases
        self.failures += [f"{self.name} {way} {shape}: {what}" for shape, what in wrong.items()]

    def line(self) -> str:
        """For people."""
        less = "".join(f"; left out: {what}" for what in self.left_out)
        return (
            f"{self.name:12} {self.cases - len(self.failures):>4} of {self.cases} messages arrived as they were{less}"
        )


def issue_rsa(authority: Issued, key_file: Path) -> bytes:
    """A certificate for 127.0.0.1 and localhost in PEM; RSA, for OpenSMTPD 6.8 signs with nothing else."""
    key = rsa.generate_private_key(65537, 2048)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    like = authority.issue("127.0.0.1", "localhost").certificate
    builder = x509.CertificateBuilder(
        like.issuer, like.subject, key.public_key(), x509.random_serial_number(), like.not_valid_before_utc,
        like.not_valid_after_utc, list(like.extensions),
    )  # fmt: skip
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Stage:
    """Relays, a sink and certificates in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder = folder
        authority = make_authority()
        self.authority, self.certificate, self.key = (folder / name for name in ("ca.pem", "peer.pem", "peer.key"))
        self.authority.write_bytes(authority.pem)
        self.certificate.write_bytes(issue_rsa(authority, self.key))
        self._stack = ExitStack()
        self._trust()
        self.sink = self._stack.enter_context(Sink("127.0.0.81"))
        self.guarded, self.trusting = self._relay("guarded"), self._relay("trusting", clients=["127.0.0.0/8"])

    def _trust(self) -> None:
        """The relays' own store of authorities is the one of this folder."""
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(self.authority)
        if before is None:
            self._stack.callback(os.environ.pop, "SSL_CERT_FILE")
        else:
            self._stack.callback(os.environ.__setitem__, "SSL_CERT_FILE", before)

    def _relay(self, name: str, **intake: object) -> Relay:
        tls = {"certificate": str(self.certificate), "key": str(self.key)}
        relay = Relay(self.folder / name, {"intake": {"tls": tls, **intake}, **self.routes()})
        self._stack.callback(relay.stop)
        return relay.start()

    def routes(self, server: int = 0, *, tls: str = "None") -> dict[str, object]:
        """Configuration that sends in.test to a server, everything else to the sink."""
        routes = [fixed_route(self.sink)]
        if server:
            routes.insert(0, {"domains": ["in.test"], "host": "127.0.0.1", "port": server, "tls": tls})
        return {"delivery": {"routes": routes}}

    @property
    def relays(self) -> Relays:
        """As clients see them."""
        return Relays(self.folder, self.guarded.port, self.trusting.port, self.authority)

    def around(self) -> Surroundings:
        """As servers see them."""
        return Surroundings(
            self.folder, self.certificate, self.key, self.authority, self.guarded.port, self.trusting.port
        )

    def close(self) -> None:
        """Ends everything."""
        self._stack.close()


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """A stage that is ended whatever happens."""
    made = Stage(folder)
    try:
        yield made
    finally:
        made.close()


def _hand_in(cases: Sequence[Shape], submit: Callable[[Shape], None]) -> dict[str, str]:
    """Shape -> why it could not be handed in."""
    wrong: dict[str, str] = {}
    for shape in cases:
        try:
            submit(shape)
        except (OSError, RuntimeError, smtplib.SMTPException) as error:
            wrong[shape.name] = f"not handed in: {error!r}"
    return wrong


def _compared(cases: Sequence[Shape], arrived: Callable[[], dict[str, bytes]], wrong: dict[str, str]) -> None:
    """Waits for those that were handed in, and adds to `wrong` what differs or did not come."""
    wanted = [shape for shape in cases if shape.name not in wrong]
    with suppress(AssertionError):  # each that is missing is named below
        eventually(lambda: {shape.name for shape in wanted} <= set(arrived()), "all shapes", _WITHIN_S)
    found = arrived()
    for shape in wanted:
        what = difference(shape.content, found[shape.name]) if shape.name in found else "it did not arrive"
        if what:
            wrong[shape.name] = what


def _at_sink(sink: Sink, start: int, cases: Sequence[Shape]) -> dict[str, bytes]:
    """Shape -> content, of those whose recipients have all got it since the sink's message number `start`."""
    sizes = {shape.name: len(shape.locals) for shape in cases}
    reached: dict[str, set[str]] = {}
    content: dict[str, bytes] = {}
    for one in sink.arrived[start:]:
        name = mark(one.content)
        reached.setdefault(name, set()).update(one.recipients)
        content[name] = one.content
    return {name: body for name, body in content.items() if len(reached[name]) == sizes.get(name)}


def _at_sink_by(sink: Sink, start: int, cases: Sequence[Shape], *, tls: bool) -> Callable[[], dict[str, bytes]]:
    """As `_at_sink`, of those that came to the relay over TLS with AUTH, or without either (RFC 3848)."""

    def look() -> dict[str, bytes]:
        found = _at_sink(sink, start, cases).items()
        return {name: body for name, body in found if (_protocol(body)[-2:] == "SA") is tls}

    return look


def _protocol(content: bytes) -> str:
    """What the relay's own Received field says; it is the first."""
    found = _WITH.search(content)
    return found[1].decode() if found else ""


def client_submits(on: Stage, client: Client, *, tls: bool) -> tuple[dict[str, str], int]:
    """Every shape by a client to a relay: (shape -> what went wrong, cases)."""
    cases = [shape for shape in shapes() if shape.name not in client.leaves_out]
    start = len(on.sink.arrived)
    wrong = _hand_in(cases, lambda shape: client.submit(on.relays, shape, shape.recipients("isp.test"), tls=tls))
    _compared(cases, _at_sink_by(on.sink, start, cases, tls=tls), wrong)
    return wrong, len(cases)


def server_submits(on: Stage, server: Server, *, tls: bool) -> tuple[dict[str, str], int]:
    """Every shape through a mail server to a relay."""
    cases = [shape for shape in shapes() if shape.name not in server.cannot_submit]
    start, domain = len(on.sink.arrived), "tls.test" if tls else "plain.test"

    def submit(shape: Shape) -> None:
        with smtplib.SMTP("127.0.0.1", server.port, local_hostname="client.test", timeout=60) as client:
            client.ehlo()
            options = ["BODY=8BITMIME"] if shape.eight_bit and client.has_extn("8bitmime") else []
            client.sendmail(
                SENDER, shape.recipients(domain), shape.content, [*options, *(["SMTPUTF8"] if shape.utf8 else [])]
            )

    wrong = _hand_in(cases, submit)
    _compared(cases, _at_sink_by(on.sink, start, cases, tls=tls), wrong)
    return wrong, len(cases)


def server_receives(on: Stage, server: Server, *, tls: bool) -> tuple[dict[str, str], int]:
    """Every shape by a relay to a mail server."""
    cases = [shape for shape in shapes() if shape.name not in server.cannot_receive]
    before = set(server.messages())
    seen = len(on.guarded.records())
    on.guarded.change(**on.routes(server.port, tls="Required" if tls else "None"))
    with on.guarded.session() as client:

        def submit(shape: Shape) -> None:
            options = ["BODY=8BITMIME"] * shape.eight_bit + ["SMTPUTF8"] * shape.utf8
            client.sendmail(SENDER, shape.recipients("in.test"), shape.content, options)

        wrong = _hand_in(cases, submit)
    _compared(cases, lambda: {mark(one): one for one in server.messages() if one not in before}, wrong)
    records = on.guarded.records()[seen:]
    other = [one for one in records if one["type"] == "Delivery" and bool(one.get("tls_verified")) is not tls]
    if other:
        wrong["tls"] = f"{len(other)} messages left {'without' if tls else 'with'} TLS"
    failed = [one for one in records if one["type"] in _FAILURES]
    if failed:
        wrong.setdefault("records", f"{len(failed)} attempts failed, such as {failed[0]}"[:600])
    return wrong, len(cases)


def _reasons(way: str, shapes_out: Mapping[str, str]) -> list[str]:
    return [f"{way} {shape}: {why}" for shape, why in shapes_out.items()]


def whole_server(on: Stage, made: type[Server]) -> Tally:
    """One mail server, both ways, TLS and plain."""
    server = made(on.around())
    tally = Tally(
        made.name, left_out=[*_reasons("receives", made.cannot_receive), *_reasons("submits", made.cannot_submit)]
    )
    try:
        for tls in (True, False):
            how = "over TLS" if tls else "in the clear"
            if tls and not server.serves_tls():
                tally.left_out.append("receives over TLS: its handshake fails with OpenSSL's s_client as well")
            else:
                tally.add(f"receives {how}", *server_receives(on, server, tls=tls))
            tally.add(f"submits {how}", *server_submits(on, server, tls=tls))
    finally:
        server.stop()
    return tally


def whole_client(on: Stage, client: Client) -> Tally:
    """One client, TLS and plain."""
    tally = Tally(client.name, left_out=_reasons("submits", client.leaves_out))
    for tls in (True, False):
        tally.add("over TLS" if tls else "in the clear", *client_submits(on, client, tls=tls))
    return tally
