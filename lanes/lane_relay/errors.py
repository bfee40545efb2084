"""Our few exceptions: for our environment and our bugs. What a peer does is a value, never one of these."""

from typing import Final

from msgspec import DecodeError

__all__ = ["NOT_OURS", "ConfigError", "RelayError", "SpoolError", "SpoolFullError", "VolumeFullError"]

NOT_OURS: Final = (DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for octets that are not what we write: cut off or of other types, a damaged octet in a text, and
lists in lists without an end. Whoever decodes what a disk or a peer gives catches all three."""


class RelayError(Exception):
    """Base of the relay's exceptions. Never raised directly."""


class ConfigError(RelayError):
    """A configuration that cannot be used; the message names the field and the fix."""


class SpoolError(RelayError):
    """The spool could not keep its promise (write or fsync failed); intake stops, nothing is retried."""


class SpoolFullError(SpoolError):
    """The spool's budget or its volume is full; intake answers 452 until there is room."""


class VolumeFullError(SpoolFullError):
    """The volume has no room, whatever the budget says."""
