"""Why a session did not become ready, as values; pure.

Before it: what a socket, TLS or the peer said. After it: `dispatcher`, which judges it.
"""

import asyncio
import ssl
from enum import Enum

from msgspec import Struct

from lane_api.isppolicy import Category, Stage
from lane_relay.records import Reply, TlsResult

__all__ = ["Ending", "Trouble", "our_trouble", "reason", "tls_trouble"]


class Ending(Enum):
    """Who ended a connection without a word."""

    PEER = "peer"
    TIMEOUT = "timeout"
    """The peer did not answer in time."""
    STOP = "stop"
    """The relay stops: nothing is said of the peer."""


class Trouble(Struct, frozen=True, gc=False):
    """Why a session did not become ready."""

    stage: Stage
    reply: Reply
    category: Category | None = None
    """None: the reply is the peer's, to be judged by the table; else it is our own."""
    ours: bool = False
    """The cause is on our side: other addresses would fare no better."""
    again: bool = False
    """The same address is tried at once in another way: without the kept TLS session, or, where TLS is opportunistic,
    in plain text."""
    tls: TlsResult | None = None
    """What TLS came to, if that is the trouble."""


def tls_trouble(text: str, result: TlsResult | None = None, *, again: bool = False) -> Trouble:
    """TLS could not be had."""
    return Trouble(Stage.EHLO, Reply(454, (f"4.7.5 {text}",)), Category.TLS_POLICY, again=again, tls=result)


def our_trouble(text: str) -> Trouble:
    """No connection can be made from here."""
    return Trouble(Stage.CONNECT, Reply(451, (f"4.4.0 {text}",)), Category.BAD_CONFIGURATION, ours=True)


def reason(error: BaseException) -> str:
    """Short and without what only this process understands."""
    if isinstance(error, asyncio.CancelledError):
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "failed").replace("_", " ").lower()
    return str(error) or "the connection was dropped"
