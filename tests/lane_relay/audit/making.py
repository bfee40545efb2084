"""Journals with a chain, as the tests of this room need them: on a real folder, in small segments."""

import argparse
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lane_api.relayconfig import Records
from lane_relay.account.journal import Journal
from lane_relay.audit.arguments import add_commands
from lane_relay.audit.chain import Chain
from lane_relay.audit.commands import run_audit, run_trace
from lane_relay.audit.evidence import DirectoryStore, Store, journals
from lane_relay.audit.head import HeadKey, Signed
from lane_relay.audit.verify import Report, verify
from lane_relay.clock import Clock
from lane_relay.errors import ConfigError
from lane_relay.spool.files import POSIX_FILES, Files

NOON = 1_800_014_400.0
"""2027-01-15 12:00 UTC."""
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
PUBLIC = KEY.public_key()


class Time:
    """A clock that stands until it is set."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now
        self.clock = Clock(now=lambda: self.now, monotonic=lambda: self.now)


def pem(key: Ed25519PrivateKey = KEY) -> bytes:
    """The private key as the operator mounts it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey = KEY) -> bytes:
    """The public key as a person keeps it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def records_config(path: Path, **values: object) -> Records:
    """Files of a thousand bytes, unless said otherwise."""
    return Records.model_validate({"path": str(path), "max_size": 64_000, **values})


def open_journal(
    path: Path,
    time: Time,
    *,
    key: Ed25519PrivateKey | None = KEY,
    files: Files = POSIX_FILES,
    config: Records | None = None,
) -> tuple[Journal, Chain]:
    """A journal and its chain."""
    chain = Chain.open(files, path, "mail/otp", "otp-0", HeadKey(key), time.clock)
    return Journal.open(config or records_config(path), time.clock, files, chain), chain


def record(number: int, **fields: object) -> bytes:
    """About 250 bytes."""
    said = {"type": "Delivery", "id": f"{number:024x}", "message_id": f"<{number}@brand.test>", "pad": "x" * 120}
    return json.dumps(said | fields, separators=(",", ":")).encode()


def fill(journal: Journal, count: int, first: int | None = None) -> None:
    """So many records, one commit each."""
    first = journal.last_seq + 1 if first is None else first
    for number in range(first, first + count):
        assert journal.append(number, [record(number)])


def seal_all(journal: Journal) -> None:
    """As the auditor does it at a stop."""
    journal.finish()
    while journal.seal_next():
        pass


def sealed_folder(path: Path, count: int = 20, *, key: Ed25519PrivateKey | None = KEY) -> Chain:
    """A folder with so many sealed records."""
    journal, chain = open_journal(path, Time(), key=key)
    fill(journal, count)
    seal_all(journal)
    journal.close()
    return chain


def judge(store: Path | Store, *, since: Signed | None = None, until: Signed | None = None) -> Report:
    """The report of the only journal there, against the lane's key."""
    opened = DirectoryStore(store) if isinstance(store, Path) else store
    (files,) = journals(opened.names())
    return verify(opened, files, [PUBLIC], since, until)


def kinds(report: Report) -> list[str]:
    """What was found."""
    return [str(finding.kind) for finding in report.findings]


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


def command(*arguments: object) -> Said:
    """`lane-relay audit` or `trace` without a process of its own; `whole/test_evidence.py` has those."""
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(dest="command"))
    given = parser.parse_args([str(one) for one in arguments])
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = run_audit(given) if given.command == "audit" else run_trace(given)
        except ConfigError as refused:
            return Said(2, out.getvalue(), str(refused))
    return Said(code, out.getvalue(), err.getvalue())
