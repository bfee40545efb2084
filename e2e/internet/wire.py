"""Counts TCP connections to the ISPs from the packets themselves, SYN to FIN: the witness that enforces nothing.

Invariant: the tracker sees every SYN, FIN and RST on the interface before any firewall rule of this namespace, also
those to addresses where nobody listens; packets that the kernel could not hand over are counted in `dropped`, and a
figure of evidence asks for that to be 0.
Before: a raw packet socket (root). After: `control`, and the checks "limits never exceeded", "nothing sent unproved".
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from e2e.internet.counting import max_concurrent

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
_ETH_P_ALL, _ETH_P_IP = 0x0003, 0x0800  # linux/if_ether.h; only a socket for all protocols sees what is sent from here
_PROTOCOL_OF_PACKET = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL of linux/filter.h
_PACKET_OUTGOING = 4
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35  # linux/socket.h
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # linux/if_packet.h
_BUFFER = 32 * 1024 * 1024
_BATCH = 4096  # packets read in one turn of the loop

# Classic BPF: TCP over IPv4 with any of FIN, SYN, RST set; keeps message data out of Python.
_FILTER = (
    (0x28, 0, 0, _PROTOCOL_OF_PACKET),
    (0x15, 0, 6, _ETH_P_IP),  # not IPv4: drop
    (0x30, 0, 0, 9),  # load the protocol of the IP header
    (0x15, 0, 4, 6),  # not TCP: drop
    (0xB1, 0, 0, 0),  # x = length of the IP header
    (0x50, 0, 0, 13),  # load the TCP flags
    (0x45, 0, 1, FIN | SYN | RST),  # none of them: drop
    (0x06, 0, 0, 0xFFFF),  # keep
    (0x06, 0, 0, 0),  # drop
)


@dataclass(slots=True)
class Span:
    """One connection attempt to a watched address; `closed` is the first FIN or RST of either side.

    One that nobody answered never became a connection: it counts as an attempt and at no instant as open.
    """

    isp: str
    source_ip: str
    source_port: int
    server_ip: str
    opened: float
    closed: float | None = None
    answered: bool = False


class WireTracker:
    """Turns packets into spans; pure."""

    def __init__(self, watched: Mapping[tuple[str, int], str]) -> None:
        self._watched = dict(watched)
        self._open: dict[tuple[str, int, str, int], Span] = {}
        self.spans: list[Span] = []

    def packet(self, at: float, source: tuple[str, int], target: tuple[str, int], flags: int) -> None:
        """Takes one TCP packet with FIN, SYN or RST."""
        if flags & SYN:
            self._begin(at, source, target, from_server=bool(flags & ACK))
            return
        span_ended = self._open.pop((*source, *target), None) or self._open.pop((*target, *source), None)
        if span_ended is not None:
            span_ended.closed = at

    def _begin(self, at: float, source: tuple[str, int], target: tuple[str, int], *, from_server: bool) -> None:
        if from_server:
            if (*target, *source) in self._open:
                self._open[(*target, *source)].answered = True
            return
        isp = self._watched.get(target)
        # a second SYN of a pair that is open is a retransmission
        if isp is None or (*source, *target) in self._open:
            return
        span = Span(isp, *source, target[0], at)
        self._open[(*source, *target)] = span
        self.spans.append(span)

    def reset(self, isp: str | None = None) -> None:
        """Forgets the spans of one ISP, or of all, that are not open connections."""
        self.spans = [
            span
            for span in self.spans
            if (isp is not None and span.isp != isp) or (span.closed is None and span.answered)
        ]
        kept = {id(span) for span in self.spans}
        self._open = {pair: span for pair, span in self._open.items() if id(span) in kept}

    def per_source_ip(self, isp: str) -> dict[str, dict[str, int]]:
        """Attempts and most connections at one instant, for each source IP of one ISP."""
        grouped: defaultdict[str, list[Span]] = defaultdict(list)
        for span in self.spans:
            if span.isp == isp:
                grouped[span.source_ip].append(span)
        return {
            ip: {
                "wire_connections": len(spans),
                "wire_connections_most": max_concurrent((one.opened, one.closed) for one in spans if one.answered),
            }
            for ip, spans in sorted(grouped.items())
        }


class WireWatch:
    """The packet socket that feeds a tracker from the running loop."""

    def __init__(self, tracker: WireTracker, interface: str = "") -> None:
        self.tracker = tracker
        self.dropped = 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _FILTER))
        # struct sock_fprog: the number of instructions and a pointer to them; the kernel copies both
        fprog = struct.pack("HL", len(_FILTER), ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setblocking(False)
        if interface:
            self._socket.bind((interface, _ETH_P_ALL))

    def start(self) -> None:
        """Reads packets from now on."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self.drain)

    def stop(self) -> None:
        """Reads no more."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def drain(self) -> None:
        """Takes the packets that are waiting, at most a batch of them."""
        for _ in range(_BATCH):
            try:
                packet, ancillary, _, address = self._socket.recvmsg(128, 64)
            except BlockingIOError:
                break
            self._take(packet, ancillary, address)

    def lost(self) -> int:
        """How many packets the kernel has dropped since the start."""
        _, drops = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self.dropped += drops
        return self.dropped

    def _take(self, packet: bytes, ancillary: list[tuple[int, int, bytes]], address: Any) -> None:
        interface, _, kind, *_ = address
        if kind == _PACKET_OUTGOING and interface == "lo":
            return  # loopback shows every packet twice
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
        header = (packet[0] & 0x0F) * 4
        source_port, target_port = struct.unpack_from("!HH", packet, header)
        self.tracker.packet(
            seconds + nanoseconds / 1e9,
            (socket.inet_ntoa(packet[12:16]), source_port),
            (socket.inet_ntoa(packet[16:20]), target_port),
            packet[header + 13],
        )
