"""Connections counted from packets."""

from __future__ import annotations

from e2e.internet.wire import ACK, FIN, RST, SYN, WireTracker

SERVER, CLIENT, OTHER = ("198.51.100.10", 25), ("203.0.113.10", 4001), ("203.0.113.10", 4002)


def tracker() -> WireTracker:
    return WireTracker({SERVER: "b"})


def connect(seen: WireTracker, at: float, client: tuple[str, int] = CLIENT, server: tuple[str, int] = SERVER) -> None:
    seen.packet(at, client, server, SYN)
    seen.packet(at, server, client, SYN | ACK)


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

    assert seen.per_source_ip("b") == {"203.0.113.10": {"wire_connections": 1, "wire_connections_most": 0}}


def test_an_attempt_that_nobody_answers_is_seen_but_is_at_no_time_open() -> None:
    seen = tracker()
    seen.packet(1.0, CLIENT, SERVER, SYN)
    connect(seen, 2.0, OTHER)

    assert seen.per_source_ip("b") == {"203.0.113.10": {"wire_connections": 2, "wire_connections_most": 1}}


def test_an_attempt_forgotten_by_a_reset_is_seen_again_when_it_is_repeated() -> None:
    seen = tracker()
    seen.packet(1.0, CLIENT, SERVER, SYN)
    seen.reset()
    seen.packet(2.0, CLIENT, SERVER, SYN)

    assert [span.opened for span in seen.spans] == [2.0]


def test_a_port_used_again_after_a_reset_is_a_second_connection() -> None:
    seen = tracker()
    connect(seen, 1.0)
    seen.packet(2.0, CLIENT, SERVER, RST)
    connect(seen, 3.0)

    assert seen.per_source_ip("b") == {"203.0.113.10": {"wire_connections": 2, "wire_connections_most": 1}}


def test_two_connections_of_one_address_count_together() -> None:
    seen = tracker()
    connect(seen, 1.0)
    connect(seen, 1.0, OTHER)

    assert seen.per_source_ip("b")["203.0.113.10"]["wire_connections_most"] == 2


def test_packets_to_addresses_that_are_no_isp_are_not_counted() -> None:
    seen = tracker()
    seen.packet(1.0, CLIENT, ("198.51.100.2", 53), SYN)

    assert seen.spans == []


def test_a_reset_forgets_closed_spans_of_that_isp_only() -> None:
    seen = WireTracker({SERVER: "b", ("198.51.100.12", 25): "c"})
    connect(seen, 1.0)
    connect(seen, 1.0, CLIENT, ("198.51.100.12", 25))
    connect(seen, 1.5, OTHER)
    seen.packet(2.0, CLIENT, SERVER, FIN)
    seen.packet(2.0, CLIENT, ("198.51.100.12", 25), FIN)

    seen.reset("b")

    assert [(span.isp, span.closed) for span in seen.spans] == [("c", 2.0), ("b", None)]
