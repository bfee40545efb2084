"""Sessions that fuzzing begins with: each way through STARTTLS, AUTH, pauses, drains and replies once.

Each begins with how the other end behaves, how often its stream is cut, and where (see `sessions`).
"""

from base64 import b64encode
from typing import Final

from tests.fuzz.sessions import (
    CHOOSY,
    DISCARDED,
    DRAINED,
    HELLO,
    LEAVE,
    LOG_IN,
    PATIENT,
    REFUSING,
    RIGHT,
    STRICT,
    TLS,
    TURNS,
    UPGRADE,
)

__all__ = ["SESSION_SEEDS"]

_EHLO: Final = b"EHLO a.example\r\n"
_MAIL: Final = (
    b"MAIL FROM:<a@x.example> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=OM:<>\r\n"
    b"RCPT TO:<b@y.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@y.example\r\nDATA\r\nSubject: x\r\n\r\n..x\r\n.\r\n"
)
_CHUNKS: Final = b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nBDAT 3\r\nhelBDAT 4 LAST\r\nlo\r\n"
_SESSION: Final = _EHLO + _MAIL + _CHUNKS + b"RSET\r\nSTARTTLS\r\nQUIT\r\n"
_PLAIN: Final = b"AUTH PLAIN " + b64encode(b"\0app\0secret") + b"\r\n"
_PLAIN_IN_TWO: Final = b"AUTH PLAIN\r\n" + b64encode(b"\0app\0secret") + b"\r\n"
_LOGIN: Final = b"AUTH LOGIN\r\n" + b64encode(b"app") + b"\r\n" + b64encode(b"secret") + b"\r\n"
_ERRORS: Final = b"RCPT TO:<b@y.example>\r\n" * 4
_CUT: Final = b"\x03" + bytes([40, 80, 120])


def _server(how: int, *flights: bytes, cut: bytes = b"\0") -> bytes:
    return bytes([how]) + cut + HELLO.join(flights)


_BANNER: Final = b"220 mx ESMTP\r\n"
_OFFER: Final = b"250-mx\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-DSN\r\n250 8BITMIME\r\n"
_OFFER_ODD: Final = "250-mx\r\n250-PIPELINING\r\n250-SIZE \u00b2\r\n250 8BITMIME\r\n".encode()
"""Digits that Python takes for a number's and does not read as one."""
_OFFER_TLS: Final = b"250-mx\r\n250 STARTTLS\r\n"
_OFFER_PLAIN: Final = b"250-mx\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n"
_OFFER_LOGIN: Final = b"250-mx\r\n250 AUTH LOGIN\r\n"
_TAKEN: Final = b"250 ok\r\n250 ok\r\n452 later\r\n354 go\r\n250 2.0.0 kept\r\n"
_NONE_TAKEN: Final = b"250 ok\r\n550 no\r\n550 no\r\n354 go\r\n554 no valid recipients\r\n"
_ASKED: Final = b"334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n"

SESSION_SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "esmtp_server": (
        _server(0, _SESSION),
        _server(0, _SESSION, cut=_CUT),
        _server(RIGHT, _EHLO + b"STARTTLS\r\n", _EHLO + _PLAIN + _MAIL),
        _server(RIGHT, _EHLO + b"STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n", _EHLO + _LOGIN + _CHUNKS, cut=_CUT),
        _server(0, _EHLO + b"STARTTLS\r\n", _EHLO + _PLAIN_IN_TWO + _LOGIN + _MAIL),
        _server(TLS, _EHLO + _PLAIN * 4),
        _server(TLS | TURNS, _EHLO + _PLAIN_IN_TWO + _LOGIN + _MAIL, cut=_CUT),
        _server(TLS | STRICT, _EHLO + b"AUTH PLAIN\r\n*\r\nAUTH LOGIN\r\n!\r\nAUTH X\r\n" + _MAIL),
        _server(STRICT, _EHLO + _ERRORS + _MAIL + b"NOOP\r\n", cut=_CUT),
        _server(STRICT, _ERRORS + b"STARTTLS\r\n", _EHLO + _ERRORS),
        _server(REFUSING | CHOOSY, _EHLO + _MAIL * 2 + b"MAIL FROM:<a@x.example>\r\nRCPT TO:<no@y.example>\r\n"),
        _server(DRAINED, _EHLO + b"MAIL FROM:<a@x.example>\r\n", b"\r\nRCPT TO:<b@y.example>\r\n" + _MAIL),
        _server(DISCARDED, _EHLO + _MAIL[:-5], b"\r\n.\r\n" + _MAIL),
    ),
    "esmtp_client": (
        _server(PATIENT, _BANNER + _OFFER + _TAKEN + _NONE_TAKEN + b"421 4.7.0 bye\r\n"),
        _server(0, _BANNER + _OFFER + _TAKEN, cut=_CUT),
        _server(0, _BANNER + _OFFER_ODD + _TAKEN),
        _server(PATIENT | LEAVE, _BANNER + b"500 what\r\n250 mx\r\n" + b"250 ok\r\n" * 3 + b"550 no\r\n" * 9),
        _server(PATIENT | UPGRADE, _BANNER + _OFFER_TLS + b"220 go\r\n", _OFFER + _TAKEN),
        _server(PATIENT | UPGRADE, _BANNER + _OFFER_TLS + b"454 not now\r\n250 ok\r\n550 no\r\n550 no\r\n"),
        _server(PATIENT | UPGRADE, _BANNER + _OFFER_TLS + b"220 go\r\n250 injected\r\n", _OFFER + _TAKEN),
        _server(
            PATIENT | UPGRADE | LOG_IN,
            _BANNER + _OFFER_TLS + b"220 go\r\n",
            _OFFER_PLAIN + b"235 in\r\n" + _TAKEN,
        ),
        _server(PATIENT | TLS | LOG_IN, _BANNER + _OFFER_LOGIN + _ASKED + b"235 in\r\n" + _TAKEN),
        _server(PATIENT | TLS | LOG_IN, _BANNER + _OFFER_LOGIN + _ASKED + b"535 wrong\r\n" + _TAKEN),
        _server(PATIENT | TLS | LOG_IN, _BANNER + _OFFER_PLAIN + b"334 more\r\n" + _TAKEN),
        _server(PATIENT | LOG_IN, _BANNER + _OFFER_PLAIN + _TAKEN),
    ),
}
"""By target."""
