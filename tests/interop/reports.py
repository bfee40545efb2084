"""Reports of a running relay, read by parsers of other people, compared with what the relay was made to say.

Failure, delay, expiry, hand-over to a host that reports nothing, addresses beyond ASCII; with and without ENVID, ORCPT
and RET. Each parser says, as far as it tells at all, whom a report is about, what became of them, and with what status.
"""

import email
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import policy
from email.message import Message
from pathlib import Path
from typing import Any, Final, cast

from flufl.bounce import all_failures

from tests.interop.room import program
from tests.interop.shapes import SENDER
from tests.lane_relay.running import Relay, Sink, eventually, fixed_route

Told = frozenset[tuple[str, str, str]]
"""(address, action, status) of each recipient; an empty string where a parser does not tell."""


@dataclass(frozen=True)
class Case:
    """One message and the report that must come of it."""

    name: str
    recipients: tuple[tuple[str, str], ...]
    """Local part, options of RCPT."""
    said: dict[str, str]
    """Local part -> the host's answer to RCPT; others are taken."""
    meant: Told
    options: tuple[str, ...] = ()
    """Of MAIL."""


_DOMAIN: Final = "@isp.test"


def _told(action: str, status: str, *locals_: str) -> Told:
    return frozenset((f"{one}{_DOMAIN}", action, status) for one in locals_)


CASES: Final = (
    Case("failed", (("gone", ""),), {"gone": "550 5.1.1 no such user"}, _told("failed", "5.1.1", "gone")),
    Case("failed-unenhanced", (("odd", ""),), {"odd": "554 go away"}, _told("failed", "5.0.0", "odd")),
    Case("failed-of-two", (("good", ""), ("full", "")), {"full": "552 5.2.2 mailbox full"},
         _told("failed", "5.2.2", "full")),
    Case("failed-both", (("b1", ""), ("b2", "")), {"b1": "550 5.1.1 no", "b2": "550 5.7.1 not you"},
         _told("failed", "5.1.1", "b1") | _told("failed", "5.7.1", "b2")),
    Case("failed-asked", (("asked", "NOTIFY=FAILURE ORCPT=rfc822;asked@isp.test"),), {"asked": "550 5.1.6 moved"},
         _told("failed", "5.1.6", "asked"), ("RET=FULL", "ENVID=order+2B1")),
    Case("failed-many-lines", (("wordy", ""),), {"wordy": "550-5.7.26 one\r\n550-5.7.26 two\r\n550 5.7.26 three"},
         _told("failed", "5.7.26", "wordy")),
    Case("delayed", (("late", "NOTIFY=DELAY"),), {"late": "451 4.3.2 busy"}, _told("delayed", "4.3.2", "late")),
    Case("expired", (("never", "NOTIFY=FAILURE"),), {"never": "451 4.2.2 full"}, _told("failed", "5.4.7", "never")),
    Case("relayed", (("fine", "NOTIFY=SUCCESS"),), {}, _told("relayed", "2.0.0", "fine")),
    Case("utf8", (("jürgen", ""),), {"jürgen": "550 5.1.1 no such user"}, _told("failed", "5.1.1", "jürgen"),
         ("BODY=8BITMIME", "SMTPUTF8")),
)  # fmt: skip


def _content(case: Case) -> bytes:
    to = ", ".join(f"{local}{_DOMAIN}" for local, _ in case.recipients)
    fields = [f"From: {SENDER}", f"To: {to}", f"Message-ID: <{case.name}@brand.test>", "Subject: a letter"]
    fields += ["Date: Sat, 28 Nov 2026 12:00:00 +0000"]
    return "\r\n".join(fields).encode() + b"\r\n\r\nhello\r\n"


def reports(folder: Path) -> dict[str, bytes]:
    """The report of each case, as it came to the sender."""
    answers = {f"{local}{_DOMAIN}": said for case in CASES for local, said in case.said.items()}
    with Sink("127.0.0.83") as sink:
        sink.answer_with = lambda stage, address: answers.get(address) if stage == "RCPT" else None
        delivery = {"routes": [fixed_route(sink)], "lifetime": "3s", "delayNotice": {"after": "0.2s"}}
        relay = Relay(folder / "reporting", {"intake": {"clients": ["127.0.0.0/8"]}, "delivery": delivery}).start()
        try:
            with relay.session(login=False) as client:
                client.ehlo()
                for case in CASES:
                    _hand_in(client, case)
            wanted = {case.name for case in CASES}
            eventually(lambda: wanted <= set(_reports_at(sink)), "a report of each case")
            return _reports_at(sink)
        finally:
            relay.stop()


def _hand_in(client: Any, case: Case) -> None:
    """One transaction: smtplib gives all recipients the same options."""
    replies = [client.mail(SENDER, list(case.options))]
    client.command_encoding = "utf-8"
    replies += [client.rcpt(f"{local}{_DOMAIN}", options.split()) for local, options in case.recipients]
    replies.append(client.data(_content(case)))
    if any(code != 250 for code, _ in replies):
        raise RuntimeError(f"{case.name}: {replies}")


def _reports_at(sink: Sink) -> dict[str, bytes]:
    found = {}
    for one in sink.arrived:
        if one.sender == "":
            parsed = email.message_from_bytes(one.content, policy=policy.SMTPUTF8)
            found[str(parsed["In-Reply-To"]).strip("<>").removesuffix("@brand.test")] = one.content
    return found


def by_email(contents: dict[str, bytes], folder: Path) -> dict[str, Told]:
    """The standard library's parser, field by field."""
    del folder
    return {
        name: _fields(email.message_from_bytes(content, policy=policy.SMTPUTF8)) for name, content in contents.items()
    }


def _fields(report: Message) -> Told:
    parts = [part for part in report.walk() if part.get_content_subtype().endswith("delivery-status")]
    blocks: list[Any] = []
    for part in parts:
        blocks += part.get_payload()
        if part.get_content_subtype() == "global-delivery-status":  # its second block is the body of its first to it
            blocks += [email.message_from_string(one, policy=policy.SMTPUTF8) for one in _bodies(part)]
    return frozenset(
        (str(block["Final-Recipient"]).partition(";")[2].strip(), str(block["Action"]), str(block["Status"]))
        for block in blocks
        if block["Final-Recipient"] is not None
    )


def _bodies(part: Message) -> list[str]:
    """The blocks behind the first."""
    (first,) = cast("list[Message]", part.get_payload())
    raw = first.get_payload(decode=True)
    return (raw if isinstance(raw, bytes) else b"").decode().replace("\r\n", "\n").split("\n\n")


def by_flufl(contents: dict[str, bytes], folder: Path) -> dict[str, Told]:
    """Mailman's; it tells whom, and whether for good, and is silent about what is no failure."""
    del folder
    told = {}
    for name, content in contents.items():
        temporary, permanent = all_failures(email.message_from_bytes(content))
        found = {(one.decode(), "delayed", "") for one in temporary} | {
            (one.decode(), "failed", "") for one in permanent
        }
        told[name] = frozenset(found)
    return told


def by_perl(contents: dict[str, bytes], folder: Path) -> dict[str, Told]:
    """Mail::DeliveryStatus::BounceParser."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    _, environment = program("msmtp")
    command = ["perl", str(Path(__file__).parent / "reports.pl"), *contents]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-1000:])
    told: dict[str, set[tuple[str, str, str]]] = {name: set() for name in contents}
    for line in done.stdout.decode().splitlines():
        name, address, action, status = line.split("\t")
        told[name].add((address, action, status))
    return {name: frozenset(found) for name, found in told.items()}


@dataclass(frozen=True)
class Parser:
    """Who reads, and what it does not tell."""

    name: str
    read: Callable[[dict[str, bytes], Path], dict[str, Told]]
    leaves_out: dict[str, str]
    """Case -> why it cannot be read by it."""
    tells_status: bool = True


_GLOBAL: Final = "it does not know message/global-delivery-status (RFC 6533)"
_LISTED: Final = "it lists final failures only"
LIBRARIES: Final = (
    Parser("email", by_email, {}),
    Parser("flufl.bounce", by_flufl, {"relayed": "it lists failures only", "utf8": _GLOBAL}, tells_status=False),
)
PARSERS: Final = (
    *LIBRARIES,
    Parser("BounceParser", by_perl, {"relayed": _LISTED, "delayed": _LISTED, "utf8": _GLOBAL}),
)


def disagreements(contents: dict[str, bytes], parsers: Sequence[Parser], folder: Path) -> tuple[list[str], int]:
    """(what was read otherwise than meant, pairs of report and parser)."""
    wrong, pairs = [], 0
    for parser in parsers:
        told = parser.read(contents, folder)
        for case in CASES:
            if case.name in parser.leaves_out or case.name not in contents:
                continue
            pairs += 1
            meant = case.meant if parser.tells_status else frozenset((who, what, "") for who, what, _ in case.meant)
            if told[case.name] != meant:
                wrong.append(f"{parser.name} reads {case.name} as {sorted(told[case.name])}, not {sorted(meant)}")
    return wrong, pairs


def falsified(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The same reports with other outcomes and other recipients: every parser must see it."""
    other = {
        b"Action: failed": b"Action: delayed",
        b"Action: delayed": b"Action: failed",
        b"Action: relayed": b"Action: failed",
    }
    made = {}
    for name, content in contents.items():
        found = next(one for one in other if one in content)
        made[name] = content.replace(found, other[found]).replace(b"isp.test", b"ips.test")
    return made
