"""The door: one returned mail in, one reading out.

The order is that of trust: complaints and delivery reports say what they are, an answering program says it too, and
only what is left is read as a text for people. Invariant: every content has a reading, in bounded time.
"""

from lane_relay.mail.reports.automatic import is_automatic
from lane_relay.mail.reports.complaint import message_id_in, read_complaint, tokens_in
from lane_relay.mail.reports.parts import Mail, take_apart, unfolded
from lane_relay.mail.reports.plain import is_from_a_system, read_plain
from lane_relay.mail.reports.reading import Kind, Reading
from lane_relay.mail.reports.status import read_status

__all__ = ["read_report"]


def read_report(content: bytes) -> Reading:
    """What a returned mail says."""
    mail = take_apart(content)
    if isinstance(mail, str):
        return Reading(Kind.NOT_UNDERSTOOD, "broken", why=mail)
    found = read_complaint(mail) or read_status(mail)
    if found is None and (is_from_a_system(mail) or not is_automatic(mail)):  # servers, too, call bounces auto-replied
        found = read_plain(mail)
    if found is None and is_automatic(mail):
        found = Reading(Kind.AUTOMATIC, "automatic")
    if found is None:
        why = "no report is in it, and its text says of no failure"
        return _about(mail, Reading(Kind.NOT_UNDERSTOOD, "unknown", why=why))
    return _about(mail, found)


def _about(mail: Mail, reading: Reading) -> Reading:
    """The reading with what the returned mail's header says of itself."""
    header = mail.returned or reading.returned
    blocks = unfolded(header.decode("utf-8", "replace")[: 64 * 1024])
    fields = blocks[0] if blocks else {}
    return Reading(
        reading.kind,
        reading.dialect,
        reading.failures,
        reading.feedback_type,
        " ".join(reading.reporter.split())[:200],
        reading.tokens or tokens_in(fields),
        reading.message_id or message_id_in(fields),
        header,
        reading.why,
    )
