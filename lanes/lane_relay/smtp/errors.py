"""The one exception that comes out of the SMTP machines: a call that their state does not allow, which is our bug."""

from lane_relay.errors import RelayError

__all__ = ["LocalProtocolError"]


class LocalProtocolError(RelayError):
    """We broke the protocol (a call out of turn, a control character in an address); what peers break is an event."""
