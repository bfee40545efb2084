"""Upgrading and UpgradeHalted: how far the slots' new images are, or why the lane has the old ones again; pure.

Conditions that only tell: a lane whose slots serve is as asked, whichever image they run.
"""

from lane_api.conditions import ConditionType, Reason
from lane_api.lane_status import UpgradePhase, UpgradeStatus
from lane_api.names import UNKNOWN_FIELD_TEXT, UPGRADE_ANNOTATION, UPGRADE_UNJUDGED
from lane_operator.status.book import Book
from lane_operator.status.view import View

__all__ = ["put_upgrade", "what_an_old_image_lacks"]


def put_upgrade(book: Book, view: View) -> None:
    """The verdicts on both."""
    said = view.desired.upgrade
    if said is None or view.lane.deleting_since is not None:
        return
    match said.phase:
        case UpgradePhase.WAITING if away := ", ".join(one.slot_name for one in view.active if not view.serves(one)):
            message = f"its slots get {_named(said)} one after the other, once {away} serves"
            book.put(ConditionType.UPGRADING, True, Reason.WAITS_FOR_SLOTS, message)
        case UpgradePhase.WAITING:
            message = (
                f"its slots get {_named(said)} when fewer lanes are upgraded (upgrades.lanes in the chart's values)"
            )
            book.put(ConditionType.UPGRADING, True, Reason.WAITS_FOR_OTHER_LANES, message)
        case UpgradePhase.ROLLING if _drains(view, said.slot):
            message = f"{said.slot} hands its mail over, see Draining; then it restarts with {_named(said)}"
            book.put(ConditionType.UPGRADING, True, Reason.SLOT_DRAINS, message)
        case UpgradePhase.ROLLING:
            message = f"{said.slot} restarts with {_named(said)}; the others wait for their turn"
            book.put(ConditionType.UPGRADING, True, Reason.SLOT_RESTARTS, message)
        case UpgradePhase.WATCHED:
            message = (
                f"{said.slot} serves with {_named(said)} and is watched; the next slot follows if it does no worse "
                "than the others, and than before"
            )
            book.put(ConditionType.UPGRADING, True, Reason.SLOT_WATCHED, message)
        case UpgradePhase.ROLLED_BACK:
            book.put(ConditionType.UPGRADE_HALTED, True, Reason.ROLLED_BACK, _halted(said))


def what_an_old_image_lacks(view: View, refused: str) -> str:
    """What mends a refusal, in brackets, where a slot's old image does not know a field; empty for any other."""
    said = view.desired.upgrade
    if said is None or said.images.relay == said.previous.relay or UNKNOWN_FIELD_TEXT not in refused:
        return ""
    match said.phase:
        case UpgradePhase.WAITING | UpgradePhase.ROLLING | UpgradePhase.WATCHED:
            return f" ({said.previous.relay} may not know what comes with {said.images.relay}, which the slot gets yet)"
        case UpgradePhase.ROLLED_BACK:
            return f" (the lane has {said.previous.relay} again, which may not know what came with {said.images.relay})"
        case UpgradePhase.DONE:
            return ""


def _drains(view: View, slot: str) -> bool:
    """It hands its mail over before it gets its images, or waits for others that could take it."""
    restart = view.desired.restart
    return restart is not None and restart.slot == slot and not restart.handed_over


def _halted(said: UpgradeStatus) -> str:
    return (
        f"{said.message}; with {_named(said)}. The lane's slots have {said.previous.relay} again and keep it: name "
        "another image in the chart's values (relay.image, resolver.image), or annotate the lane with "
        f"{UPGRADE_ANNOTATION}={UPGRADE_UNJUDGED} to have this one whatever it does"
    )


def _named(said: UpgradeStatus) -> str:
    """The image that is another: the relay's, mostly."""
    return said.images.resolver if said.images.relay == said.previous.relay else said.images.relay
