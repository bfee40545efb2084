"""The ISP's side of the dialogue: bytes in, one joined answer out."""

from __future__ import annotations

import hashlib

import pytest

from e2e.internet.enforcement import Enforcer
from e2e.internet.policy import Capabilities, Fault, Greylist, Policy, Rate, RecipientRule, Reply, Stage
from e2e.internet.smtp_session import SmtpSession, Step

MESSAGE = b"Message-ID: <1@a.test>\r\nX-Correlation-Id:\r\n folded-7\r\nDKIM-Signature: v=1\r\n\r\nbody\r\n"
ENVELOPE = b"MAIL FROM:<s@a.test> SIZE=100\r\nRCPT TO:<r@b.test>\r\nDATA\r\n"


def session(policy: Policy | None = None, *, greeted: bool = True) -> SmtpSession:
    made = SmtpSession(Enforcer(policy or Policy()), "mx1.b.test", "203.0.113.10")
    if greeted:
        made.opened(0.0)
        made.received(b"EHLO out1.example.com\r\n", 0.0)
    return made


def codes(step: Step) -> list[int]:
    return [int(line[:3]) for line in bytes(step.replies).splitlines() if line[3:4] == b" "]


def test_a_pipelined_group_is_answered_once_after_one_round_trip() -> None:
    step = session().received(ENVELOPE, 1.0)

    assert codes(step) == [250, 250, 354]
    assert step.delay_s == pytest.approx(0.05)


def test_a_message_and_the_next_envelope_in_one_piece_are_both_taken() -> None:
    talk = session()
    talk.received(ENVELOPE, 1.0)

    step = talk.received(MESSAGE + b".\r\n" + ENVELOPE, 2.0)

    assert codes(step) == [250, 250, 250, 354]
    assert len(step.taken) == 1


def test_a_taken_message_carries_what_the_ledger_needs() -> None:
    talk = session()
    talk.received(ENVELOPE, 1.0)

    (taken,) = talk.received(MESSAGE + b".\r\n", 2.0).taken

    assert (taken.sender, taken.recipients, taken.message_id) == ("s@a.test", ("r@b.test",), "<1@a.test>")
    assert taken.correlation_id == "folded-7"
    assert taken.dkim_signed
    assert taken.size == len(MESSAGE)
    assert taken.body_sha256 == hashlib.sha256(b"body\r\n").hexdigest()
    assert taken.received == 2.0


@pytest.mark.parametrize("cut", range(1, len(MESSAGE) + 3))
def test_where_the_stream_is_cut_makes_no_difference(cut: int) -> None:
    talk = session()
    talk.received(ENVELOPE, 1.0)
    stream = MESSAGE + b".\r\n"

    first, second = talk.received(stream[:cut], 2.0), talk.received(stream[cut:], 2.0)

    assert len(first.taken) + len(second.taken) == 1
    assert codes(second) == [250]


def test_dots_are_unstuffed() -> None:
    talk = session()
    talk.received(ENVELOPE, 1.0)

    (taken,) = talk.received(b"A: b\r\n\r\n..one\r\n...two\r\n.\r\n", 2.0).taken

    assert taken.body_sha256 == hashlib.sha256(b".one\r\n..two\r\n").hexdigest()


def test_a_message_with_bare_newlines_is_refused() -> None:
    talk = session()
    talk.received(ENVELOPE, 1.0)

    step = talk.received(b"A: b\r\n\r\none\ntwo\r\n.\r\n", 2.0)

    assert codes(step) == [550]
    assert not step.taken


def test_an_empty_message_ends_at_once() -> None:
    talk = session()
    talk.received(ENVELOPE, 1.0)

    assert codes(talk.received(b".\r\n", 2.0)) == [250]


def test_the_ehlo_reply_names_what_the_policy_offers() -> None:
    talk = session(Policy(max_size=1000, capabilities=Capabilities(chunking=True, smtputf8=False)), greeted=False)
    talk.opened(0.0)

    lines = bytes(talk.received(b"EHLO x\r\n", 0.0).replies).decode().split("\r\n")[:-1]

    assert [line[4:] for line in lines] == [
        "mx1.b.test", "SIZE 1000", "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "STARTTLS", "CHUNKING",
    ]  # fmt: skip


def test_chunks_make_a_message_only_where_chunking_is_offered() -> None:
    talk = session(Policy(capabilities=Capabilities(chunking=True)))
    talk.received(ENVELOPE.replace(b"DATA\r\n", b""), 1.0)

    step = talk.received(b"BDAT 6\r\nA: b\r\nBDAT 6 LAST\r\n\r\nb.\r\n", 2.0)

    assert codes(step) == [250, 250]
    assert step.taken[0].body_sha256 == hashlib.sha256(b"b.\r\n").hexdigest()
    assert codes(session().received(b"BDAT 0 LAST\r\n", 0.0)) == [500]


def test_plain_text_behind_starttls_is_never_obeyed() -> None:
    talk = session()

    step = talk.received(b"STARTTLS\r\nMAIL FROM:<s@a.test>\r\n", 1.0)

    assert (codes(step), step.begin_tls) == ([220], True)
    assert not talk.received(b"RCPT TO:<r@b.test>\r\n", 1.0).replies
    talk.tls_begun()
    assert codes(talk.received(b"MAIL FROM:<s@a.test>\r\n", 1.0)) == [503]


def test_commands_out_of_order_are_refused() -> None:
    talk = session()

    assert codes(talk.received(b"RCPT TO:<r@b.test>\r\nDATA\r\n", 1.0)) == [503, 503]
    assert codes(talk.received(b"MAIL FROM:<s@a.test>\r\nDATA\r\n", 1.0)) == [250, 554]


def test_a_declared_size_over_the_limit_is_refused_at_mail() -> None:
    assert codes(session(Policy(max_size=99)).received(ENVELOPE, 1.0))[0] == 552


def test_a_message_over_the_limit_is_refused_at_its_end() -> None:
    talk = session(Policy(max_size=20))
    talk.received(ENVELOPE.replace(b" SIZE=100", b""), 1.0)

    assert codes(talk.received(MESSAGE + b".\r\n", 1.0)) == [552]


def test_mail_for_foreign_domains_is_refused() -> None:
    talk = session(Policy(domains=("b.test", "*.bulk-b.example")))

    step = talk.received(
        b"MAIL FROM:<s@a.test>\r\nRCPT TO:<r@B.test>\r\nRCPT TO:<r@d1.bulk-b.example>\r\nRCPT TO:<r@c.test>\r\n", 1.0
    )

    assert codes(step) == [250, 250, 250, 550]


def test_recipients_are_refused_one_by_one() -> None:
    gone = RecipientRule(match="gone@*", reply=Reply(code=550, text="5.1.1 No such user"))
    talk = session(Policy(recipients=(gone,)))

    step = talk.received(b"MAIL FROM:<s@a.test>\r\nRCPT TO:<gone@b.test>\r\nRCPT TO:<r@b.test>\r\n", 1.0)

    assert codes(step) == [250, 550, 250]
    assert [(refused.stage, refused.code, refused.recipient) for refused in step.refused] == [
        (Stage.RCPT, 550, "gone@b.test")
    ]


def test_a_greylisted_recipient_gets_450() -> None:
    assert codes(session(Policy(greylist=Greylist(delay_s=1))).received(ENVELOPE, 1.0)) == [250, 450, 554]


def test_a_message_over_the_rate_gets_421_and_the_connection_ends() -> None:
    talk = session(Policy(message_rate=Rate(messages=1)))
    talk.received(ENVELOPE, 1.0)
    talk.received(MESSAGE + b".\r\n" + ENVELOPE, 1.0)

    step = talk.received(MESSAGE + b".\r\n" + ENVELOPE, 1.5)

    assert bytes(step.replies).startswith(b"421 4.7.28 ")
    assert step.close
    assert codes(step) == [421]


def test_the_connection_over_the_limit_gets_421_as_its_banner() -> None:
    enforcer = Enforcer(Policy(max_connections_per_ip=1))
    SmtpSession(enforcer, "mx1.b.test", "203.0.113.10").opened(0.0)

    step = SmtpSession(enforcer, "mx1.b.test", "203.0.113.10").opened(0.0)

    assert bytes(step.replies).startswith(b"421 4.7.0 ")
    assert step.close


def test_an_unavailable_isp_says_so_instead_of_a_banner() -> None:
    step = session(Policy(unavailable=Reply(code=421, text="4.3.2 Not now")), greeted=False).opened(0.0)

    assert bytes(step.replies) == b"421 4.3.2 Not now\r\n"
    assert step.close


def test_an_address_on_the_block_list_is_told_so_with_each_message_and_others_are_taken() -> None:
    enforcer = Enforcer(Policy(blocked={"203.0.113.10": Reply(code=550, text="5.7.1 on our block list")}))
    for source, expected in (
        ("203.0.113.10", b"550 5.7.1 on our block list\r\n"),
        ("203.0.113.11", b"250 2.1.0 Ok\r\n"),
    ):
        talk = SmtpSession(enforcer, "mx1.b.test", source)
        talk.opened(0.0)
        talk.received(b"EHLO x\r\n", 0.0)
        for _ in range(2):
            step = talk.received(b"MAIL FROM:<s@a.test>\r\n", 0.0)
            assert bytes(step.replies) == expected
            talk.received(b"RSET\r\n", 0.0)


def reach(talk: SmtpSession, stage: Stage) -> Step:
    """Talks up to a stage; the Step of the words that reach it."""
    step = talk.opened(0.0)
    if stage in (Stage.CONNECT, Stage.BANNER):
        return step
    dialogue = [
        (Stage.EHLO, b"EHLO x\r\n"),
        (Stage.STARTTLS, b"STARTTLS\r\n"),
        (Stage.MAIL, b"MAIL FROM:<s@a.test>\r\n"),
        (Stage.RCPT, b"RCPT TO:<r@b.test>\r\n"),
        (Stage.DATA, b"DATA\r\n"),
        (Stage.END_OF_DATA, MESSAGE + b".\r\n"),
    ]
    for name, words in dialogue:
        if name is Stage.STARTTLS and stage is not Stage.STARTTLS:
            continue
        step = talk.received(words, 0.0)
        if name is stage:
            return step
    raise AssertionError(stage)


@pytest.mark.parametrize("stage", list(Stage))
def test_a_stall_at_any_stage_answers_never_again(stage: Stage) -> None:
    talk = session(Policy(faults={stage: Fault(action="stall")}), greeted=False)

    step = reach(talk, stage)

    assert codes(step) == []
    assert not step.close
    assert not step.abort
    assert not step.taken
    assert not talk.received(b"NOOP\r\n", 9.0).replies


@pytest.mark.parametrize("stage", list(Stage))
def test_a_drop_at_any_stage_ends_the_connection_without_an_answer(stage: Stage) -> None:
    step = reach(session(Policy(faults={stage: Fault(action="drop")}), greeted=False), stage)

    assert codes(step) == []
    assert step.abort or step.close
    assert not step.taken


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.CONNECT])
def test_a_scripted_reply_at_any_stage_is_given_and_recorded(stage: Stage) -> None:
    reply = Reply(code=451, text="4.3.0 Scripted")

    step = reach(session(Policy(faults={stage: Fault(action="reply", reply=reply)}), greeted=False), stage)

    assert bytes(step.replies) == b"451 4.3.0 Scripted\r\n"
    assert [(refused.stage, refused.code) for refused in step.refused] == [(stage, 451)]


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.CONNECT])
def test_a_delay_of_a_stage_comes_on_top_of_the_round_trip(stage: Stage) -> None:
    step = reach(session(Policy(round_trip_s=0.05, delays={stage: 3.0}), greeted=False), stage)

    assert step.delay_s == pytest.approx(3.05)


@pytest.mark.parametrize("stage", [Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA])
def test_what_stalled_goes_on_where_it_stood_once_the_isp_wakes(stage: Stage) -> None:
    talk = session(Policy(faults={stage: Fault(action="stall")}), greeted=False)
    talk.opened(0.0)
    said = [codes(talk.received(part, 1.0)) for part in (b"EHLO out1.example.com\r\n", ENVELOPE, MESSAGE + b".\r\n")]
    assert [250] not in said[2:]

    talk.enforcer.change(Policy())
    step = talk.resume(5.0)

    assert step is not None
    assert [code for part in said for code in part] + codes(step) == [250, 250, 250, 354, 250]
    assert [one.recipients for one in step.taken] == [("r@b.test",)]
    assert talk.resume(6.0) is None


def test_what_has_not_stalled_is_not_resumed() -> None:
    talk = session()
    talk.received(ENVELOPE, 1.0)
    assert talk.resume(2.0) is None
