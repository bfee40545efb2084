"""Relays with one fault each, which the campaign must find: what it would not see in a fault, it does not see at all.

Before: `one` and `states`, which apply one by name before anything runs. Nothing here is reachable from the product.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Final

from lane_api import responses
from lane_relay.accept.http import letters, templates
from lane_relay.mail import headers, seven_bit
from lane_relay.mail.reports import status
from lane_relay.smtp import client, content, reply, sasl, server
from lane_relay.smtp.client import Client
from lane_relay.smtp.input_buffer import InputBuffer
from lane_relay.smtp.server import Server, StartTls
from lane_relay.smtp.server_transaction import InboundTransaction
from lane_relay.smtp.transaction import Transaction
from lane_relay.spool import cleaning, format  # noqa: A004  # a module of ours
from lane_relay.spool.committer import Committer
from lane_relay.spool.format import Kind

__all__ = ["FAULTS", "apply"]


def _keeps_plain_text() -> None:
    """What is pipelined behind STARTTLS counts inside TLS (CVE-2011-0411)."""
    starttls = Server._on_starttls

    def keep(self: Server, argument: str) -> Any:
        kept = bytes(self._input.data)
        event = starttls(self, argument)
        if isinstance(event, StartTls):
            self._input.data += kept
        return event

    server._COMMANDS["STARTTLS"] = keep


def _authenticates_in_plain_text() -> None:
    """AUTH without TLS is not refused."""
    auth = Server._on_auth

    def allow(self: Server, argument: str) -> Any:
        tls, self.tls = self.tls, True
        event = auth(self, argument)
        self.tls = tls
        return event

    server._COMMANDS["AUTH"] = allow


def _goes_on_with_sasl() -> None:
    """An exchange that was refused goes on: what the client takes for a command is read as its password."""
    line = Server._on_sasl_line

    def go_on(self: Server, text: str) -> Any:
        event = line(self, text)
        if event is None and self._state is server.State.COMMAND:
            self._sasl, self._state = sasl.SaslExchange("LOGIN"), server.State.SASL
        return event

    Server._on_sasl_line = go_on  # type: ignore[method-assign, assignment]


def _takes_bare_line_ends() -> None:
    """Content is not looked at: smuggling."""
    content.unfit_content = lambda content: None  # type: ignore[attr-defined]


def _forgets_the_pause() -> None:
    """What came during a pause is read no more after it."""

    def resume(self: Server) -> None:
        self._state = server.State.COMMAND
        self._input.data.clear()

    Server.resume = resume  # type: ignore[method-assign]


def _believes_injection() -> None:
    """Plain text behind the answer to STARTTLS is no reason to end the session (CVE-2021-38371)."""
    Client._refuse_injection = lambda self, events: None  # type: ignore[method-assign]


def _sends_bodies_uninvited() -> None:
    """Any positive answer to DATA is a 354, and the body goes out once more with the next."""
    send = Client._send_content

    def again(self: Client, transaction: Transaction, events: list[Any]) -> None:
        chunks = transaction.content
        send(self, transaction, events)
        events += [client.Write(chunks)] if chunks and transaction.refused else []

    Client._send_content = again  # type: ignore[method-assign]


def _takes_any_code() -> None:
    """A reply's code is not looked at."""
    parse = reply._parse_line.__wrapped__

    def any_code(line: bytes) -> Any:
        return parse(line) or ((int(line[:3]), True, "") if line[:3].isdigit() else None)

    reply._parse_line = any_code  # type: ignore[assignment]


def _trusts_patterns() -> None:
    """What the engine of regular expressions raises is nobody's."""
    checked = responses._checked

    def trust(rules: Sequence[Any], compile_pattern: Callable[[str], Any], **others: Any) -> Iterator[Any]:
        for rule in rules:
            compile_pattern(rule.pattern)
        return checked(rules, compile_pattern, **others)

    responses._checked = trust


def _knows_all_actions() -> None:
    """A report's action is one of those in the RFC."""
    status._kind = lambda block: status._KINDS[block.get("action", "").strip().lower()]


def _knows_all_text() -> None:
    """A header is UTF-8."""
    headers._printable = lambda value: value.decode().strip()


def _quotes_delimiters() -> None:
    """A line of a part's new form may read as a delimiter around it."""
    quoted = seven_bit._Making._quoted
    seven_bit._Making._quoted = lambda self, at, end, _inside: quoted(self, at, end, ())  # type: ignore[method-assign, assignment]


def _encodes_twice() -> None:
    """What is said to be base64 already is encoded again, and only said to be so once."""
    seven_bit._PLAIN |= {"base64"}  # type: ignore[misc]


def _trusts_templates() -> None:
    """A template is parsed where nobody waits for its errors."""
    compiled = templates.compiled

    def trust(source: str, *, html: bool) -> Any:
        templates._ENVIRONMENTS[html].parse(source)
        return compiled(source, html=html)

    letters.compiled = trust  # type: ignore[attr-defined, assignment]


def _skips_checksums() -> None:
    """Whatever has the form of a record is one."""
    format.zlib = SimpleNamespace(crc32=lambda _data, _value=0: 0, error=zlib.error)  # type: ignore[attr-defined, assignment]


def _forgets_the_handshake() -> None:
    """What was agreed to in plain text counts inside TLS."""

    def begun(self: Server) -> None:
        self._state = server.State.COMMAND
        self.tls = True

    Server.tls_started = begun  # type: ignore[method-assign]


def _shares_its_buffer() -> None:
    """The next client's session begins with what the one before left unread."""
    shared = InputBuffer()
    server.InputBuffer = lambda: shared  # type: ignore[attr-defined, assignment]


def _keeps_recipients() -> None:
    """RSET ends a transaction, and its recipients stay for the next one."""

    def end(self: InboundTransaction) -> None:
        self.sender = None

    InboundTransaction.end = end  # type: ignore[method-assign]


def _keeps_offers() -> None:
    """What a host offered in plain text is believed inside TLS."""
    greet = Client.greet

    def keep(self: Client) -> bytes:
        offered = self.extensions
        written = greet(self)
        self.extensions = offered
        return written

    Client.greet = keep  # type: ignore[method-assign]


def _mixes_up_recipients() -> None:
    """One recipient's refusal is told as its neighbour's."""
    settle = Transaction.settle

    def mix(self: Transaction, *given: Any) -> Any:
        results = settle(self, *given)
        turned = [*results[1:], *results[:1]]
        return tuple(
            client.RecipientReply(one.index, other.stage, other.reply)
            for one, other in zip(results, turned, strict=True)
        )

    Transaction.settle = mix  # type: ignore[method-assign, assignment]


def _answers_before_the_disk() -> None:
    """A commit is done once it is written."""

    def written(self: Committer, file: Any, parts: list[bytes]) -> float:
        self._append(file, parts)
        self._fresh = False
        return 0.0

    Committer._make_durable = written  # type: ignore[method-assign]


def _rewrites_without_deferrals() -> None:
    """Of a segment that is rewritten, when to try again is left out."""
    needed = cleaning._needed
    cleaning._needed = lambda *given: (one for one in needed(*given) if one.kind != Kind.DEFERRED)


FAULTS: Final[dict[str, dict[str, Callable[[], None]]]] = {
    "esmtp_server": {
        "keeps-plain-text": _keeps_plain_text,
        "authenticates-in-plain-text": _authenticates_in_plain_text,
        "goes-on-with-sasl": _goes_on_with_sasl,
        "takes-bare-line-ends": _takes_bare_line_ends,
        "forgets-the-pause": _forgets_the_pause,
    },
    "esmtp_client": {"believes-injection": _believes_injection, "sends-bodies-uninvited": _sends_bodies_uninvited},
    "replies": {"takes-any-code": _takes_any_code},
    "reply_rules": {"trusts-patterns": _trusts_patterns},
    "reports": {"knows-all-actions": _knows_all_actions},
    "headers": {"knows-all-text": _knows_all_text},
    "eight_bit": {"quotes-delimiters": _quotes_delimiters, "encodes-twice": _encodes_twice},
    "merge": {"trusts-templates": _trusts_templates},
    "spool_recovery": {"skips-checksums": _skips_checksums},
    "server_states": {
        "forgets-the-handshake": _forgets_the_handshake,
        "shares-its-buffer": _shares_its_buffer,
        "keeps-recipients": _keeps_recipients,
    },
    "client_states": {"keeps-offers": _keeps_offers, "mixes-up-recipients": _mixes_up_recipients},
    "spool_states": {
        "answers-before-the-disk": _answers_before_the_disk,
        "rewrites-without-deferrals": _rewrites_without_deferrals,
    },
}
"""By target or state machine, and name."""


def apply(of: str) -> str:
    """Breaks this process's relay as `TARGET:FAULT` says, or not at all where it is `TARGET`; gives the target."""
    target, _, fault = of.partition(":")
    if fault:
        FAULTS[target][fault]()
    return target
