"""The admin API over real TLS: the token, the requests, and errors that name the fix."""

import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from lane_api.relayconfig import Admin
from lane_relay.api.operation import Operation
from lane_relay.api.server import AdminServer
from lane_relay.errors import ConfigError, SpoolError
from tests.lane_relay.api.described import Described

REPORT: dict[str, Any] = {
    "slot": "otp-0",
    "lane": "mail/otp",
    "generation": 7,
    "serial": 3,
    "refused": "",
    "intake": {"state": "Open", "ready": False, "sessions": 0},
    "delivery": {"state": "Running"},
    "domains": [],
    "records": {},
    "certificate": {"selfSigned": True, "notAfter": None},
}
"""Of a slot whose spool is being recovered."""
CLOSE = b'{"state": "Closed", "owner": "jane", "reason": "a move"}'
SITE: dict[str, Any] = {
    "site": "gmail", "policy": "gmail", "waiting": 0, "oldestSince": None, "connections": 1, "connectionLimit": 20,
    "messagesPerSecond": None, "backedOff": "", "heldBy": "none", "detail": "", "lastFailure": "", "attempts": 4,
    "delivered": 3, "acts": [],
}  # fmt: skip


class RecordedSlot:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.intake = "Open"
        self.by = ("", "")
        self.pushed: list[str] = []
        self.broken = False
        self.pages: list[tuple[int, int]] = []

    async def report(self) -> dict[str, Any]:
        return REPORT

    async def set_intake(self, state: Literal["Open", "Closed"], owner: str, reason: str) -> str:
        if self.broken:
            raise SpoolError("no space")
        self.intake, self.by = state, (owner, reason)
        return state

    def push(self, text: str) -> int:
        if "bad" in text:
            raise ConfigError("lane.name: is required: set it")
        self.pushed.append(text)
        return 7

    def replies(self) -> dict[str, Any]:
        return {"replies": [], "counts": {"other": 2}, "dropped": 0, "skipped": 0}

    def config_in_force(self) -> dict[str, Any]:
        return {"generation": 7, "serial": 3, "refused": ""}

    def sites(self, first: int, most: int) -> dict[str, Any]:
        self.pages.append((first, most))
        return {"total": 1, "sites": [SITE], "next": None}


def certificate(folder: Path, name: str, *, is_rsa: bool = False) -> None:
    """A self-signed pair tls.crt and tls.key."""
    key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def admin(folder: Path) -> Admin:
    return Admin.model_validate(
        {
            "listen": {"host": "127.0.0.1", "port": 0},
            "tls": {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")},
            "tokenFile": str(folder / "token"),
        }
    )


class Client:
    """Sends requests with a token, to a server whose certificate it checks; holds each answer against its document."""

    def __init__(self, session: aiohttp.ClientSession, port: int, folder: Path) -> None:
        self._session, self._port = session, port
        self._context = ssl.create_default_context(cafile=str(folder / "tls.crt"))
        self._described: Described | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", token: str = "s3cret") -> tuple[int, Any]:
        if self._described is None:
            status, found = await self._ask("GET", "/v1/openapi.json", b"", token)
            self._described = Described(found) if status == 200 else None
        status, said = await self._ask(method, path, body, token)
        if self._described is not None:
            self._described.check(method, path, status, said)
        return status, said

    async def _ask(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        url = f"https://127.0.0.1:{self._port}{path}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._session.request(
            method, url, data=body, headers=headers, ssl=self._context, server_hostname="otp-0.test"
        ) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def slot() -> RecordedSlot:
    return RecordedSlot()


@asynccontextmanager
async def served(tmp_path: Path, slot: RecordedSlot, rooms: Iterable[Operation] = ()) -> AsyncIterator[Client]:
    """A client of a server that answers these rooms' requests beside its own."""
    certificate(tmp_path, "otp-0.test")
    (tmp_path / "token").write_text("s3cret\n")
    server = AdminServer(admin(tmp_path), slot, rooms)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, server.port, tmp_path)
    finally:
        await server.stop()


@pytest.fixture
async def client(slot: RecordedSlot, tmp_path: Path) -> AsyncIterator[Client]:
    async with served(tmp_path, slot) as made:
        yield made


async def test_the_token_opens_the_report(client: Client) -> None:
    assert await client.ask("GET", "/v1/slot") == (200, REPORT)


async def test_sites_come_in_pages_of_a_bounded_size(client: Client, slot: RecordedSlot) -> None:
    assert await client.ask("GET", "/v1/sites") == (200, {"total": 1, "sites": [SITE], "next": None})
    assert (await client.ask("GET", "/v1/sites?first=200&limit=5"))[0] == 200
    assert slot.pages == [(0, 100), (200, 5)]
    assert (await client.ask("GET", "/v1/sites?limit=1001"))[0] == 422


@pytest.mark.parametrize("token", ["", "wrong", "s3cre", "s3crét"])
async def test_without_the_token_there_is_no_answer_but_the_fix(client: Client, token: str) -> None:
    status, answer = await client.ask("GET", "/v1/slot", token=token)
    assert (status, "Authorization: Bearer" in answer["error"]) == (401, True)


@pytest.mark.parametrize("path", ["/v1/handover/x/y", "/v1/handover/", "/v1/nothing"])
async def test_without_the_token_nobody_hears_which_requests_there_are(client: Client, path: str) -> None:
    status, answer = await client.ask("GET", path, token="")
    assert (status, "GET /v1/slot" in answer["error"]) == (401, False)


async def test_a_renewed_token_is_taken_without_a_restart(client: Client, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    fresh.write_text("n3w")
    fresh.replace(tmp_path / "token")
    assert (await client.ask("GET", "/v1/slot"))[0] == 401
    assert (await client.ask("GET", "/v1/slot", token="n3w"))[0] == 200


async def test_an_empty_token_file_admits_nobody(client: Client, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("")
    for token in ("", " "):  # no header, and one that names a token of no octets
        assert (await client.ask("GET", "/v1/slot", token=token))[0] == 401


async def test_intake_is_closed_by_order(client: Client, slot: RecordedSlot) -> None:
    assert await client.ask("PUT", "/v1/intake", CLOSE) == (200, {"state": "Closed"})
    assert (slot.intake, slot.by) == ("Closed", ("jane", "a move"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"closed",
        b'{"state": "closed", "owner": "jane", "reason": "a move"}',
        b'{"state": "Open", "owner": "jane", "reason": "a move", "x": 1}',
        b"[]",
        b'{"state": "Closed"}',
        b'{"state": "Closed", "owner": "jane", "reason": ""}',
    ],
)
async def test_an_intake_order_that_is_none_is_answered_with_the_two_there_are(client: Client, body: bytes) -> None:
    status, answer = await client.ask("PUT", "/v1/intake", body)
    assert (status, '{"state": "Open", "owner": "jane"' in answer["error"]) == (422, True)


async def test_an_intake_order_that_cannot_be_kept_is_not_acknowledged(client: Client, slot: RecordedSlot) -> None:
    slot.broken = True
    status, answer = await client.ask("PUT", "/v1/intake", CLOSE)
    assert (status, "replace the slot's volume" in answer["error"]) == (503, True)


async def test_a_pushed_configuration_answers_its_generation_or_why_not(client: Client, slot: RecordedSlot) -> None:
    assert await client.ask("PUT", "/v1/config", b"generation: 7") == (200, {"generation": 7})
    assert slot.pushed == ["generation: 7"]
    assert await client.ask("PUT", "/v1/config", b"bad") == (422, {"error": "lane.name: is required: set it"})
    assert (await client.ask("PUT", "/v1/config", b"\xff"))[0] == 422


async def test_the_configuration_in_force_is_told(client: Client) -> None:
    assert await client.ask("GET", "/v1/config") == (200, {"generation": 7, "serial": 3, "refused": ""})


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/slot?verbose=1", "no parameter 'verbose': there are none here"),
        ("/v1/slot?=", "no parameter '': there are none here"),
    ],
)
async def test_an_unknown_parameter_is_refused_with_those_there_are(client: Client, path: str, said: str) -> None:
    assert await client.ask("GET", path) == (422, {"error": said})


async def test_what_breaks_us_is_answered_and_the_next_request_is_served(client: Client, slot: RecordedSlot) -> None:
    slot.push = None  # type: ignore[assignment,method-assign]  # a bug of ours
    status, said = await client.ask("PUT", "/v1/config", b"generation: 7")
    assert (status, "our fault" in said["error"]) == (500, True)
    assert (await client.ask("GET", "/v1/slot"))[0] == 200


async def test_an_unknown_request_is_told_the_known_ones(client: Client) -> None:
    status, answer = await client.ask("GET", "/v1/slots")
    assert (status, "GET /v1/slot," in answer["error"]) == (404, True)
    assert (await client.ask("POST", "/v1/intake"))[0] == 405


async def test_a_renewed_certificate_with_another_kind_of_key_is_shown(tmp_path: Path, slot: RecordedSlot) -> None:
    certificate(tmp_path, "otp-0.test")
    (tmp_path / "token").write_text("s3cret")
    server = AdminServer(admin(tmp_path), slot)
    await server.start()
    try:
        certificate(tmp_path, "otp-0.test", is_rsa=True)
        server.renew()
        async with aiohttp.ClientSession() as session:
            assert (await Client(session, server.port, tmp_path).ask("GET", "/v1/slot"))[0] == 200
    finally:
        await server.stop()


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"admin\.tls: .*tls\.crt"):
        AdminServer(admin(tmp_path), RecordedSlot())


@pytest.mark.parametrize("token", ["\udcff", "\xff", "é" * 40])
async def test_a_token_that_is_no_text_is_refused_like_any_other(client: Client, token: str) -> None:
    status, answer = await client.ask("GET", "/v1/slot", token=token)
    assert status == 401
    assert "admin token" in answer["error"]


async def test_what_breaks_us_is_said_in_our_words_and_told_in_the_log(
    client: Client, slot: RecordedSlot, capsys: pytest.CaptureFixture[str]
) -> None:
    slot.set_intake = None  # type: ignore[method-assign,assignment] # a mistake of ours
    status, answer = await client.ask("PUT", "/v1/intake", CLOSE)
    assert status == 500
    assert "this is our fault: the slot's log has what broke" in answer["error"]
    assert "s3cret" not in "".join(capsys.readouterr())
