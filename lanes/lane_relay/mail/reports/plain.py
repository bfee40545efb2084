"""Bounces written for people only: qmail, Exim, Exchange, Domino, GroupWise, MDaemon, Yahoo, and who copies them.

The words of a report end where the returned mail begins, which would otherwise be read as words of the server. In what
is left a phrase says that it is a failure or a delay, and the mailboxes that stand out (alone on a line, before a
colon, behind `to`) say whose. The table of dialects gives the reading its name; what no row knows is `generic`.
"""

import re
from typing import Final

from lane_relay.mail.reports.parts import Mail
from lane_relay.mail.reports.phrases import DIALECTS, FAILS, GIVES_UP, RETURNED, SUBJECT_FAILS, WAITS
from lane_relay.mail.reports.reading import Failure, Kind, Reading
from lane_relay.mail.reports.status import codes_in, one_line

__all__ = ["is_from_a_system", "read_plain"]

_MOST_LINES: Final = 400
_MOST_ADDRESSES: Final = 20

_BLANKS = re.compile(r"[ \t]{3,}")
"""What stands out does so behind two as well, and more are gone through from each of them on."""
_MAILBOX: Final = r"[^\s<>()\[\]:;,\"'|*@：，；]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_BEFORE: Final = "|".join(  # noqa: FLY002 -- a list is read and added to
    (
        r"deliver\w{0,10} (?:\w{1,20} )?to", r"undeliverable\s+to", r"unknown user", r"user unknown",
        r"failed (?:address|recipient)", r"address", r"attempts", r"userid", r"recipient", r"rcpt to", r"empf[äa]nger",
        r"destinataire", r"for", r"mailbox", r"addressed to", r"relay to", r"account", r"user",
        r"message to", r"收件人",
    )
)  # fmt: skip
"""Words behind which a mailbox is the one that the report is about."""
_STANDS_OUT = (
    re.compile(rf"^[\s>*•|.-]*[\"'<]*(?:mailto:)?({_MAILBOX})[\"'>]*(?:<mailto:[^>]*>)?[\s.|*;,]*$"),
    re.compile(rf"^[\s>*-]*\"?<?({_MAILBOX})>?\"?[ \t]*(?::|\(|\.\.\.| on \w{{3}},| {{2,}}|\t|; | - )"),
    re.compile(
        rf"\b(?:{_BEFORE})(?!\w)[ \t]*[:：=]?[ \t]*(?:\[?SMTP[:=])?['\"<\[]*(?:mailto:)?({_MAILBOX})",
        re.IGNORECASE,
    ),
    re.compile(rf"(?:SMTP=|\[)({_MAILBOX})[;\]]", re.IGNORECASE),
    re.compile(
        rf"(?::[ \t]*|\"[ \t]+<|\((?:generated|expanded) from:?[ \t]*)<?({_MAILBOX})[>)]*[ \t]*$", re.IGNORECASE
    ),
)
_OWN_LOCALS: Final = ("mailer-daemon", "postmaster", "abuse", "mail-daemon")
_SYSTEMS: Final = (
    "mailer-daemon", "postmaster", "mail delivery", "daemon", "mail administrator", "system administrator",
    "mailsystem", "mail_service",
)  # fmt: skip


def read_plain(mail: Mail) -> Reading | None:
    """What a report without fields for programs says; None if it does not look like one."""
    texts = [part.text for part in mail.parts if part.kind.startswith("text/") and part.kind != "text/rfc822-headers"]
    whole = "\n".join(texts[:3])
    words, returned = _split(whole)
    subject = mail.fields.get("subject", "")
    named = [one.strip() for one in mail.fields.get("x-failed-recipients", "").split(",") if "@" in one]
    fails = FAILS.search(words) is not None or bool(named)
    waits = WAITS.search(words) is not None or re.search(r"\bdelay|warning:", subject, re.IGNORECASE) is not None
    if not fails and not waits and not (SUBJECT_FAILS.search(subject) and is_from_a_system(mail)):
        return None
    failures = _failures(words, named)
    if not failures and not is_from_a_system(mail):
        return None  # somebody writes about a mail that did not arrive
    kind = Kind.DELAY if waits and not GIVES_UP.search(words) else Kind.BOUNCE
    dialect = next((name for name, known in DIALECTS if known.search(f"{subject}\n{words}")), "generic")
    header = mail.returned or returned.encode("utf-8", "replace")
    return Reading(kind, dialect, failures, reporter=mail.fields.get("from", "")[:200], returned=header)


def is_from_a_system(mail: Mail) -> bool:
    """Its author is a mail server, or nobody at all."""
    sender = mail.fields.get("from", "").lower()
    path = mail.fields.get("return-path", "").strip()
    return path == "<>" or any(one in sender for one in _SYSTEMS)


def _split(text: str) -> tuple[str, str]:
    """The server's words, and the returned mail behind them."""
    lines = text.splitlines()
    for number, line in enumerate(lines[:_MOST_LINES]):
        if number and RETURNED.match(line) and not _is_title(lines[:number]):
            rest = "\n".join(lines[number + 1 :]).lstrip()
            return "\n".join(lines[:number]), rest.split("\n\n")[0]
    return "\n".join(lines[:_MOST_LINES]), ""


def _is_title(before: list[str]) -> bool:
    """Nothing but empty lines and rules came before it, so it heads the report."""
    return not any(any(one.isalnum() for one in line) for line in before)


def _failures(words: str, named: list[str]) -> tuple[Failure, ...]:
    """Each mailbox that stands out, with the words up to the next one."""
    found: dict[str, int] = {}
    lines = words.splitlines()
    for number, line in enumerate(lines):
        address = _standing_out(line)
        if address and address.lower() not in found and len(found) < _MOST_ADDRESSES:
            found[address.lower()] = number
    if named:
        found = {one.strip("<>").lower(): found.get(one.strip("<>").lower(), 0) for one in named[:_MOST_ADDRESSES]}
    if not found:
        code, status = codes_in(words)
        return (Failure(status=status, code=code, text=_gist(lines)),) if code or status else ()
    starts = sorted(found.values())
    failures = []
    for address, start in found.items():
        after = [one for one in starts if one > start]
        text = "\n".join(lines[start : after[0] if after else len(lines)])
        code, status = codes_in(text)
        if not code and not status:
            code, status = codes_in(words)
        failures.append(Failure(address, "", status, code, _gist(text.splitlines())))
    return tuple(failures)


def _standing_out(line: str) -> str:
    line = _BLANKS.sub("  ", line[:500])
    for pattern in _STANDS_OUT:
        matched = pattern.search(line)
        if matched and matched[1].partition("@")[0].lower() not in _OWN_LOCALS:
            return matched[1].rstrip(".")
    return ""


def _gist(lines: list[str]) -> str:
    """The words that say why: from the first line with a code or a reason on, without rules and blank lines."""
    told = [line.strip() for line in lines if any(one.isalnum() for one in line)]
    for number, line in enumerate(told):
        if any(codes_in(line)):
            return one_line(" ".join(told[number : number + 4]))
    return one_line(" ".join(told[:6]))
