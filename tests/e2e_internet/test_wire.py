"""Connections counted from packets."""

from __future__ import annotations

from e2e.internet.wire import ACK, FIN, RST, SYN, WireTracker

SERVER, CLIENT, OTHER = ("198.51.100.10", 25), ("203.0.113.10", 4001), ("203.0.113.10", 4002)


def tracker() -> WireTracker:
    return WireTracker({SERVER: "b"})


def test_a_connection_lasts_from_the_first_syn_to_the_first_fin() -> None:
    seen = tracker()
    seen.packet(1.0, CLIENT, SERVER, SYN)
    seen.packet(1.1, SERVER, CLIENT, SYN | ACK)
    seen.packet(2.0, SERVER, CLIENT, FIN | ACK)
    seen.packet(2.5, CLIENT, SERVER, FIN | ACK)

    (span,) = seen.spans
    assert (span.isp, span.source_ip, span.opened, span.closed) == ("b", "203.0.113.10", 1.0, 2.0)


def test_a_retransmitted_syn_is_one_attempt() -> None:
    seen = tracker()
    for at in (1.0, 2.0, 4.0):
        seen.packet(at, CLIENT, SERVER, SYN)

    assert seen.per_source_ip("b") == {"203.0.113.10": {"wire_connections": 1, "wire_connections_most": 1}}


def test_a_port_used_again_after_a_reset_is_a_second_connection() -> None:
    seen = tracker()
    for at, flags in ((1.0, SYN), (2.0, RST), (3.0, SYN)):
        seen.packet(at, CLIENT, SERVER, flags)

    assert seen.per_source_ip("b") == {"203.0.113.10": {"wire_connections": 2, "wire_connections_most": 1}}


def test_two_connections_of_one_address_count_together() -> None:
    seen = tracker()
    seen.packet(1.0, CLIENT, SERVER, SYN)
    seen.packet(1.0, OTHER, SERVER, SYN)

    assert seen.per_source_ip("b")["203.0.113.10"]["wire_connections_most"] == 2


def test_packets_to_addresses_that_are_no_isp_are_not_counted() -> None:
    seen = tracker()
    seen.packet(1.0, CLIENT, ("198.51.100.2", 53), SYN)

    assert seen.spans == []


def test_a_reset_forgets_closed_spans_of_that_isp_only() -> None:
    seen = WireTracker({SERVER: "b", ("198.51.100.12", 25): "c"})
    seen.packet(1.0, CLIENT, SERVER, SYN)
    seen.packet(1.0, CLIENT, ("198.51.100.12", 25), SYN)
    seen.packet(1.5, OTHER, SERVER, SYN)
    seen.packet(2.0, CLIENT, SERVER, FIN)
    seen.packet(2.0, CLIENT, ("198.51.100.12", 25), FIN)

    seen.reset("b")

    assert [(span.isp, span.closed) for span in seen.spans] == [("c", 2.0), ("b", None)]
