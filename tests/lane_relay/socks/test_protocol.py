"""The handshake of RFC 1928 and RFC 1929: what is said, in which order, for every split of what comes back."""

from ipaddress import ip_address

import pytest

from lane_relay.socks.protocol import Connected, Credentials, Failure, Handshake, Refused

GREETING = b"\x05\x01\x00"
CONNECT_V4 = b"\x05\x01\x00\x01\xc6\x33\x64\x19\x00\x19"  # 198.51.100.25, port 25
BOUND = b"\x05\x00\x00\x01\xcb\x00\x71\x0a\x9c\x40"  # 203.0.113.10, port 40000
SESAME = Credentials("otp", "open sesame")


def talk(handshake: Handshake, *answers: bytes, size: int = 1000) -> bytes:
    """Everything that was said while these answers came, `size` octets at a time and never more than wanted."""
    said = handshake.begin()
    for answer in answers:
        left = answer
        while left and handshake.wants:
            piece = left[: min(size, handshake.wants)]
            left = left[len(piece) :]
            said += handshake.receive(piece)
        assert not left, "the machine wants less than the proxy said"
    return said


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_without_credentials_a_connection_takes_two_exchanges(size: int) -> None:
    handshake = Handshake("198.51.100.25", 25)

    assert talk(handshake, b"\x05\x00", BOUND, size=size) == GREETING + CONNECT_V4
    assert handshake.outcome == Connected("203.0.113.10")
    assert handshake.wants == 0


@pytest.mark.parametrize("size", [1, 1000])
def test_with_credentials_no_other_method_is_offered(size: int) -> None:
    handshake = Handshake("198.51.100.25", 25, SESAME)
    said = talk(handshake, b"\x05\x02", b"\x01\x00", BOUND, size=size)

    assert said == b"\x05\x01\x02" + b"\x01\x03otp\x0bopen sesame" + CONNECT_V4
    assert handshake.outcome == Connected("203.0.113.10")


def test_ipv6_goes_as_an_address_and_comes_back_as_one() -> None:
    handshake = Handshake("2001:db8::25", 465)
    bound = b"\x05\x00\x00\x04" + ip_address("2001:db8::a").packed + b"\x00\x01"

    assert talk(handshake, b"\x05\x00", bound).endswith(
        b"\x05\x01\x00\x04" + ip_address("2001:db8::25").packed + b"\x01\xd1"
    )
    assert handshake.outcome == Connected("2001:db8::a")


@pytest.mark.parametrize(
    ("kind", "octets", "bound"),
    [
        (1, b"\x00\x00\x00\x00", ""),
        (4, bytes(16), ""),
        (4, ip_address("::ffff:203.0.113.10").packed, "203.0.113.10"),
        (3, b"\x05proxy", ""),
    ],
    ids=["unspecified-v4", "unspecified-v6", "mapped", "a-name"],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_the_proxy_does_not_say_is_not_made_up(kind: int, octets: bytes, bound: str, size: int) -> None:
    handshake = Handshake("198.51.100.25", 25)
    talk(handshake, b"\x05\x00", b"\x05\x00\x00" + bytes((kind,)) + octets + b"\x00\x19", size=size)

    assert handshake.outcome == Connected(bound)


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (1, Failure.UNREACHABLE),
        (2, Failure.PROXY),
        (3, Failure.UNREACHABLE),
        (4, Failure.UNREACHABLE),
        (5, Failure.REFUSED),
        (6, Failure.TIMED_OUT),
        (7, Failure.PROXY),
        (8, Failure.PROXY),
        (200, Failure.PROXY),
    ],
)
def test_each_reply_is_about_the_target_or_the_proxy(code: int, failure: Failure) -> None:
    handshake = Handshake("198.51.100.25", 25)
    talk(handshake, b"\x05\x00", b"\x05" + bytes((code,)) + b"\x00\x01")

    assert isinstance(handshake.outcome, Refused)
    assert handshake.outcome.failure is failure
    assert handshake.wants == 0


@pytest.mark.parametrize(
    ("answers", "credentials", "text"),
    [
        ((b"\x04\x00",), None, "no SOCKS5 proxy"),
        ((b"22",), None, "no SOCKS5 proxy"),  # an SMTP server
        ((b"\x05\xff",), None, "asks for credentials"),
        ((b"\x05\xff",), SESAME, "takes no user name and password"),
        ((b"\x05\x00",), SESAME, "chose method 0"),
        ((b"\x05\x02",), None, "chose method 2"),
        ((b"\x05\x02", b"\x01\x01"), SESAME, "refused our user name and password"),
        ((b"\x05\x00", b"\x00\x00\x00\x01"), None, "version 0"),
        ((b"\x05\x00", b"\x05\x00\x00\x07"), None, "of kind 7"),
    ],
)
def test_a_proxy_that_cannot_be_used_says_why(
    answers: tuple[bytes, ...], credentials: Credentials | None, text: str
) -> None:
    handshake = Handshake("198.51.100.25", 25, credentials)
    talk(handshake, *answers)

    assert isinstance(handshake.outcome, Refused)
    assert handshake.outcome.failure is Failure.PROXY
    assert text in handshake.outcome.text


def test_credentials_go_to_nobody_who_did_not_ask_for_them() -> None:
    said = talk(Handshake("198.51.100.25", 25, SESAME), b"\x05\x00")

    assert b"sesame" not in said


def test_a_proxy_that_closes_before_the_request_is_at_fault_and_afterwards_the_target_is() -> None:
    early, late = Handshake("198.51.100.25", 25), Handshake("198.51.100.25", 25)
    early.receive(b"")
    talk(late, b"\x05\x00")
    late.receive(b"")

    assert isinstance(early.outcome, Refused)
    assert isinstance(late.outcome, Refused)
    assert (early.outcome.failure, late.outcome.failure) == (Failure.PROXY, Failure.UNREACHABLE)


@pytest.mark.parametrize("credentials", [Credentials("", "x"), Credentials("x", ""), Credentials("x" * 256, "y")])
def test_credentials_that_cannot_be_said_are_an_error_that_names_the_bound(credentials: Credentials) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        Handshake("198.51.100.25", 25, credentials)


def test_only_addresses_are_asked_for_never_names() -> None:
    with pytest.raises(ValueError, match="mx1"):
        Handshake("mx1.example.com", 25)
