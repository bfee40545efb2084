"""What DNS holds where a DKIM key is to be published: said by the relay in `/v1`, told to people by the operator."""

from enum import StrEnum

__all__ = ["SelectorFinding"]


class SelectorFinding(StrEnum):
    """The last look at one selector's TXT record."""

    PUBLISHED = "Published"
    """This very key, and no other."""
    ABSENT = "Absent"
    """No record."""
    OTHER = "Other"
    """A record that is not this key's: another key, a revoked one, two of them, or something else."""
    UNANSWERED = "Unanswered"
    """DNS gave no answer that proves anything."""
    UNCHECKED = "Unchecked"
    """Nobody has looked yet."""
