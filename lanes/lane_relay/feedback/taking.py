"""One returned mail's way to the desk: for each of its addressees, and one answer to all of it.

Before it: `session`, which has the mail's content. After it: the desk, which says when a report is kept.
"""

from typing import TYPE_CHECKING, Final

from lane_relay.feedback.addresses import Addressee
from lane_relay.feedback.desk import TAKEN
from lane_relay.guard import contain
from lane_relay.records import Reply

if TYPE_CHECKING:
    from lane_relay.feedback.listener import FeedbackListener

__all__ = ["CLOSED", "take_mail"]

CLOSED: Final = Reply(451, ("4.3.2 Nothing is taken here now, try again or try another host",))
_BROKEN: Final = Reply(451, ("4.3.0 This mail cannot be taken now",))


async def take_mail(
    listener: "FeedbackListener", addressees: tuple[Addressee, ...], content: bytes, client: str, helo: str
) -> Reply:
    """Hands it to the desk for each of its addressees; the worst answer is the answer."""
    size = len(content)
    taken: list[Addressee] = []
    listener.held_bytes += size
    takes = listener.takes  # or no more, since its MAIL
    reply = TAKEN if takes else CLOSED
    try:
        for addressee in listener.partly_taken.left(content, addressees) if takes else ():
            reply = await listener.take(addressee, content, client, helo)
            if reply.code >= 400:
                break
            taken.append(addressee)
    except Exception as broken:  # noqa: BLE001 -- what one stranger sends must not end the relay
        contain("feedback", broken, peer=client)
        reply = _BROKEN
    finally:
        listener.held_bytes -= size
    if reply.code >= 400:
        listener.partly_taken.refused(content, taken)
    else:
        listener.partly_taken.done(content)
    return reply
