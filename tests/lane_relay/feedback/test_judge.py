"""What a report comes to, and above all whom it suppresses."""

import pytest

from lane_api.isppolicy import Category
from lane_relay.account.records import RecordType
from lane_relay.deliver.rules import ReplyTable
from lane_relay.feedback.judge import Finding, judge_report, proved
from lane_relay.feedback.suppressions import Reason
from lane_relay.mail.reports.reading import Failure, Kind, Reading
from lane_relay.mail.token import SEVERAL, Token, TokenKind, address_digest, read_token, write_token

KEY = b"k" * 32
TABLE = ReplyTable()
ANN = Token(TokenKind.BOUNCE, 7, 0, address_digest(KEY, "ann@example.org"))


def judged(reading: Reading, token: Token | None = ANN) -> Finding:
    return judge_report(reading, token, lambda address: address_digest(KEY, address), TABLE.judge)


def bounce(recipient: str, status: str = "5.1.1", text: str = "550 5.1.1 no such user", **more: str) -> Reading:
    return Reading(Kind.BOUNCE, "rfc3464", (Failure(recipient, more.get("original", ""), status, 550, text),))


def test_a_mailbox_that_does_not_exist_is_suppressed() -> None:
    found = judged(bounce("ANN@example.org"))
    assert (found.record, found.category, found.suppress) == (RecordType.OOB, Category.BAD_MAILBOX, Reason.HARD_BOUNCE)
    assert found.recipient == "ANN@example.org"
    assert str(found.reply) == "550 5.1.1 no such user"


def test_a_report_that_names_nobody_is_about_whom_the_token_is_about() -> None:
    assert judged(bounce("")).suppress is Reason.HARD_BOUNCE


def test_the_original_recipient_counts_where_a_server_has_rewritten_the_address() -> None:
    found = judged(bounce("x500-ann@tenant.example", original="ann@example.org"))
    assert (found.suppress, found.recipient) == (Reason.HARD_BOUNCE, "ann@example.org")


def test_of_several_recipients_the_tokens_own_is_taken() -> None:
    reading = Reading(
        Kind.BOUNCE,
        "rfc3464",
        (
            Failure("bob@example.org", "", "5.2.2", 552, "552 5.2.2 mailbox full"),
            Failure("ann@example.org", "", "5.1.1", 550, "550 5.1.1 unknown"),
        ),
    )
    assert judged(reading).category is Category.BAD_MAILBOX


@pytest.mark.parametrize(
    ("reading", "token"),
    [
        (bounce("eve@example.org"), ANN),
        (bounce("ann@example.org"), Token(TokenKind.BOUNCE, 7, SEVERAL)),
        (bounce("ann@example.org", "5.2.2", "552 5.2.2 mailbox full"), ANN),
        (bounce("ann@example.org", "5.7.1", "550 5.7.1 blocked for spam, see our policy"), ANN),
        (Reading(Kind.DELAY, "rfc3464", (Failure("ann@example.org", "", "4.4.1", 0, "timed out"),)), ANN),
        (Reading(Kind.BOUNCE, "generic"), ANN),
    ],
    ids=["somebody else", "a token of several", "full", "policy", "a delay", "says nothing"],
)
def test_a_report_that_says_less_suppresses_nobody_and_is_on_record(reading: Reading, token: Token) -> None:
    found = judged(reading, token)
    assert found.suppress is None
    assert found.record is RecordType.OOB


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("abuse", Reason.COMPLAINT), ("fraud", Reason.COMPLAINT), ("opt-out", Reason.UNSUBSCRIBE), ("virus", None)],
)
def test_a_complaint_suppresses_by_its_type(kind: str, reason: Reason | None) -> None:
    found = judged(Reading(Kind.COMPLAINT, "arf", feedback_type=kind))
    assert (found.record, found.suppress) == (RecordType.FEEDBACK, reason)


@pytest.mark.parametrize("kind", [Kind.COMPLAINT, Kind.BOUNCE, Kind.DELAY, Kind.SUCCESS])
def test_without_a_token_nothing_counts_and_a_sample_is_kept(kind: Kind) -> None:
    assert judged(Reading(kind, "arf", feedback_type="abuse"), None) == Finding("unproved", keep_sample=True)


@pytest.mark.parametrize("kind", [Kind.AUTOMATIC, Kind.NOT_SPAM])
def test_what_asks_for_nothing_gets_nothing(kind: Kind) -> None:
    assert judged(Reading(kind, "arf")) == Finding(kind.value)


def test_the_first_token_that_is_ours_is_believed_and_that_of_the_address_before_all() -> None:
    person = Token(TokenKind.PERSON, 8, 0, ANN.digest)
    reading = Reading(Kind.COMPLAINT, "arf", tokens=("a" * 60, write_token(KEY, person)))
    assert proved(reading, None, lambda text: read_token(KEY, text)) == person
    assert proved(reading, ANN, lambda text: read_token(KEY, text)) == ANN
    assert proved(Reading(Kind.COMPLAINT, "arf", tokens=("a" * 60,)), None, lambda text: read_token(KEY, text)) is None


def test_the_header_that_comes_back_tells_the_address_where_the_report_does_not_and_no_other() -> None:
    header = b'Received: by eve@example.org\nSubject: hello\nTo: "Eve, A." <eve@example.org>,\n Ann <Ann@example.org>\n'
    reading = Reading(Kind.BOUNCE, "generic", (Failure("pseudonym@elsewhere.example"),), returned=header)
    found = judged(reading)
    assert (found.recipient, found.suppress) == ("Ann@example.org", None)
    other = Token(TokenKind.BOUNCE, 7, 0, address_digest(KEY, "bob@example.org"))
    assert judged(reading, other).recipient == ""
    assert judged(reading, Token(TokenKind.BOUNCE, 7, SEVERAL)).recipient == ""
