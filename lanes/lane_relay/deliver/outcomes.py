"""From replies, or their absence, to the results of an attempt; pure.

Before it: what a session reports. After it: `dispatcher`, which hands the Attempt on to `account`.
Invariant: every recipient of the entry gets exactly one result.
"""

from collections.abc import Iterable

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_relay.deliver.default_rules import CLOSING_RULES
from lane_relay.deliver.prepared import Prepared
from lane_relay.deliver.ready_queue import Failure
from lane_relay.deliver.rules import DELIVERED, ReplyTable
from lane_relay.deliver.trouble import Ending, Trouble
from lane_relay.records import Message, QueueEntry, RecipientResult, Record, Reply, Verdict
from lane_relay.smtp.client import Closed, RecipientReply

__all__ = [
    "Summary",
    "broken_results",
    "end_of_session",
    "failure_of",
    "later_results",
    "not_looked_at",
    "reply_results",
    "same_results",
    "summarise",
    "unfit_results",
]


_CLOSES = 421
_SAYS_NO_MORE = (Action.RETRY, Action.ALERT)
"""Actions that stop and slow down nothing."""
_ENDS_SESSION = (Scope.SITE, Scope.IP, Scope.LANE)


class Summary(Record, frozen=True, gc=False):
    """What an attempt means beyond its recipients."""

    delivered: bool
    """Every recipient was accepted."""
    acts: tuple[RecipientResult, ...] = ()
    """Results that ask for more than another try: the first of each rule."""
    end_session: bool = False
    """The connection is of no more use."""


def failure_of(table: ReplyTable, policy: str, trouble: Trouble) -> Failure:
    """What it means for a site of this policy that a connection came to nothing."""
    if trouble.category is not None:
        verdict = table.local(policy, trouble.category)
    else:
        verdict = table.judge(policy, trouble.stage, trouble.reply)
        if verdict.action is None:  # a 2yz that is no greeting
            verdict = table.local(policy, Category.PROTOCOL_ERRORS)
    ours, own_words = trouble.ours or trouble.tls is not None, trouble.category is not None
    return Failure(trouble.stage, trouble.reply, verdict, trouble.tls, ours, own_words)


def _locals(message: Message, indexes: Iterable[int]) -> tuple[str, ...]:
    """Local parts that a refusal may repeat."""
    return tuple([message.envelope.recipients[index].rpartition("@")[0] for index in indexes])


def reply_results(
    table: ReplyTable, policy: str, message: Message, replies: tuple[RecipientReply, ...]
) -> tuple[RecipientResult, ...]:
    """The peer's answers, judged; what bounces the message bounces it for all that were not taken."""
    refused = [one.index for one in replies if one.reply.code != 250]
    locals_ = _locals(message, refused) if refused else ()
    results = tuple(
        [
            RecipientResult(
                answer.index,
                answer.stage,
                answer.reply,
                DELIVERED if answer.reply.code == 250 else table.judge(policy, answer.stage, answer.reply, locals_),
            )
            for answer in replies
        ]
    )
    return results if len(results) == 1 else _of_the_message(results)


def _of_the_message(results: tuple[RecipientResult, ...]) -> tuple[RecipientResult, ...]:
    final = next(
        (one for one in results if one.verdict.action is Action.BOUNCE and one.verdict.scope is Scope.MESSAGE), None
    )
    if final is None:
        return results
    return tuple(
        one
        if one.verdict.action is None or one.verdict.action is Action.BOUNCE
        else RecipientResult(one.index, final.stage, final.reply, final.verdict)
        for one in results
    )


def broken_results(
    table: ReplyTable, policy: str, prepared: Prepared, closed: Closed, where: str, ending: Ending
) -> tuple[RecipientResult, ...]:
    """Of a transaction whose connection ended: who was refused before keeps that reply, the others are tried again."""
    entry = prepared.entry
    refused = {answer.index: answer for answer in closed.refused}
    locals_ = _locals(prepared.message, entry.recipients)
    if closed.reply is not None:
        rest, verdict = closed.reply, table.judge(policy, closed.stage, closed.reply, locals_)
    else:
        rest = _broken_reply(closed, where, ending)
        category = Category.NO_ANSWER_FROM_HOST if ending is Ending.TIMEOUT else Category.BAD_CONNECTION
        verdict = table.local(policy, Category.PROTOCOL_ERRORS if closed.problem else category)
        if ending is Ending.STOP:  # no rule of the peer's says how long our own stop lasts
            verdict = Verdict(Category.OTHER, Action.RETRY, Scope.MESSAGE, retry_after=0.0)
    results, ours = [], ending is Ending.STOP and closed.reply is None
    for index in entry.recipients:
        own = refused.get(index)
        if own is not None:
            verdict_of_own = table.judge(policy, own.stage, own.reply, locals_)
            results.append(RecipientResult(index, own.stage, own.reply, verdict_of_own))
        else:
            results.append(RecipientResult(index, closed.stage, rest, verdict, ours, own_words=closed.reply is None))
    return tuple(results)


def not_looked_at(table: ReplyTable, policy: str, stage: Stage, reply: Reply | None) -> bool:
    """Whether a kept connection's end says nothing of the message: the peer had ended it while it was idle.

    Without a word, or with the 421 of a server that gave up waiting (RFC 5321 section 3.8), which crosses our MAIL.
    """
    if stage is not Stage.MAIL:
        return False
    return reply is None or (reply.code == _CLOSES and table.judge(policy, stage, reply).rule in CLOSING_RULES)


def same_results(entry: QueueEntry, failure: Failure) -> tuple[RecipientResult, ...]:
    """One outcome for all recipients."""
    stage, reply, verdict, ours, own = failure.stage, failure.reply, failure.verdict, failure.ours, failure.own_words
    return tuple([RecipientResult(index, stage, reply, verdict, ours, own) for index in entry.recipients])


def later_results(recipients: tuple[int, ...]) -> tuple[RecipientResult, ...]:
    """Of those for whom another transaction could not follow at once, by the limits of the site: they are due now."""
    if not recipients:
        return ()
    reply = Reply(451, ("4.5.3 the recipients of one transaction are not all that the message is for; these are next",))
    verdict = Verdict(Category.RATE_LIMITED, Action.RETRY, Scope.RECIPIENT, retry_after=0.0)
    return tuple(
        [RecipientResult(index, Stage.RCPT, reply, verdict, ours=True, own_words=True) for index in recipients]
    )


def unfit_results(entry: QueueEntry, refusal: Reply, *, unsure: bool = False) -> tuple[RecipientResult, ...]:
    """Our own refusal of a message that no host can take by what it offers; `unsure`: one has not said all of that."""
    if unsure:
        text = f"4{refusal.lines[0][1:]}; not every host has said what it offers"
        later = Verdict(Category.PROTOCOL_ERRORS, Action.RETRY, Scope.MESSAGE)
        return same_results(entry, Failure(Stage.MAIL, Reply(451, (text,)), later, ours=True, own_words=True))
    verdict = Verdict(Category.CONTENT_RELATED, Action.BOUNCE, Scope.MESSAGE)
    return same_results(entry, Failure(Stage.MAIL, refusal, verdict, ours=True, own_words=True))


def end_of_session(results: tuple[RecipientResult, ...]) -> RecipientResult | None:
    """What ended the session without asking for an act of its own, so that its host may be asked again at once."""
    for result in results:
        if result.verdict.scope in _ENDS_SESSION and result.verdict.action in _SAYS_NO_MORE:
            return result
    return None


def summarise(results: tuple[RecipientResult, ...]) -> Summary:
    """What the results ask of the site and the connection."""
    delivered, end_session = True, False
    acts: dict[str, RecipientResult] = {}
    for result in results:
        verdict = result.verdict
        if verdict.action is None:
            continue
        delivered = False
        if verdict.scope in _ENDS_SESSION:
            end_session = True
        if verdict.action is not Action.RETRY and verdict.action is not Action.BOUNCE:
            acts.setdefault(verdict.rule, result)
    return _DELIVERED if delivered else Summary(False, tuple(acts.values()), end_session)


_DELIVERED = Summary(True)


def _broken_reply(closed: Closed, where: str, ending: Ending) -> Reply:
    after = " after the whole message was sent; it may have been delivered" if closed.after_dot else ""
    if closed.unsent:
        after = " before the whole message was sent"
    if ending is Ending.STOP:
        return Reply(421, (f"4.3.2 this relay stopped while {where} was still to answer{after}",))
    what = "did not answer in time" if ending is Ending.TIMEOUT else (closed.problem or "dropped the connection")
    if ending is Ending.TIMEOUT and closed.unsent:
        what, after = "did not take the message in time", ""
    return Reply(421, (f"4.4.2 {where}: {what}{after}",))
