"""One message for many recipients, over as many transactions as the peer's limits ask for; pure.

A transaction is for at most so many recipients as the site allows. Who was refused because the peer takes no more in
one (452, RFC 5321 section 4.5.3.1.10) is in the next one, at once and on the same connection; what the peer says of the
whole message, or when it closes, it says of those who are left, too.
Before it: `dispatcher`, when a transaction is over. After it: the next one, or the Attempt with everybody's result.
"""

from typing import Final

from lane_api.isppolicy import Stage
from lane_relay.records import Record, Reply
from lane_relay.smtp.client import RecipientReply

__all__ = ["Portion", "after", "first", "without_taken"]

_CLOSES: Final = 421
"""It ends the connection (RFC 5321 section 3.8), so that nobody has another transaction there."""
_TOO_MANY: Final = (452, 552)
"""RFC 5321 section 4.5.3.1.10: 552 is to be taken for 452, which earlier standards confused."""
_TOO_MANY_ENHANCED: Final = ("", "4.5.3", "5.5.3")
"""RFC 3463 section 3.6; a 452 4.2.2 is about a full mailbox, and stays that."""


class Portion(Record, frozen=True, gc=False):
    """How a message stands between two transactions."""

    recipients: tuple[int, ...] = ()
    """Of the next transaction; empty: everybody has an answer."""
    left: tuple[int, ...] = ()
    """Of those after it."""
    answered: tuple[RecipientReply, ...] = ()
    """In earlier transactions, and not settled yet."""


def first(recipients: tuple[int, ...], most: int) -> Portion:
    """Before the first transaction."""
    return Portion(recipients[:most], recipients[most:])


def after(replies: tuple[RecipientReply, ...], before: Portion, most: int) -> Portion:
    """After the transaction of `before.recipients`, for which the peer said `replies`."""
    answered = before.answered + replies
    whole = next((answer for answer in replies if answer.stage is not Stage.RCPT or answer.reply.code == _CLOSES), None)
    if whole is None:  # nobody was taken: a peer that takes none at all would not take fewer
        return Portion(before.left[:most], before.left[most:], answered)
    if not whole.reply.is_positive:
        return Portion(answered=answered + _the_same(before.left, whole))
    refused = [answer for answer in replies if _is_one_too_many(answer.stage, answer.reply)]
    if not refused:
        return Portion(before.left[:most], before.left[most:], answered)
    again = tuple([answer.index for answer in refused]) + before.left
    fewer = min(most, len(replies) - len(refused))
    answered = before.answered + tuple([answer for answer in replies if answer not in refused])
    return Portion(again[:fewer], again[fewer:], answered)


def without_taken(portion: Portion) -> tuple[tuple[RecipientReply, ...], Portion]:
    """Who has the message already, and the portion without them: they are settled before the next transaction."""
    taken = tuple([answer for answer in portion.answered if answer.reply.code == 250])
    if not taken:
        return (), portion
    others = tuple([answer for answer in portion.answered if answer.reply.code != 250])
    return taken, Portion(portion.recipients, portion.left, others)


def _the_same(recipients: tuple[int, ...], said: RecipientReply) -> tuple[RecipientReply, ...]:
    return tuple([RecipientReply(index, said.stage, said.reply) for index in recipients])


def _is_one_too_many(stage: Stage, reply: Reply) -> bool:
    return stage is Stage.RCPT and reply.code in _TOO_MANY and reply.enhanced in _TOO_MANY_ENHANCED
