"""What is fuzzed: each target takes bytes, drives one room with them, and raises for what the room does not declare.

A target also checks what must hold of every outcome, so that a wrong answer is found as well as a crash. Declared
errors are caught here and nowhere else. Used by the short form in `make test` and by the campaign of `make fuzz`.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import re2

from lane_api.isppolicy import Action, Category, ResponseRule, Scope, Stage
from lane_api.relayconfig import RelayConfig, SitePolicy
from lane_api.responses import check_rules, matching_text
from lane_relay.accept.http.letters import BadPartError, Letters, Refusal
from lane_relay.accept.http.reading import read
from lane_relay.accept.http.request import Submission
from lane_relay.accept.message import Origin
from lane_relay.accept.policy import Policy as IntakePolicy
from lane_relay.audit.recipients import hide
from lane_relay.deliver.rules import ReplyTable
from lane_relay.errors import SpoolError
from lane_relay.mail.headers import read_header
from lane_relay.mail.reports.read import read_report
from lane_relay.records import QueueEntry, Reply
from lane_relay.smtp.data import unfit_content
from lane_relay.smtp.reply import ReplyParser
from lane_relay.spool.base import Balance
from lane_relay.spool.recovery import recover
from tests.fuzz.seeds import SESSION_SEEDS
from tests.fuzz.sessions import esmtp_client, esmtp_server, judge_content
from tests.fuzz.seven_bit_mail import check_seven_bit, composed
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import CLOCK, RECORDS, SPOOL, defer, message_for, open_spool, put, settle

__all__ = ["CORPUS", "SEEDS", "TARGETS"]


def replies(data: bytes) -> None:
    """Any reply of a peer has a verdict, and the same text is read back from the wire."""
    for reply in ReplyParser().feed(data):
        assert 200 <= reply.code < 600
        assert not any("\r" in line or "\n" in line for line in reply.lines)
    hidden = hide(bytes(16), ("simon.k@isp.test",))(data.decode("utf-8", "replace"))
    assert "simon.k@isp.test" not in hidden.lower()
    for stage in (Stage.CONNECT, Stage.RCPT, Stage.END_OF_DATA):
        text = data.decode("latin-1").replace("\r", " ").replace("\n", " ")
        for reply in (Reply(450, (text[:500],)), Reply(550, (text[:500], text[500:900]))):
            verdict = _TABLE.judge("gmail", stage, reply)
            assert verdict.action is not None
            assert verdict.category in Category


def reply_rules(data: bytes) -> None:
    """Rules that anybody writes are checked, never obeyed blindly: problems are sentences."""
    parts = data.decode("utf-8", "replace").split("\n")
    pattern, example, text = (*parts, "", "", "")[:3]
    try:
        rule = ResponseRule.model_validate(
            {
                "id": "r", "pattern": pattern, "category": "other", "action": "Retry", "examples": [example],
            }
        )  # fmt: skip
    except ValueError:
        return
    found = check_rules((rule, rule.model_copy(update={"id": "second"})), _compile)
    assert all(isinstance(one, str) and one for one in found)
    matching_text(550, [text, *parts[3:6]])


def _compile(pattern: str) -> "re2._Regexp[str]":
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options=options)


def reports(data: bytes) -> None:
    """Whatever comes back is read as something."""
    reading = read_report(data)
    assert reading.kind is not None
    for failure in reading.failures:
        assert "\n" not in failure.recipient
        assert "\r" not in failure.recipient


def headers(data: bytes) -> None:
    """A header that anybody writes has one author, or a reason why not."""
    header = read_header(data)
    assert header.end <= len(data) + 2
    refusal = _POLICY.judge_content(header, smtp_utf8=True)
    assert refusal is None or refusal.is_permanent


def eight_bit(data: bytes) -> None:
    """A message in any state becomes 7-bit, or cannot; what it becomes has the same parts."""
    check_seven_bit(data)
    check_seven_bit(composed(data))


def merge(data: bytes) -> None:
    """A request by HTTP becomes messages that SMTP intake would take, or a refusal that says why."""
    request = read(data)
    if not isinstance(request, Submission):
        assert all(one["detail"] for one in request)
        return
    try:
        letters = Letters(request, _POLICY, _ORIGIN, max_size=100_000, boundary="b" * 24)
        if letters.refusal(_NOW) is not None:
            return
        for place in range(min(3, len(request.recipients))):
            mailbox = letters.judge(place)
            if isinstance(mailbox, Refusal):
                continue
            made = letters.make(place, mailbox, (int(_NOW * 1000) << 48) + place, _NOW)
            if not isinstance(made, Refusal):
                _judge_message(made.body)
    except BadPartError:
        return


def _judge_message(body: bytes) -> None:
    assert unfit_content(body) is None
    judge_content(body)
    assert _POLICY.judge_content(read_header(body), smtp_utf8=True) is None


def spool_recovery(data: bytes) -> None:
    """A volume on which anything was written comes back, without what is damaged, or says that it cannot.

    As a crash left it, and as it was closed, with a footer at its end.
    """
    for image in _images():
        disk = SimulatedDisk(_edited(image, data))
        try:
            found = recover(disk, SPOOL, _SPOOL_ID[0], _Journal())
        except SpoolError:
            continue
        for entry in found.entries():
            assert isinstance(entry, QueueEntry)
            assert entry.recipients
            assert entry.id in _KNOWN, "a message that nobody stored"


class _Journal:
    """A journal that has seen nothing."""

    last_seq = 0
    synced_seq = 0

    def reconcile(self, synced: int, records: "object") -> int:
        list(records)  # type: ignore[call-overload]
        return 0

    def balance(self, after: int) -> Balance:
        return Balance(0, whole=False)

    def append(self, first_seq: int, records: "object") -> bool:
        return True

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


_KNOWN: set[int] = set()
_SPOOL_ID: list[bytes] = []
_MADE: list[Image] = []


def _images() -> list[Image]:
    """A small spool, crashed and closed: waiting, deferred, settled in part and wholly; made once."""
    if not _MADE:
        _MADE.extend(asyncio.run(_make_images()))
    return _MADE


async def _make_images() -> list[Image]:
    disk = SimulatedDisk()
    spool = open_spool(disk, tidy_every=1e9)
    for recipients in (("a@one.test",), ("b@one.test", "c@two.test"), ("d@one.test",), ("e@two.test", "f@two.test")):
        entries = await put(spool, message_for(spool, recipients))
        _KNOWN.update(entry.id for entry in entries)
        if recipients[0].startswith("b"):
            settle(spool, entries[0])
        elif recipients[0].startswith("d"):
            defer(spool, entries[0], CLOCK.now() + 60)
    spool.set_flag("intake", "Closed")
    await spool.flush()
    crashed = disk.image()
    _SPOOL_ID.append(bytes.fromhex(spool.spool_id))
    await spool.close()
    return [
        {path: content for path, content in image.items() if not path.startswith(str(RECORDS))}
        for image in (crashed, disk.image())
    ]


def _edited(image: Image, data: bytes) -> Image:
    """Edits of the segment: each 4 bytes say where and what, a length byte cuts or repeats a stretch."""
    (path,) = [path for path in image if path.endswith(".seg")]
    content = bytearray(image[path])
    for at in range(0, len(data) - 4, 5):
        kind, where = data[at], int.from_bytes(data[at + 1 : at + 4], "big") % max(1, len(content))
        value = data[at + 4]
        if kind < 200:
            content[where] = value
        elif kind < 220:
            del content[where : where + value]
        elif kind < 240:
            content[where:where] = content[max(0, where - value) : where]
        else:
            del content[where:]
        if not content:
            break
    return {**image, path: bytes(content)}


_NOW: Final = 1_800_000_000.0
_ORIGIN: Final = Origin("relay.example.com", "192.0.2.1", "", "app", "HTTPS")
_POLICY: Final = IntakePolicy(
    RelayConfig.model_validate(
        {
            "lane": {"name": "otp"},
            "slot": {"name": "otp-0", "hostname": "relay.example.com"},
            "intake": {"senders": ["@x.example"]},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "domains": [{"name": "x.example", "mode": "Off"}],
        }
    )
)
_RULES: Final = [
    {
        "id": "rate",
        "pattern": "(?i)rate|4\\.7\\.28",
        "category": "rate-limited",
        "action": Action.BACKOFF,
        "scope": Scope.IP,
        "examples": ["421-4.7.28 unusual rate"],
    },
    {
        "id": "gone",
        "pattern": "NoSuchUser",
        "category": "bad-mailbox",
        "action": Action.BOUNCE,
        "examples": ["550-5.1.1 NoSuchUser"],
    },
]
_TABLE: Final = ReplyTable(
    (SitePolicy.model_validate({"name": "gmail", "domains": ["gmail.com"], "responses": _RULES}),)
)

_EIGHT_BIT: Final = (
    b"DKIM-Signature: v=1\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary*=utf-8''b%62\r\n\r\n"
    b"--bb\r\nContent-Type: text/plain; charset*=nosuch''x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Gr\xc3\xbc\xc3\x9fe\r\n"
    b"--bb\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n\xff\xfe\r\n--bb--\r\n"
)
TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (esmtp_server, esmtp_client, replies, reply_rules, reports, headers, eight_bit, merge, spool_recovery)
}
"""By name."""

_REPORT: Final = (
    b"From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n--b\r\n\r\nsorry\r\n--b\r\n'
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822;u@y"
    b"\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no\r\n\r\n--b--\r\n"
)
_REQUEST: Final = json.dumps(
    {
        "from": "a@x.example",
        "recipients": [{"to": "b@y.example", "substitutions": {"name": "Ann"}}],
        "subject": "Hi {{ name }}",
        "text": "{% for x in [1, 2] %}{{ x }}{% endfor %}",
        "headers": {"X-One": "two"},
    }
).encode()
SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    **SESSION_SEEDS,
    "replies": (
        b"550 5.1.1 NoSuchUser",
        b"421-4.7.28 unusual rate of mail",
        "550 5.1.1 \u017fimon@i\u017fp.test \u0131\u0130\u212a".encode(),
    ),
    "reply_rules": (b"^421[- ]4\\.7\n421-4.7.28 slow\ntext",),
    "reports": (_REPORT,),
    "headers": (b"From: a@x.example\r\nDate: x\r\nMessage-ID: <a@b>\r\nX-Lane-Expires-In: 5m\r\n\r\n",),
    "eight_bit": (
        _EIGHT_BIT,
        _EIGHT_BIT.replace(b"*=utf-8''b%62", b"=bb"),
        _EIGHT_BIT.replace(b"*=utf-8''b%62", b"=bb").replace(b"Gr", b"x" * 75 + b"--bb\r\n"),
        b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nR3L8\xc3\xbc\r\n",
    ),
    "merge": (_REQUEST,),
    "spool_recovery": (hashlib.sha256(b"seed").digest(),),
}
"""Where each target begins."""
assert set(SEEDS) == set(TARGETS)
CORPUS: Final = Path(__file__).resolve().parents[2] / "build" / "fuzz"
"""What a campaign has found so far, a folder a target; crashes beside it."""
