"""Sends records on, beside the files: batches in order, at least once, to one address.

It reads the journal's files behind whoever writes them, so that memory is one batch and a receiver that is away costs
nothing. Every batch has its journal, its first and last number and, where the volume has dropped records before they
were sent, the gap before it: a receiver knows what it has and what it will never get, also of a slot whose volume is
new and counts from 1 again. Invariants: nothing waits for it, delivery and dropping the least; the cursor moves only
after a 2xx. Before: the journal's files. After: the receiver.
"""

import asyncio
import hmac
import json
import os
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import aiohttp
import structlog
from msgspec import Raw, Struct
from msgspec.json import Decoder

from lane_api.relayconfig import Webhook as WebhookConfig
from lane_relay.audit.chain import Chain
from lane_relay.audit.segment import number_of
from lane_relay.clock import Clock
from lane_relay.errors import NOT_OURS

__all__ = ["Batch", "WebhookSender", "stamped"]

CURSOR_NAME: Final = "webhook.json"
LOOK_EVERY_S: Final = 1.0
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
REQUEST_S: Final = 30.0
BATCH_BYTES: Final = 2**20
BATCH_RECORDS: Final = 1000
LONGEST_LINE: Final = 16 * 2**20
"""More than a record can have: the Reception of a redirected message for 10,000 of the longest addresses has 11 MB."""
_NAME: Final = re.compile(r"^records-(\d{16})\.jsonl$")
_skim: Final = Decoder(Raw).decode
_TOO_LARGE: Final = 413

_log = structlog.get_logger("webhook")


class Batch(Struct, frozen=True):
    """Records of one journal that follow one another."""

    lines: tuple[bytes, ...]
    first_seq: int
    last_seq: int
    gap: tuple[int, int] | None
    """(first, last) number of records before them that were dropped unsent."""

    def until(self, last: int) -> "Batch":
        """Of it what comes up to this record, which is not before its first."""
        if self.last_seq <= last:
            return self
        lines = tuple(line for line in self.lines if number_of(line) <= last)
        return Batch(lines, self.first_seq, number_of(lines[-1]), self.gap)

    def body(self, lane: str, slot: str, journal: str) -> bytes:
        """What is posted: one JSON object."""
        told = {
            "lane": lane,
            "slot": slot,
            "journal": journal,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "gap": self.gap,
        }
        return json.dumps(told).encode()[:-1] + b', "records": [' + b",".join(self.lines) + b"]}"


def stamped(body: bytes, now: float, key: bytes | None) -> dict[str, str]:
    """Header fields of a post at this Unix time: when it is sent and, with a key, what proves that it is ours.

    The proof is HMAC-SHA256 over the timestamp, a full stop, and the body.
    """
    timestamp = str(int(now))
    fields = {"Lanewright-Timestamp": timestamp}
    if key is not None:
        proof = hmac.digest(key, timestamp.encode() + b"." + body, "sha256")
        fields["Lanewright-Signature"] = f"sha256={proof.hex()}"
    return fields


class _Reader:
    """Walks the journal's files from a number on; blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first = 0
        """Of the file it stands in; 0: in none."""
        self._next = 0
        self._offset = 0

    def batch(self, seq: int, most: int, passed: int = 0) -> Batch | None:
        """Records from this number on, or from the first that is still there; None if there are none yet.

        Those up to `passed` are left out.
        """
        if self._first == 0 or self._next != seq:
            self._offset, self._first = 0, 0
        firsts = sorted(int(found[1]) for path in self._folder.iterdir() if (found := _NAME.match(path.name)))
        at = next((first for first in reversed(firsts) if first <= seq), firsts[0] if firsts else 0)
        for first in [one for one in firsts if one >= at]:
            lines = self._lines(first, max(seq, passed + 1), most)
            if lines:
                return self._made(seq, lines)
        return None

    def _lines(self, first: int, seq: int, most: int) -> list[bytes]:
        """Whole lines of one file, from a number on."""
        if first != self._first:
            self._first, self._offset = first, 0
        try:
            with (self._folder / f"records-{first:016d}.jsonl").open("rb", buffering=0) as file:
                return self._read(file.fileno(), seq, most)
        except FileNotFoundError:  # dropped since we looked
            return []

    def _read(self, descriptor: int, seq: int, most: int) -> list[bytes]:
        size = BATCH_BYTES
        while True:
            chunk = os.pread(descriptor, size, self._offset)
            end = chunk.rfind(b"\n") + 1
            if end == 0 and len(chunk) < size:
                return []
            if end == 0:  # a record for thousands of recipients: alone, whatever its length
                size = self._larger(size, chunk)
                continue
            size = BATCH_BYTES
            found: list[bytes] = []
            for line in chunk[: end - 1].split(b"\n"):
                if len(found) == most or (found and len(line) > BATCH_BYTES):
                    break
                number = number_of(line)
                if number >= seq and _is_sound(line):
                    found.append(line)
                elif found and (number >= seq or not number):
                    break  # the next batch begins behind what is damaged, and tells the gap
                elif number >= seq:
                    _log.error("a damaged line of the records is passed over", file=self._first, record=number)
                self._offset += len(line) + 1
            if found:
                return found

    def _larger(self, size: int, chunk: bytes) -> int:
        """How much to read for a line that is longer than this; what is longer than any record is passed over.

        What follows of such a line has no number, and is passed over, too; the numbers then tell the gap.
        """
        if size < LONGEST_LINE:
            return min(4 * size, LONGEST_LINE)
        _log.error("a line of the records is passed over", file=self._first, offset=self._offset, longer_than=size)
        self._offset += len(chunk)
        return BATCH_BYTES

    def _made(self, seq: int, lines: list[bytes]) -> Batch:
        begin, last = number_of(lines[0]), number_of(lines[-1])
        self._next = last + 1
        return Batch(tuple(lines), begin, last, (seq, begin - 1) if begin > seq else None)


class WebhookSender:
    """One receiver."""

    def __init__(self, chain: Chain, clock: Clock, jitter: Callable[[], float], last_seq: Callable[[], int]) -> None:
        """`jitter`: a random number in [0, 1)."""
        self._chain = chain
        self._folder = folder = chain.directory
        self._clock = clock
        self._jitter = jitter
        self._last_seq = last_seq
        self._config: WebhookConfig | None = None
        self._reader = _Reader(folder)
        self._most = BATCH_RECORDS
        self._changed = asyncio.Event()
        self.seq = 0
        """Every record up to this one was taken by the receiver, or dropped and so told."""
        self._passed = 0
        """The last record that the receiver will not take for its length; the next batch tells so."""
        self._gone = 0
        """Records behind it up to this one were dropped; the next batch tells so, and nothing waits for them."""
        self.failure = ""
        self.failures = 0
        self.gaps = 0
        """Records that were dropped unsent."""

    def apply(self, config: WebhookConfig | None) -> None:
        """Another receiver, or none; a new one gets all that is still kept."""
        if config == self._config:
            return
        self._config, self.failure, self._most = config, "", BATCH_RECORDS
        self.seq, self._gone, self._passed = self._cursor() if config is not None else 0, 0, 0
        self._changed.set()

    async def run(self) -> None:
        """Sends, for ever."""
        tries = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_S), auto_decompress=False) as http:
            while True:
                failed = await self.send(http)
                tries = tries + 1 if failed is not None else 0
                wait = max(failed or 0.0, self._wait(tries)) if tries else LOOK_EVERY_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                self._changed.clear()

    async def send(self, http: aiohttp.ClientSession) -> float | None:
        """Sends all there is; None when it is through, else the seconds that the receiver asked for, or 0."""
        while self._config is not None and self.lag():
            config, last = self._config, self._last_seq()
            try:
                batch = await asyncio.to_thread(self._reader.batch, self.seq + 1, self._most, self._passed)
                if batch is None:  # the journal counts a record when it is in its file
                    self._gone = last
                    continue
                journal, end = self._chain.journal_of(batch.first_seq)
                batch = batch.until(end)
                asked = await self._post(http, config, journal, batch)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self._say(f"{config.url}: {error or type(error).__name__}")
                return 0.0
            if asked is not None:
                return asked
            if config is self._config and batch.last_seq > self._passed:
                await self._taken(config, batch)
        self.failure = ""
        return None

    def lag(self) -> int:
        """Records that wait to be sent; 0 without a receiver."""
        return max(0, self._last_seq() - max(self.seq, self._gone)) if self._config is not None else 0

    def report(self) -> dict[str, Any]:
        """For `/v1/slot`; empty without a receiver."""
        if self._config is None:
            return {}
        told = {"url": self._config.url, "sentSeq": self.seq, "unsent": self.lag()}
        return {**told, "failure": self.failure, "neverSent": self.gaps}

    # --- one request

    async def _post(
        self, http: aiohttp.ClientSession, config: WebhookConfig, journal: str, batch: Batch
    ) -> float | None:
        """None if the receiver has it, else how long it asks us to wait."""
        body, now = batch.body(self._chain.lane, self._chain.slot, journal), self._clock.now()
        secrets = await asyncio.to_thread(_secrets, config)
        headers = {
            "Content-Type": "application/json",
            "Lanewright-Records": f"{batch.first_seq}-{batch.last_seq}",
            **stamped(body, now, secrets.get("key")),
        }
        if "authorization" in secrets:
            headers["Authorization"] = secrets["authorization"].decode("latin-1")
        trust: ssl.SSLContext | bool = True
        if "ca.crt" in secrets:
            trust = ssl.create_default_context(cadata=secrets["ca.crt"].decode("ascii"))
        async with http.post(
            config.url, data=BytesIO(body), headers=headers, ssl=trust, allow_redirects=False
        ) as answer:
            if 200 <= answer.status < 300:
                return None
            if answer.status == _TOO_LARGE:
                if self._is_passed_over(batch):
                    return None
                self._most = max(1, len(batch.lines) // 2)
            said = (await answer.content.read(200)).decode("utf-8", "replace")
            self._say(f"{config.url} answers {answer.status} {answer.reason or ''}: {said}".strip(": "))
            return _retry_after(answer.headers.get("Retry-After", ""))

    def _is_passed_over(self, batch: Batch) -> bool:
        """A record that is longer than a batch need be, which the receiver says it will not take: the others go on."""
        if len(batch.lines) > 1 or len(batch.lines[0]) <= BATCH_BYTES:
            return False
        _log.error("a record is too large for its receiver", record=batch.first_seq, octets=len(batch.lines[0]))
        self._passed = batch.last_seq
        return True

    async def _taken(self, config: WebhookConfig, batch: Batch) -> None:
        if batch.gap is not None:
            self.gaps += batch.gap[1] - batch.gap[0] + 1
            _log.warning("records were dropped unsent", first=batch.gap[0], last=batch.gap[1])
        if self.failure:
            _log.info("the receiver takes records again")
        self.seq, self.failure = batch.last_seq, ""
        await asyncio.to_thread(self._keep, json.dumps({"url": config.url, "seq": self.seq, "gaps": self.gaps}))

    def _keep(self, cursor: str) -> None:
        part = self._folder / (CURSOR_NAME + ".new")
        with suppress(OSError):  # a full volume: after a restart it is sent again
            part.write_text(cursor)
            part.replace(self._folder / CURSOR_NAME)

    def _say(self, failure: str) -> None:
        self.failures += 1
        if failure != self.failure:
            _log.error("records wait for their receiver", reason=failure)
        self.failure = failure

    def _cursor(self) -> int:
        """Where it was; from the beginning if that is not known, for sending again is allowed."""
        try:
            kept = json.loads((self._folder / CURSOR_NAME).read_bytes())
            if self._config is None or kept["url"] != self._config.url or int(kept["seq"]) > self._last_seq():
                return 0
            self.gaps = int(kept["gaps"])
            return int(kept["seq"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _wait(self, tries: int) -> float:
        longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tries - 1, 20))
        return longest * (0.5 + self._jitter() / 2)


def _is_sound(line: bytes) -> bool:
    """It can stand in a JSON text: one damaged octet would make a receiver refuse the whole batch, for ever."""
    try:
        line.decode()
        _skim(line)
    except NOT_OURS:
        return False
    return True


def _secrets(config: WebhookConfig) -> dict[str, bytes]:
    """What the Secret holds now; raises OSError if a named folder has no usable key."""
    if config.secret_dir is None:
        return {}
    folder = Path(config.secret_dir)
    found = {}
    for name in ("key", "authorization", "ca.crt"):
        with suppress(FileNotFoundError):
            found[name] = (folder / name).read_bytes().strip()
    if not found.get("key") and not found.get("authorization"):
        raise OSError(f"{folder} has neither key nor authorization: the webhook's Secret needs one")
    return {name: content for name, content in found.items() if content}


def _retry_after(header: str) -> float:
    """Seconds that the receiver asks for, within bounds; dates are not read."""
    return min(LONGEST_WAIT_S, float(header)) if header.isdecimal() else 0.0
