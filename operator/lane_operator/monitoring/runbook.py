"""Where each alert of a lane is explained, and what becomes of the mail while it stands.

`docs/alerts.md` has a section an alert; a test holds page, rules and these texts together.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["DESCRIPTIONS", "RUNBOOK", "runbook_url"]

RUNBOOK: Final = "docs/alerts.md"
"""The page in the repository of this release; an installation that publishes it elsewhere names the address."""


def runbook_url(page: str, alert: str) -> str:
    """The alert's section of the page, by the anchor that GitHub and GitLab make of its heading."""
    return f"{page}#{alert.lower()}"


DESCRIPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "LaneMailUnaccounted": "Mail may be lost, or sent twice. The slot goes on taking and sending.",
        "LaneSpoolFailed": "Mail is refused by this slot, and taken by the lane's other ones. What it has is on its "
        "disk, and is not sent until its pod is made again: see to the volume, then delete the pod.",
        "LaneSpoolDamaged": "Mail whose bytes are in these places is not delivered; all other mail is. Nothing is "
        "removed: the damaged segments stay for a person to look at.",
        "LaneFaultContained": "Mail to or from that one peer may be late, and its words may be missing from a record. "
        "All other mail goes on.",
        "LaneIntakeRefused": "Mail is refused for now with 4.3.x; senders that try again lose none.",
        "LaneEgressUnproved": "Mail is late: it waits in the slot and expires with the lane's lifetime. None leaves "
        "from a wrong address.",
        "LanePTRWrong": "Mail to ISPs that refuse the address is late. The slot sends on, unless the pool's "
        "verification.ptr is Require.",
        "LaneSPFWrong": "Receivers refuse mail from this slot, or file it as spam; DMARC then rests on DKIM alone.",
        "LaneConfigRefused": "No mail is late for it: what was changed last does not hold in this slot.",
        "LaneMailInDoubt": "Mail is late: it is on the disk of one slot, perhaps on that of the other, too.",
        "LaneMailStranded": "Mail is late: it waits for a slot whose address may send it, and expires with the lane's "
        "lifetime.",
        "LaneQuarantineUnrelieved": "Mail to these ISPs is late.",
        "LaneStandbyForgotten": "No mail is late for it: the address will be slow when it has to stand in.",
        "LaneKeysFailed": "Requests by HTTP with idempotency keys are refused with 503; mail by SMTP is taken until "
        "the queue is full.",
        "LaneStoppedByReplies": "Mail towards this ISP is late: it waits, or leaves slowly, until the act ends by "
        "itself. What is older than the lane's lifetime by then expires.",
        "LaneReplyNeedsLook": "Mail that got such a reply is tried again or bounces, as its rule says.",
        "LaneComplaintsRising": "No mail is late for it yet; beyond feedback.complaints.act it will be.",
        "LaneComplaintsHigh": "Mail is late where the lane's protection allows to pause it.",
        "LaneComplaintsUnauthenticated": "No mail is late for it.",
        "LaneBouncesUntold": "No mail is late for it: the application was not told of bounces.",
        "LaneSuppressionListFull": "No mail is late for it: addresses that should get none may get some again.",
        "LaneSuppressionListFailed": "No mail is late for it: reports and unsubscribes are refused for now, and "
        "addresses that should get none get mail until they are told again.",
        "LaneSuppressionListDamaged": "No mail is late for it: addresses that should get none may get some again.",
        "LaneMailboxesDoubted": "Mail to these mailboxes has bounced; only the suppression of their addresses waits.",
        "LaneTaskBroken": "No mail is late for it: what broke keeps evidence, lists or figures alone.",
        "LaneArchiveBehind": "No mail is late for it, and no record is lost yet.",
        "LaneRecordsLost": "No mail is lost: records of what became of it are.",
        "LaneSlotsMissing": "New mail goes to the other slots. What the missing one has on its volume waits there.",
        "LaneOldestMessageOld": "Mail is late. `GET /v1/explain?message=ID` of its slot says what holds it.",
        "LaneLatencyP95High": "Mail is late, and is delivered.",
        "LaneLatencyExpected": "Mail will be late: more comes in than ISPs take.",
        "LaneErrorBudgetFast": "Mail is late or was given up: at this pace a month's error budget is gone in two days.",
        "LaneErrorBudgetSlow": "Mail is late or was given up: at this pace a month's error budget is gone in five "
        "days.",
    }
)
"""By alert: what its summary does not say, first of all whether mail is late, refused or lost."""
