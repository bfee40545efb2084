"""What DNS says of an egress address's own name: said by the relay in `/v1`, told to people by the operator."""

from enum import StrEnum

__all__ = ["PtrFinding"]


class PtrFinding(StrEnum):
    """The last answer about one address: its PTR record, and the way back from the name that the slot says HELO with.

    Receivers ask for both (forward-confirmed reverse DNS, RFC 8499 section 7); Gmail's and Yahoo's sender guidelines
    refuse mail without.
    """

    CONFIRMED = "ForwardConfirmed"
    """The PTR record names the HELO name, and that one's A or AAAA records name the address."""
    NO_PTR = "NoPTR"
    """No PTR record."""
    HELO_MISMATCH = "HELOMismatch"
    """It names another host than the one that HELO names."""
    NO_WAY_BACK = "NoWayBack"
    """It names the right host, whose A or AAAA records do not name the address."""
    UNANSWERED = "Unanswered"
    """DNS has given no answer yet that proves anything."""
    UNCHECKED = "Unchecked"
    """Nobody has looked yet."""
