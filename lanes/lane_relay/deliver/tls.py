"""How outbound connections are encrypted: the modes of a lane or route, what is published, and the contexts for both.

Before it: configuration and routes. After it: `session`. Invariant: what is enforced is never given up for plain text.
"""

import ssl
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from lane_relay.deliver.chain import Authorities, Mismatch
from lane_relay.deliver.dane import match
from lane_relay.deliver.resumption import ResumingContext
from lane_relay.records import TlsDemand, TlsFailure, TlsPolicy, TlsResult

__all__ = [
    "Check",
    "TlsContexts",
    "TlsMode",
    "TlsPlan",
    "examine",
    "failure_of_handshake",
    "make_contexts",
    "plan_tls",
    "tls_outcome",
]


class TlsMode(StrEnum):
    """What a connection asks of TLS."""

    NONE = "None"
    OPPORTUNISTIC = "Opportunistic"
    """Where offered; plain where it is not, or failed on an earlier connection (RFC 7435)."""
    REQUIRED = "Required"
    """STARTTLS or nothing."""
    IMPLICIT = "Implicit"
    """TLS from the first byte (RFC 8314)."""


class Check(StrEnum):
    """How the peer's certificate is looked at."""

    NONE = "none"
    PKIX = "pkix"
    """Chain and name, by the system's authorities, inside the handshake."""
    WATCHED = "watched"
    """The same after the handshake: a certificate that is not right is written down, and mail goes on."""
    DANE = "dane"
    """By TLSA records, after the handshake."""


class TlsPlan(Struct, frozen=True, gc=False):
    """What one connection does about TLS."""

    mode: TlsMode
    check: Check = Check.NONE
    demand: TlsDemand | None = None

    @property
    def how(self) -> str:
        """As results name it."""
        if self.demand is not None and self.demand.policy:
            return self.demand.policy.value
        return "pkix" if self.check is Check.PKIX else ""

    @property
    def problem(self) -> TlsFailure:
        """What is wrong before anything was sent: of the policy itself."""
        return self.demand.problem if self.demand is not None else TlsFailure.NONE

    @property
    def wants(self) -> str:
        """Who asks for it, as the end of a sentence."""
        if self.demand is None or not self.demand.enforced:
            return ""
        return {
            TlsPolicy.DANE: " (DANE: the host's TLSA records)",
            TlsPolicy.MTA_STS: " (the domain's MTA-STS policy)",
        }.get(self.demand.policy, "")

    def server_name(self, host: str) -> str:
        """The SNI: the TLSA base domain (RFC 7672 section 8.1), else the host (RFC 8461 section 4.3)."""
        return (self.demand.server_name if self.demand is not None else "") or host

    def same_for(self, host: str, address: str, port: int) -> tuple[object, ...]:
        """What two connections must have in common to go on with one TLS session: other records ask for a full one."""
        demand = self.demand
        asked = (demand.policy, demand.enforced, demand.tlsa, demand.names) if demand is not None else ()
        return (address, port, self.server_name(host), self.check, *asked)

    def result(self, host: str, failure: TlsFailure) -> TlsResult:
        """Of a connection on which there is no TLS."""
        return TlsResult(how=self.how, host=self.server_name(host) if self.how else "", failure=failure)


def plan_tls(mode: TlsMode, is_route: bool, demand: TlsDemand | None) -> TlsPlan:
    """What is published binds over the lane's mode; a fixed route's own mode is asked for nothing that is published."""
    if demand is None or mode is TlsMode.IMPLICIT:
        checks = is_route and mode in (TlsMode.REQUIRED, TlsMode.IMPLICIT)
        return TlsPlan(mode, Check.PKIX if checks else Check.NONE)
    if demand.policy is TlsPolicy.NONE:
        return TlsPlan(mode, Check.NONE, demand)
    if not demand.enforced:
        return TlsPlan(mode, Check.WATCHED, demand)
    if demand.policy is TlsPolicy.MTA_STS:
        return TlsPlan(TlsMode.REQUIRED, Check.PKIX, demand)
    return TlsPlan(TlsMode.REQUIRED, Check.DANE if demand.tlsa else Check.NONE, demand)


_CIPHERS: Final = "DEFAULT:@SECLEVEL=2"
"""Said, for what is in force else differs between builds: python.org's knows no host without forward secrecy."""
_CIPHERS_WHERE_THE_OTHER_WAY_IS_PLAIN_TEXT: Final = "DEFAULT:@SECLEVEL=1"
"""Groups of 1,024 bits, too: any encryption is better than none (RFC 7435), and this certificate proves nothing."""


class TlsContexts(Struct, frozen=True):
    """One context for peers whose certificate OpenSSL leaves alone, two for those whose name and chain it checks."""

    unchecked: ssl.SSLContext
    checked: ssl.SSLContext
    """Of fixed routes, some of which have their name as CN alone."""
    named: ssl.SSLContext
    """A name is a SAN (RFC 8461 section 4.1)."""
    authorities: Authorities


def make_contexts(ca_file: str | None = None) -> TlsContexts:
    """The contexts with the system's authorities, or those of a PEM file; raises OSError."""
    unchecked = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE  # an MX host's name proves nothing without DANE or MTA-STS (RFC 7672)
    checked, named = _checking(ca_file), _checking(ca_file)
    named.hostname_checks_common_name = False
    unchecked.minimum_version = _OLDEST
    unchecked.set_ciphers(_CIPHERS_WHERE_THE_OTHER_WAY_IS_PLAIN_TEXT)
    return TlsContexts(unchecked, checked, named, Authorities(checked))


_OLDEST: Final = ssl.TLSVersion.TLSv1_2
"""RFC 8996 section 5."""


def _checking(ca_file: str | None) -> ResumingContext:
    """One that checks chain and name."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs()
    context.minimum_version = _OLDEST
    context.set_ciphers(_CIPHERS)
    return context


def examine(ssl_object: Any, plan: TlsPlan, authorities: Authorities, host: str, now: float) -> tuple[TlsResult, str]:
    """What was negotiated, and why the connection may not be used, if so; `now` is Unix time."""
    name, demand = plan.server_name(host), plan.demand
    wrong: Mismatch | None = None
    if plan.check is Check.DANE and demand is not None:
        wrong = match(demand.tlsa, _presented(ssl_object), demand.names, now)
    elif plan.check is Check.WATCHED:
        wrong = authorities.problem(_presented(ssl_object), name, now)
    asked = plan.check is not Check.NONE
    cipher = ssl_object.cipher()
    result = TlsResult(
        ssl_object.version() or "",
        cipher[0] if cipher is not None else "",
        verified=asked and wrong is None,
        how=plan.how,
        host=name if plan.how else "",
        failure=wrong.failure if wrong is not None else plan.problem,
    )
    return result, wrong.text if wrong is not None and plan.check is Check.DANE else ""


def tls_outcome(result: TlsResult | None) -> tuple[str, str]:
    """For a metric: what had to be proved (or `none`), and plain, encrypted, verified or what failed."""
    if result is None:
        return "none", "plain"
    if result.failure:
        return result.how or "none", result.failure.value
    outcome = "verified" if result.verified else "encrypted" if result.version else "plain"
    return result.how or "none", outcome


_EXPIRED: Final = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED (OpenSSL's x509_vfy.h)."""
_OTHER_NAME: Final = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH."""


def failure_of_handshake(error: BaseException) -> TlsFailure:
    """In the terms of TLS reports (RFC 8460 section 4.3)."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailure.VALIDATION
    if error.verify_code in _EXPIRED:
        return TlsFailure.EXPIRED
    return TlsFailure.HOST_MISMATCH if error.verify_code in _OTHER_NAME else TlsFailure.NOT_TRUSTED


def _presented(ssl_object: Any) -> Sequence[bytes]:
    """The certificates that the peer sent, its own first, as DER."""
    if hasattr(ssl_object, "get_unverified_chain"):  # Python 3.13
        return [bytes(one) for one in ssl_object.get_unverified_chain()]
    chain = ssl_object._sslobj.get_unverified_chain()  # 3.10 to 3.12 have it in the module below alone
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain or ()]
