"""Where returned mail is dealt with: read, judged, written into records and the suppression list, and only then taken.

Before it: `session` has a whole mail for one of our addresses. After it: the spool's records, `SuppressionList`,
`forwarding`. Invariants: 250 comes after record and suppression are on the volume; whoever reported is told 4xx if they
are not, and reports again; nothing here ever answers to the sender of a report. A list that is full of words that
must stay takes no more, which no second try of a reporter would change: what it reports is on record, counted and
forwarded all the same, while a person who unsubscribes hears that it could not be kept.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

import structlog
from msgspec import Struct, structs

from lane_api.isppolicy import Stage
from lane_relay.account.log_record import EnhancedCode
from lane_relay.account.records import PeerAddress, RecordType, RecordWriter, Response
from lane_relay.clock import Clock
from lane_relay.errors import RelayError
from lane_relay.feedback.addresses import Addressee, Desk
from lane_relay.feedback.holding_back import AGAIN_S
from lane_relay.feedback.judge import Finding, judge_report, proved
from lane_relay.feedback.readers import Readers
from lane_relay.feedback.reporters import AskTxt, Unknown, is_named, vouched
from lane_relay.feedback.samples import Samples
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppression_store import SuppressionsFullError
from lane_relay.feedback.suppressions import Reason, Source, Suppressed
from lane_relay.guard import contain
from lane_relay.mail.reports.reading import Reading
from lane_relay.mail.token import Token, address_digest, read_token
from lane_relay.records import Reply, Verdict, message_id_text
from lane_relay.spool.base import Spool

__all__ = ["TAKEN", "Around", "FeedbackCounters", "FeedbackDesk", "Heard"]

TAKEN: Final = Reply(250, ("2.0.0 Thank you",))
_NOT_KEPT: Final = Reply(451, ("4.3.0 The report cannot be kept now, send it again",))
_SAME_WISH_S: Final = 60.0
"""A link that is used again so soon is the same wish: whoever has one could fill the records with it."""
_MOST_WISHES: Final = 10_000
_UNAUTHENTICATED_S: Final = 30 * 24 * 3600
"""A complaint of nobody who may report: whoever has seen the mail's header could have made it."""

_log = structlog.get_logger("feedback")


class _Wish(Struct, frozen=True):
    token: Token
    at: float
    """Monotonic seconds."""
    kept: asyncio.Future[None]


class FeedbackCounters:
    """Plain integers since the process began."""

    def __init__(self) -> None:
        self.reports: Counter[str] = Counter()
        """By what they were: `bounce`, `delay`, `complaint`, `unauthenticated`, `unproved`, ...; a bounded set."""
        self.bounces: Counter[str] = Counter()
        """Reported bounces by category."""
        self.complaints: Counter[str] = Counter()
        """By the site that the mail was delivered to; empty where the journal does not know it any more."""
        self.complaints_unauthenticated: Counter[str] = Counter()
        """... of nobody whom the site's policy names, each mail to a recipient once."""
        self.suppressed: Counter[str] = Counter()
        """Words that were news, by reason."""
        self.left_out: Counter[str] = Counter()
        """Words for which a full list had no room, by reason."""
        self.held_back: Counter[str] = Counter()
        """Hard bounces that were not believed, by site: only of sites that are not believed."""
        self.refused = 0
        """Recipients that nobody here is."""


class Heard(Struct, frozen=True, gc=False):
    """A bounce of ours, for whoever sent the message."""

    token: Token
    reading: Reading
    finding: Finding
    domain: str
    """Return path that it came to."""


class Around(Struct, frozen=True):
    """What the desk calls."""

    judge_reply: Callable[[str, Stage, Reply], Verdict]
    forward: Callable[[Heard], Awaitable[None]]
    to_people: Callable[[Addressee, bytes], Awaitable[Reply | None]]
    """Passes on what a person is to read, and returns when that is on the volume; None: it is for nobody."""
    complained: Callable[[Token, str], Awaitable[str]]
    """Counts a complaint of this proved reporter, empty: of nobody; where its message was delivered to, or empty."""
    txt: AskTxt
    site_of: Callable[[int], Awaitable[str]]
    """The site that this message was delivered to from here, or empty."""
    is_held: Callable[[str], bool]
    """This site is not believed about mailboxes now."""


class Records(Protocol):
    """Who makes records; `account.records`."""

    @property
    def writer(self) -> RecordWriter:
        """Of the configuration in force."""


class FeedbackDesk:
    """Takes returned mail."""

    def __init__(
        self,
        spool: Spool,
        records: Records,
        suppressions: SuppressionList | None,
        samples: Samples,
        clock: Clock,
        around: Around,
    ) -> None:
        self._spool = spool
        self._records = records
        self._suppressions = suppressions
        self._samples = samples
        self._clock = clock
        self._around = around
        self._readers = Readers()
        self._key = self._suppression_key = self._earlier = b""
        self._wishes: dict[Token, _Wish] = {}
        """To unsubscribe, of the last minute."""
        self.counters = FeedbackCounters()
        self.reporters: tuple[str, ...] = ()
        """Who may be believed about complaints, of all policies."""
        self.wishes_under_way = 0
        """To unsubscribe, and not kept yet."""

    @property
    def waiting(self) -> int:
        """Mail that is to be read."""
        return self._readers.waiting

    def apply(self, key: bytes, suppression_key: bytes, earlier: bytes = b"") -> None:
        """The keys in force; tokens from before the scope was another have their digests under `earlier`."""
        self._key, self._suppression_key, self._earlier = key, suppression_key, earlier

    async def take(self, addressee: Addressee, content: bytes, peer: str, helo: str) -> Reply:
        """Deals with one mail for one of our addresses; the answer to whoever brought it."""
        reading = await self._readers.read(peer, content)
        try:
            if addressee.desk is Desk.UNSUBSCRIBES:
                return await self._unsubscribed_by_mail(addressee, reading)
            return await self._reported(addressee, reading, content, PeerAddress(helo, peer))
        except RelayError as failed:
            _log.error("a report is not kept, its sender will try again", reason=str(failed))
            return _NOT_KEPT
        except Exception as error:  # noqa: BLE001 -- anybody may bring anything to this door
            contain("feedback", error, peer=peer)
            return _NOT_KEPT

    async def _reported(self, addressee: Addressee, reading: Reading, content: bytes, reporter: PeerAddress) -> Reply:
        token = proved(reading, addressee.token, partial(read_token, self._key))
        finding = judge_report(reading, token, self._digests(token, reading), self._around.judge_reply)
        by = ""
        if finding.record is RecordType.FEEDBACK and token is not None:
            by = await self._reporter(token, reading, content, reporter.addr)
            finding = finding if by else structs.replace(finding, label="unauthenticated")
        self.counters.reports[finding.label] += 1
        if finding.keep_sample:
            return await self._set_aside(addressee, content)
        if finding.record is None or token is None:
            return TAKEN
        if finding.record is RecordType.OOB:
            site = await self._around.site_of(token.id)
        else:
            site = await self._around.complained(token, by)
        if finding.is_bounce and finding.category is not None:
            self.counters.bounces[finding.category.value] += 1
        record = self._records.writer.returned(
            finding.record,
            self._clock.now(),
            id=token.id,
            recipient=finding.recipient,
            site=site,
            response=_response(finding.reply) if finding.reply is not None else None,
            category=finding.category,
            rule=finding.rule,
            reporter=PeerAddress(finding.remote, "") if finding.remote else reporter,
            message_id=reading.message_id,
            meta={**finding.meta, **_said_by(finding, by), "recipient_index": str(token.index)},
        )
        source = Source.COMPLAINT_REPORT if finding.record is RecordType.FEEDBACK else Source.BOUNCE_REPORT
        try:
            await self._suppress(token, finding.suppress, source, is_believed=bool(by) or finding.is_bounce, site=site)
        except SuppressionsFullError:
            finding = structs.replace(finding, suppress=None)
        await self._keep(record)
        if finding.is_bounce:
            await self._around.forward(Heard(token, reading, finding, addressee.domain))
        return TAKEN

    async def _reporter(self, token: Token, reading: Reading, content: bytes, peer: str) -> str:
        """The mailbox that this complaint is proved to be from, or empty; raises RelayError while that is unknown.

        The mailbox that the mail was for may always report it, and is no reporter of rates. No other of its domain is
        believed for that: a provider signs the mail of each of its users.
        What is signed has to have the token: the address that a report came to is not under its signature.
        """
        named, digest_of = self.reporters, self._digests(token, reading)

        def may_report(mailbox: str) -> bool:
            return is_named(mailbox, named) or (token.names_recipient and digest_of(mailbox) == token.digest)

        found = await vouched(self._readers, self._around.txt, peer, content, may_report, self._clock.now())
        if isinstance(found, Unknown):
            raise RelayError("DNS does not answer for the key of who reports")
        if found is None or proved(found.reading, None, partial(read_token, self._key)) != token:
            return ""
        return found.reporter

    def _digests(self, token: Token | None, reading: Reading) -> Callable[[str], bytes]:
        """How an address of a report is compared with the token's."""
        scoped = token is not None and token.domain_scoped
        from_domain = _from_domain(reading) if scoped else ""

        def digest(address: str) -> bytes:
            found = address_digest(self._suppression_key, address, from_domain)
            if token is not None and found != token.digest and self._earlier:
                before = address_digest(self._earlier, address, from_domain)
                return before if before == token.digest else found
            return found

        return digest

    async def _set_aside(self, addressee: Addressee, content: bytes) -> Reply:
        if addressee.desk is Desk.PEOPLE:
            reply = await self._around.to_people(addressee, content)
            if reply is not None:
                return reply
        name = f"{message_id_text(self._spool.new_id())}"
        await asyncio.to_thread(self._samples.keep, name, content)
        return TAKEN

    # -- people

    async def _unsubscribed_by_mail(self, addressee: Addressee, reading: Reading) -> Reply:
        if reading.kind.value in ("bounce", "delay", "automatic"):
            self.counters.reports[reading.kind.value] += 1  # a program's answer is nobody's wish
            return TAKEN
        if addressee.token is not None:
            await self.unsubscribe(addressee.token, Source.MAIL)
        return TAKEN

    async def unsubscribe(self, token: Token, source: Source) -> None:
        """The recipient wants no more such mail; returns when that is on the volume, raises RelayError if it is not."""
        self.counters.reports["unsubscribe"] += 1
        now = self._clock.monotonic()
        while self._wishes and (wish := next(iter(self._wishes.values()))).at + _SAME_WISH_S <= now:
            del self._wishes[wish.token]
        known = self._wishes.get(token)
        if known is None:
            known = _Wish(token, now, asyncio.ensure_future(self._unsubscribe(token, source)))
            if len(self._wishes) < _MOST_WISHES:
                self._wishes[token] = known
        self.wishes_under_way += 1
        try:
            await asyncio.shield(known.kept)
        except Exception:
            self._wishes.pop(token, None)
            raise
        finally:
            self.wishes_under_way -= 1

    async def _unsubscribe(self, token: Token, source: Source) -> None:
        record = self._records.writer.returned(
            RecordType.FEEDBACK,
            self._clock.now(),
            id=token.id,
            meta={
                "feedback_type": "unsubscribe",
                "by": "link" if source is Source.LINK else "mail",
                "recipient_index": str(token.index),
            },
        )
        await self._suppress(token, Reason.UNSUBSCRIBE if token.names_recipient else None, source)
        await self._keep(record)

    # -- keeping: first the suppression, then the record; what cannot be kept is brought again, and is on record once

    async def _suppress(
        self, token: Token, reason: Reason | None, source: Source, *, is_believed: bool = True, site: str = ""
    ) -> None:
        if reason is None or self._suppressions is None:
            return
        if reason is Reason.HARD_BOUNCE:
            scoped = token.domain_scoped
            await self.suppress_unknown(self._suppressions, site, [token.digest], source, domain_scoped=scoped)
            return
        word = self._suppressions.word(token.digest, reason, source, domain_scoped=token.domain_scoped)
        if word is not None and not is_believed and reason is Reason.COMPLAINT:
            word = self._suppressions.for_a_while(word, _UNAUTHENTICATED_S)
        if word is not None:
            await self.suppress(self._suppressions, reason, [word])

    async def suppress_unknown(
        self,
        suppressions: SuppressionList,
        site: str,
        digests: list[bytes],
        source: Source,
        *,
        domain_scoped: bool | None = None,
    ) -> None:
        """A site says that these mailboxes do not exist: kept as words that count, or held back; raises RelayError."""
        doubted: list[bytes] = []
        if self._around.is_held(site):
            doubted = await self.hold_back(suppressions, site, digests, source, domain_scoped=domain_scoped)
        words = [
            word
            for one in digests
            if one not in doubted
            and (word := suppressions.word(one, Reason.HARD_BOUNCE, source, domain_scoped=domain_scoped, site=site))
        ]
        if words:
            await self.suppress(suppressions, Reason.HARD_BOUNCE, words)

    async def hold_back(
        self,
        suppressions: SuppressionList,
        site: str,
        digests: list[bytes],
        source: Source,
        *,
        domain_scoped: bool | None = None,
    ) -> list[bytes]:
        """Holds back words of a site that is not believed, but for what it said a day ago, too; returns which."""
        before = self._clock.now() - AGAIN_S
        doubted = [one for one in digests if not 0 < suppressions.held_back_since(one) <= before]
        held = await suppressions.hold_back(doubted, site, source, domain_scoped=domain_scoped)
        self.counters.held_back[site] += held
        return doubted

    async def suppress(self, suppressions: SuppressionList, reason: Reason, words: list[Suppressed]) -> None:
        """Keeps words of one reason and counts what became of them; raises RelayError."""
        try:
            self.counters.suppressed[reason.value] += await suppressions.suppress(words)
        except SuppressionsFullError as full:
            self.counters.left_out[reason.value] += full.left_out
            raise

    async def _keep(self, record: bytes) -> None:
        self._spool.record([record])
        await self._spool.flush()

    def close(self) -> None:
        """Gives up the readers."""
        self._readers.close()


def _said_by(finding: Finding, by: str) -> dict[str, str]:
    """Of a complaint: who was proved to report it, or that nobody was."""
    if finding.record is not RecordType.FEEDBACK:
        return {}
    return {"authenticated_reporter": by} if by else {"unauthenticated": "true"}


def _from_domain(reading: Reading) -> str:
    """Domain of the returned mail's From, which a digest of a domain's scope is over."""
    for line in reading.returned.decode("utf-8", "replace").splitlines():
        if line[:5].lower() == "from:":
            return line.rpartition("@")[2].strip(" >\t").lower()
    return ""


def _response(reply: Reply) -> Response:
    enhanced = reply.enhanced
    if not enhanced:
        return Response(reply.code, None, reply.text)
    code_class, subject, detail = map(int, enhanced.split("."))
    return Response(reply.code, EnhancedCode(code_class, subject, detail), reply.text[len(enhanced) :].lstrip())
