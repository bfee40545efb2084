"""Which slot of the lane answers for an idempotency key, as far as this slot has been told: rows of the ledger's file.

Two slots of a lane, the key's witnesses, keep who has claimed it; `witnesses` says which two and why. Here is what one
of them says and writes down, and since when the lane has the slots that it has. Invariants: an owner's claim stands
until that owner gives it up, or it is older than any answer that the owner keeps; whoever has an answer under the key
owns it, whatever was claimed.
Pure but for the given connection; runs in the ledger's thread, in its transactions. Before it: `ledger`. After it: the
file.
"""

import sqlite3
from typing import Final

__all__ = ["SLACK_S", "TABLE", "expire", "lane_since", "settle"]

TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS claims (key BLOB PRIMARY KEY, at REAL NOT NULL, owner TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS claims_by_age ON claims (at)",
    "CREATE TABLE IF NOT EXISTS lane (slots TEXT NOT NULL, at REAL NOT NULL)",
)
SLACK_S: Final = 3600.0
"""Beyond what answers are kept: clocks of slots differ, and a claim is older than its answer."""


def settle(
    database: sqlite3.Connection, key: bytes, *, asker: str, owner: str, here: str, now: float, kept_s: float
) -> str:
    """Who owns the key once `asker` has asked that `owner` does; empty: nobody, it was given up.

    `here` is this slot's name. The asker gets its way with a key that nobody has claimed, or that is its own.
    """
    if asker != here and _has_answer(database, key, now - kept_s):
        return here
    found = database.execute("SELECT owner FROM claims WHERE key = ? AND at > ?", (key, now - kept_s - SLACK_S))
    row = found.fetchone()
    if row is not None and row[0] != asker:
        return str(row[0])
    if owner:
        database.execute("INSERT OR REPLACE INTO claims (key, at, owner) VALUES (?, ?, ?)", (key, now, owner))
    elif row is not None:
        database.execute("DELETE FROM claims WHERE key = ?", (key,))
    return owner


def expire(database: sqlite3.Connection, *, now: float, kept_s: float, most: int) -> int:
    """Lets go, of at most so many, the claims that are too old; their number."""
    return database.execute(
        "DELETE FROM claims WHERE key IN (SELECT key FROM claims WHERE at <= ? LIMIT ?)",
        (now - kept_s - SLACK_S, most),
    ).rowcount


def lane_since(database: sqlite3.Connection, slots: tuple[str, ...], *, now: float) -> float:
    """Unix time since which the lane is known to have these slots, ours among them, and no others.

    A slot that begins alone has always been alone: nobody has claimed anything.
    """
    names = " ".join(sorted(slots))
    row = database.execute("SELECT slots, at FROM lane").fetchone()
    if row is not None and row[0] == names:
        return float(row[1])
    since = 0.0 if row is None and len(slots) == 1 else now
    database.execute("DELETE FROM lane")
    database.execute("INSERT INTO lane (slots, at) VALUES (?, ?)", (names, since))
    return since


def _has_answer(database: sqlite3.Connection, key: bytes, least: float) -> bool:
    return database.execute("SELECT 1 FROM keys WHERE key = ? AND at > ?", (key, least)).fetchone() is not None
