"""What DNS holds of a From domain's records beside its keys: said by the relay in `/v1`, told by the operator."""

from enum import StrEnum

__all__ = ["RecordFinding", "RecordPurpose"]


class RecordPurpose(StrEnum):
    """What a record is for."""

    SPF = "SPF"
    """Of the return path: which addresses may send for it (RFC 7208)."""
    MX = "MX"
    """Of the return path: who takes its bounces."""
    DMARC = "DMARC"
    """Of the From domain, or of one above it (RFC 7489; RFC 9989 walks up as well)."""
    MTA_STS = "MTA-STS"
    """Of the return path, where it has one (RFC 8461)."""
    TLS_RPT = "TLS-RPT"
    """Of the return path, where it has one (RFC 8460)."""

    @property
    def record_type(self) -> str:
        """MX or TXT."""
        return "MX" if self is RecordPurpose.MX else "TXT"


class RecordFinding(StrEnum):
    """The last look at one record."""

    RIGHT = "Right"
    """It says what it must."""
    ABSENT = "Absent"
    """There is none."""
    OTHER = "Other"
    """There is one that does not say what it must, or two where receivers take none."""
    UNJUDGED = "Unjudged"
    """Only a receiver can say, as of SPF with macros."""
    UNANSWERED = "Unanswered"
    """DNS has given no answer yet that proves anything."""
