"""A resolver that answers by script: MX and A of the ISPs, and what goes wrong for single domains.

A domain's own domains have the same exchanger.

Invariant: a domain without a fault is answered rightly and at once; all answers live one second, so that a fault that
begins is felt. Runs in a thread of the campaign.
"""

import socket
import threading
from collections.abc import Mapping
from typing import Final, Literal

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Fault = Literal["timeout", "servfail", "wrong-id", "wrong-question", "garbage", "truncated", "wrong-address"]
PORT: Final = 53
NOBODY: Final = "198.51.100.254"
"""Where nobody listens."""
_TTL: Final = 1


class Resolver:
    """One UDP socket."""

    def __init__(self, address: str, hosts: Mapping[str, str]) -> None:
        """`hosts`: domain -> address of its one mail exchanger."""
        self.address = address
        self._hosts = hosts
        self.faults: dict[str, Fault] = {}
        """By domain; may be changed at any time."""
        self.asked: dict[str, int] = {}
        """Questions by fault, so that a fault that nobody met is seen."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, PORT))
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answers nobody any more."""
        self._closed = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (self.address, PORT))
        self._thread.join(60)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            packet, client = self._socket.recvfrom(4096)
            if self._closed:
                return
            try:
                answer = self._answer(packet)
            except Exception:  # noqa: BLE001  # a question that cannot be read gets no answer
                continue
            if answer is not None:
                self._socket.sendto(answer, client)

    def _answer(self, packet: bytes) -> bytes | None:
        query = dns.message.from_wire(packet)
        question = query.question[0]
        name, kind = question.name.to_text().rstrip(".").lower(), question.rdtype
        domain = next((one for one in self._hosts if name == one or name.endswith("." + one)), "")
        fault = self.faults.get(domain)
        if fault is not None:
            self.asked[fault] = self.asked.get(fault, 0) + 1
        if fault == "timeout":
            return None
        if fault == "garbage":
            return packet[:12] + b"\xc0\x0c" * 40
        answer = dns.message.make_response(query, recursion_available=True)
        if fault == "servfail":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif fault == "truncated":
            answer.flags |= dns.flags.TC
        else:
            self._fill(answer, name, kind, domain, fault)
        if fault == "wrong-id":
            answer.id = (answer.id + 1) % 65536
        if fault == "wrong-question":
            answer.question = [dns.rrset.from_text("elsewhere.test.", _TTL, "IN", "MX", "10 mx.elsewhere.test.")]
        return answer.to_wire()

    def _fill(self, answer: dns.message.Message, name: str, kind: int, domain: str, fault: Fault | None) -> None:
        if domain and name != f"mx.{domain}" and kind == 15:
            answer.answer.append(dns.rrset.from_text(f"{name}.", _TTL, "IN", "MX", f"10 mx.{domain}."))
        elif domain and name == f"mx.{domain}" and kind == 1:
            host = NOBODY if fault == "wrong-address" else self._hosts[domain]
            answer.answer.append(dns.rrset.from_text(f"{name}.", _TTL, "IN", "A", host))
        else:
            if not domain:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            soa = f". . 1 60 60 60 {_TTL}"
            answer.authority.append(dns.rrset.from_text(f"{domain or 'test'}.", _TTL, "IN", "SOA", soa))
