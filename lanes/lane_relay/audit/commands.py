"""`lane-relay audit` and `lane-relay trace`: evidence of a folder or an archive, without a running relay.

Exit status: 0 proven or found, 1 something is wrong or not found, 2 bad input.
Before it: `__main__`, with what `arguments` parsed. After it: `verify`, `trace`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from lane_api.relayconfig import ArchiveS3
from lane_relay.audit.evidence import DirectoryStore, Store, journals
from lane_relay.audit.head import Head, Signed, parse, public_key
from lane_relay.audit.recipients import digest, parse_key
from lane_relay.audit.stores import S3Store
from lane_relay.audit.trace import Wanted, as_table, trace
from lane_relay.audit.unsettled import Unsettled, unsettled
from lane_relay.audit.verify import Kind, Report, verify
from lane_relay.clock import rfc3339
from lane_relay.errors import ConfigError

__all__ = ["run_audit", "run_trace"]

SOUND: Final = 0
WRONG: Final = 1


def open_place(given: argparse.Namespace) -> Store:
    """The store that the command line names; raises ConfigError that names the fix."""
    if given.place.startswith("s3://"):
        bucket, _, prefix = given.place.removeprefix("s3://").partition("/")
        if not given.credentials:
            raise ConfigError("an archive in S3 needs --credentials DIR, with access_key_id and secret_access_key")
        try:
            return S3Store(
                ArchiveS3(
                    bucket=bucket,
                    prefix=prefix.strip("/"),
                    endpoint=given.endpoint,
                    region=given.region,
                    credentials_dir=given.credentials,
                )
            )
        except ValidationError as error:
            raise ConfigError(f"{given.place}: {error.errors()[0]['msg']}; write s3://BUCKET/PREFIX") from error
    try:
        return DirectoryStore(Path(given.place))
    except OSError as error:
        raise ConfigError(f"{error}: name the folder of a slot's records, or of an archive") from error


def run_audit(given: argparse.Namespace) -> int:
    """Does what is asked with every journal there, and says what it found."""
    return _list_unsettled(given) if given.act == "unsettled" else _verify(given)


def _list_unsettled(given: argparse.Namespace) -> int:
    try:
        found = unsettled(open_place(given), given.slot)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{given.place}: {error}") from error
    if not found.reach:
        whose = f"of slot {given.slot} " if given.slot else ""
        raise ConfigError(f"{given.place} holds no records {whose}: name the folder of a slot's records, or an archive")
    if given.json:
        for one in found.messages:
            print(json.dumps(msgspec.to_builtins(one)))
    else:
        print(_unsettled_as_text(found))
    return WRONG if found.messages else SOUND


def _verify(given: argparse.Namespace) -> int:
    store = open_place(given)
    keys = [_key(path) for path in given.key]
    since, until = (_head(path) for path in (given.since, given.head))
    found = journals(store.names())
    kept = {one.head.journal for one in (since, until) if one is not None}
    reports = [verify(store, files, keys, around=found) for files in found]
    if kept:
        named = {report.journal for report in reports}
        at = [kept & ({one.journal} | ({*one.continues} - named)) for one in reports]  # what has no folder of its own
        heads = [one.head for one in (until, since) if one is not None]
        gone = next((head for head in heads if not any(head.journal in here for here in at)), None)
        if gone is not None and not any(_may_be_of(gone, report) for report in reports):
            raise ConfigError(f"journal {', '.join(sorted(kept))}, of which a head was given, is not in {given.place}")
        reports = [
            verify(store, files, keys, _of(since, here), _of(until, here), found) if here else plain
            for files, plain, here in zip(found, reports, at, strict=True)
        ]
        if gone is not None:
            reports.append(_removed(gone))
    if not reports:
        raise ConfigError(f"{given.place} holds no records: name the folder of a slot's records, or of an archive")
    for report in reports:
        print(_as_json(report) if given.json else _as_text(report))
    return WRONG if any(report.findings for report in reports) else SOUND


def _of(head: Signed | None, journals: set[str]) -> Signed | None:
    """A kept head, if it is of one of these."""
    return head if head is not None and head.head.journal in journals else None


def _may_be_of(head: Head, report: Report) -> bool:
    """The evidence is the head's slot's, or has no head left that says whose it is."""
    return not report.journal or (report.lane, report.slot) == (head.lane, head.slot)


def _removed(head: Head) -> Report:
    """Of a journal that a kept head proves to have been there."""
    report = Report("", head.lane, head.slot, head.journal)
    sentence = f"none of its entries is here, and entry {head.number} of it was kept: all of them were removed"
    report.add(Kind.HEAD_REMOVED, f"journal {head.journal}", sentence)
    return report


def run_trace(given: argparse.Namespace) -> int:
    """Prints what happened to a message."""
    if not given.id and not given.recipient:
        raise ConfigError("name a Message-ID, a correlation id, a spool id or --recipient ADDRESS")
    forms = [given.recipient] if given.recipient else []
    if given.recipient and given.recipients_key is not None:
        try:
            forms.append(digest(parse_key(given.recipients_key.read_bytes()), given.recipient))
        except OSError as error:
            raise ConfigError(f"--recipients-key cannot be read: {error}") from error
    found = trace(open_place(given), Wanted(given.id, tuple(forms)))
    if not found:
        print(f"no record of {given.id or given.recipient} in {given.place}", file=sys.stderr)
        return WRONG
    print("\n".join(json.dumps(one, ensure_ascii=False) for one in found) if given.json else as_table(found))
    return SOUND


def _key(path: Path) -> Ed25519PublicKey:
    try:
        return public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--key {path}: {error}; give the lane's Ed25519 public key") from error


def _head(path: Path | None) -> Signed | None:
    try:
        return parse(path.read_bytes()) if path is not None else None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}; give a head as /v1/slot or the archive has it") from error


def _as_json(report: Report) -> str:
    return json.dumps(msgspec.to_builtins(report))


def _unsettled_as_text(found: Unsettled) -> str:
    lines = [
        f"{rfc3339(one.accepted)}  {one.slot}  {one.id}  {one.message_id or '-'}  {', '.join(one.recipients)}"
        for one in found.messages
    ]
    recipients = sum(len(one.recipients) for one in found.messages)
    lines.append(
        f"{_count(len(found.messages), 'message')}, {_count(recipients, 'recipient')} accepted and not settled"
    )
    lines += [
        f"{one.slot}: records to {one.last_seq}, of {rfc3339(one.until)}; what came later is not among them"
        for one in found.reach
    ]
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _as_text(report: Report) -> str:
    where = f"{report.lane} {report.slot} {report.journal}".strip() or report.folder or "."
    lines = [f"{where}: {report.heads} heads, {report.segments} segments, {report.records} records"]
    lines += [f"  WRONG  {finding}" for finding in report.findings]
    lines += [f"  note   {note}" for note in report.notes]
    if not report.findings:
        span = f"records {report.first_seq} to {report.last_seq}: " if report.segments else ""
        lines.append(f"  proven {span}nothing was altered or left out (key {report.key or 'none'})")
    return "\n".join(lines)
