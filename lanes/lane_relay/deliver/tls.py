"""How outbound connections are encrypted: the modes of a lane or route, and the contexts for them.

Before it: configuration and routes. After it: `session`.
"""

import ssl
from enum import StrEnum

from msgspec import Struct

from lane_relay.records import TlsResult

__all__ = ["TlsContexts", "TlsMode", "make_contexts", "read_result"]


class TlsMode(StrEnum):
    """What a connection asks of TLS."""

    NONE = "None"
    OPPORTUNISTIC = "Opportunistic"
    """Where offered; plain where it is not, or failed on an earlier connection (RFC 7435)."""
    REQUIRED = "Required"
    """STARTTLS or nothing."""
    IMPLICIT = "Implicit"
    """TLS from the first byte (RFC 8314)."""


class TlsContexts(Struct, frozen=True):
    """One context for peers whose certificate nobody checks, one for those whose name and chain must be right."""

    unchecked: ssl.SSLContext
    checked: ssl.SSLContext


def make_contexts(ca_file: str | None = None) -> TlsContexts:
    """The contexts with the system's authorities, or those of a PEM file; raises OSError."""
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE  # an MX host's name proves nothing without DANE or MTA-STS (RFC 7672)
    checked = ssl.create_default_context(cafile=ca_file)
    for context in (unchecked, checked):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    return TlsContexts(unchecked, checked)


def read_result(ssl_object: ssl.SSLObject, verified: bool) -> TlsResult:
    """What was negotiated."""
    cipher = ssl_object.cipher()
    return TlsResult(ssl_object.version() or "", cipher[0] if cipher is not None else "", verified)
