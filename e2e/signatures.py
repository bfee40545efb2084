"""What a receiver that checks DKIM says of each message as it comes: dkimpy, with keys from the tests' resolver.

Invariants: each signature is judged by itself, for verifiers stop at the first good one; keys are asked for anew with
each message; a message is judged as it was stored, and a judgement is never changed. Before: the plain ISP's maildir.
After: tests of what signs.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path

import dkim
import dns.message
import dns.query
import dns.rdatatype

from e2e.cluster.place import Place
from e2e.internet.addresses import RESOLVER

_WITHIN_S = 5.0
_PAYLOAD = 1232  # octets of an answer over UDP (DNS flag day 2020): a key of 2048 bits fits


@dataclass(frozen=True)
class Verdict:
    """Of one message."""

    message_id: str
    selectors: tuple[str, ...]
    """Of its signatures, as they stand."""
    rejected: tuple[str, ...]
    """SELECTOR: why, of those that do not verify."""
    content: bytes


class Receiver:
    """An ISP's filter over a maildir; it looks when it is told to."""

    def __init__(self, place: Place, folder: Path) -> None:
        """`folder`: of the plain ISP's Postfix; what is there already is none of ours."""
        self._place = place
        self._new = folder / "mail" / "all" / "new"
        self._seen = {file.name for file in self._files()}
        self.verdicts: list[Verdict] = []

    def look(self) -> None:
        """Judges what has come since."""
        for file in sorted(self._files()):
            if file.name not in self._seen:
                self._seen.add(file.name)
                self.verdicts.append(self.judge(file.read_bytes().replace(b"\n", b"\r\n")))

    def judge(self, content: bytes) -> Verdict:
        """What it says of a message now."""
        selectors, rejected = [], []
        header = BytesHeaderParser().parsebytes(content)
        for index, field in enumerate(header.get_all("DKIM-Signature", [])):
            selectors.append(_selector(field))
            why = self._verify(content, index)
            if why:
                rejected.append(f"{selectors[-1]}: {why}")
        return Verdict(header.get("Message-ID", ""), tuple(selectors), tuple(rejected), content)

    def _verify(self, content: bytes, index: int) -> str:
        try:
            return "" if dkim.DKIM(content).verify(index, dnsfunc=self._key) else "not verified"
        except dkim.DKIMException as error:
            return repr(error)

    def _key(self, name: bytes, timeout: float = _WITHIN_S) -> bytes | None:
        """The TXT record at a name; None where there is none."""
        question = dns.message.make_query(name.decode(), dns.rdatatype.TXT, payload=_PAYLOAD)
        with self._place.socket(kind=socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            answer = dns.query.udp(question, RESOLVER, timeout=timeout, sock=asking)
        found = [b"".join(one.strings) for rrset in answer.answer for one in rrset if one.rdtype == dns.rdatatype.TXT]
        return found[0] if found else None

    def _files(self) -> Iterator[Path]:
        return self._new.glob("*")


def _selector(field: str) -> str:
    """The `s=` of a signature (RFC 6376 section 3.5)."""
    tags = (one.partition("=") for one in field.split(";"))
    return next(("".join(value.split()) for name, _, value in tags if name.strip() == "s"), "")
