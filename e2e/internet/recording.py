"""Keeps one ISP's records: appended to a file in batches, and as plain times for exact counting.

Invariant: a record is in memory order before any figure that counts it; `flush` puts all of them on file.
Before: `listener`. After: `control`, which flushes, counts and hands out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from e2e.internet import records
from e2e.internet.counting import max_concurrent, max_in_any_window

BATCH = 512  # records held back between two writes: one write a record would cost more than the SMTP dialogue


class Recording:
    """Everything one ISP has seen since it was started or reset."""

    def __init__(self, isp: str, file: Path) -> None:
        self.isp = isp
        self.file = file
        self._pending: list[bytes] = []
        self._ids = 0
        self._open: Counter[str] = Counter()
        self._clear()

    def _clear(self) -> None:
        self._file = self.file.open("wb", buffering=0)
        self._intervals: defaultdict[str, dict[int, tuple[float, float | None]]] = defaultdict(dict)
        self._message_times: defaultdict[str, list[float]] = defaultdict(list)
        self._refusals: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._encrypted: Counter[str] = Counter()
        self._senders: Counter[str] = Counter()

    def opened(self, source_ip: str, at: float) -> int:
        """Notes a new connection; returns its id, unique within this ISP's life."""
        self._ids += 1
        self._intervals[source_ip][self._ids] = (at, None)
        self._open[source_ip] += 1
        return self._ids

    def closed(self, connection: records.Connection) -> None:
        """Notes the end of a connection."""
        self._open[connection.source_ip] -= 1
        self._intervals[connection.source_ip][connection.id] = (connection.opened, connection.closed)
        self._append(connection)

    def message(self, message: records.Message) -> None:
        """Notes a message that the ISP took."""
        self._message_times[message.source_ip].append(message.received)
        self._encrypted[message.source_ip] += message.tls
        self._senders[message.sender] += 1
        self._append(message)

    def refusal(self, refusal: records.Refusal) -> None:
        """Notes an answer of 4xx or 5xx, or a connection dropped on purpose."""
        self._refusals[refusal.source_ip][f"{refusal.stage} {refusal.code}"] += 1
        self._append(refusal)

    def _append(self, record: records.Record) -> None:
        self._pending.append(records.encode(record))
        if len(self._pending) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Writes what is held back to the file."""
        if self._pending:
            self._pending.append(b"")
            self._file.write(b"\n".join(self._pending))
            self._pending = []

    def reset(self) -> None:
        """Begins anew: file and figures emptied; connections that are open stay counted."""
        still_open = {
            ip: {number: span for number, span in spans.items() if span[1] is None}
            for ip, spans in self._intervals.items()
        }
        self._pending = []
        self._file.close()
        self._clear()
        self._intervals.update({ip: spans for ip, spans in still_open.items() if spans})

    def close(self) -> None:
        """Flushes and closes the file."""
        self.flush()
        self._file.close()

    def messages_taken(self) -> int:
        """How many messages were taken."""
        return sum(map(len, self._message_times.values()))

    def counts(self) -> dict[str, dict[str, int]]:
        """Messages taken and connections open now, for each source IP: cheap enough to ask every second."""
        addresses = self._intervals.keys() | self._message_times.keys()
        return {
            ip: {
                "messages": len(self._message_times.get(ip, ())),
                "connections_now": self._open[ip],
            }
            for ip in addresses
        }

    def senders(self) -> dict[str, int]:
        """Messages taken, for each envelope sender."""
        return dict(self._senders)

    def per_source_ip(self, window_s: float) -> dict[str, dict[str, Any]]:
        """The figures of each source IP, as the server's sockets saw them; windows of `window_s` seconds."""
        addresses = self._intervals.keys() | self._message_times.keys() | self._refusals.keys()
        return {ip: self._figures(ip, window_s) for ip in sorted(addresses)}

    def _figures(self, ip: str, window_s: float) -> dict[str, Any]:
        spans = list(self._intervals[ip].values())
        return {
            "connections": len(spans),
            "connections_now": sum(1 for _, closed in spans if closed is None),
            "connections_most": max_concurrent(spans),
            "messages": len(self._message_times[ip]),
            "messages_over_tls": self._encrypted[ip],
            "messages_most_in_window": max_in_any_window(self._message_times[ip], window_s),
            "window_s": window_s,
            "refusals": dict(self._refusals[ip]),
        }
