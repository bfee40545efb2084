"""Return paths and the fields that make a message's complaints known again."""

import email

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.feedback.return_path import Keys, ReturnPaths
from lane_relay.mail.token import SEVERAL, TokenKind, address_digest, read_token
from lane_relay.records import Envelope, Message

KEYS = Keys(b"k" * 32, b"s" * 32)
BODY = b"From: shop@brand.test\r\nTo: ann@isp.test\r\nSubject: x\r\n\r\nhello\r\n"


def paths(traffic_class: str = "Bulk", scope: str = "Lane", **path: str) -> ReturnPaths:
    return ReturnPaths(
        RelayConfig.model_validate(
            {
                "lane": {"name": "news", "trafficClass": traffic_class},
                "slot": {"name": "news-0", "hostname": "out1.brand.test"},
                "spool": {"path": "/unused"},
                "records": {"path": "/unused"},
                "domains": [
                    {"name": "brand.test", "mode": "Off", "returnPath": {"domain": "b.brand.test", **path}},
                    {"name": "plain.test", "mode": "Off"},
                ],
                "feedback": {"keyFile": "/unused", "unsubscribe": {"url": "https://u.brand.test"}},
                "suppression": {"path": "/unused", "keyFile": "/unused", "scope": scope},
            }
        ),
        KEYS,
    )


def message(
    *recipients: str, sender: str = "shop@brand.test", body: bytes = BODY, domain: str = "brand.test"
) -> Message:
    return Message(77, Envelope(sender, recipients or ("ann@isp.test",)), body, from_domain=domain)


def test_the_return_path_says_message_and_recipient() -> None:
    made = paths().sender(message("ann@isp.test", "bob@isp.test"), (1,)) or ""
    token = read_token(KEYS.feedback, made.removeprefix("b-").removesuffix("@b.brand.test"))
    assert token is not None
    assert (token.kind, token.id, token.index) == (TokenKind.BOUNCE, 77, 1)
    assert token.digest == address_digest(KEYS.suppression, "bob@isp.test")


def test_several_recipients_have_one_that_names_nobody() -> None:
    made = paths().sender(message("ann@isp.test", "bob@isp.test"), (0, 1)) or ""
    token = read_token(KEYS.feedback, made[2:62])
    assert token is not None
    assert (token.index, token.names_recipient) == (SEVERAL, False)


@pytest.mark.parametrize(
    ("of", "kept"),
    [(paths(), message(sender="")), (paths(mode="Keep"), message()), (paths(), message(domain="plain.test"))],
    ids=["the null sender", "Keep", "a domain without"],
)
def test_the_messages_own_sender_stays(of: ReturnPaths, kept: Message) -> None:
    assert of.sender(kept, (0,)) is None


def test_bulk_mail_to_one_gets_the_fields_of_one_click_and_keeps_its_content() -> None:
    marked = paths().marked(message())
    assert marked.body.endswith(BODY)
    header = email.message_from_bytes(marked.body)
    token = read_token(KEYS.feedback, header["CFBL-Feedback-ID"])
    assert token is not None
    assert (token.kind, token.id, token.names_recipient) == (TokenKind.PERSON, 77, True)
    assert f"<https://u.brand.test/u/{header['CFBL-Feedback-ID']}>" in header["List-Unsubscribe"]
    assert header["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert all(len(line) < 200 for line in marked.body.split(b"\r\n"))


def test_a_sender_s_own_post_field_is_not_doubled() -> None:
    own = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" + BODY
    marked = paths().marked(message(body=own)).body
    assert (marked.count(b"List-Unsubscribe:"), marked.count(b"List-Unsubscribe-Post:")) == (1, 1)


def test_what_a_sender_has_set_itself_stays_alone() -> None:
    own = b"List-Unsubscribe: <mailto:off@brand.test>\r\nCFBL-Address: x@brand.test\r\n" + BODY
    assert paths().marked(message(body=own)).body == own


def test_mail_is_marked_once_however_often_it_is_handed_over() -> None:
    once = paths().marked(message())
    assert paths().marked(once).body == once.body


@pytest.mark.parametrize(
    ("of", "unmarked"),
    [
        (paths("Transactional"), message()),
        (paths(), message("ann@isp.test", "bob@isp.test")),
    ],
    ids=["Transactional", "several recipients"],
)
def test_no_link_where_nobody_or_not_one_could_use_it(of: ReturnPaths, unmarked: Message) -> None:
    body = of.marked(unmarked).body
    assert b"List-Unsubscribe" not in body
    assert b"CFBL-Feedback-ID" in body


def test_reports_of_our_own_are_not_marked() -> None:
    report = message(sender="")
    assert paths().marked(report) is report


def test_in_the_scope_of_a_domain_the_digest_is_the_domains() -> None:
    made = paths(scope="Domain").sender(message(), (0,)) or ""
    token = read_token(KEYS.feedback, made[2:62])
    assert token is not None
    assert token.domain_scoped
    assert token.digest == address_digest(KEYS.suppression, "ann@isp.test", "brand.test")
