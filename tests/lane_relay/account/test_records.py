"""The accounting record: schema 1, and the names that KumoMTA's readers know."""

import json

import pytest
from msgspec.structs import replace

from lane_api.isppolicy import Stage
from lane_api.relayconfig import LaneIdentity, SlotIdentity
from lane_relay.account.records import RecordType, RecordWriter, Response
from lane_relay.account.settle import Outcome
from lane_relay.audit.recipients import digest
from lane_relay.audit.webhook import BATCH_BYTES, LONGEST_LINE
from lane_relay.guard import CONTAINED
from lane_relay.records import Attempt, Notify, RecipientOptions, Reply, TlsFailure, TlsResult
from tests.lane_relay.account.attempts import BOUNCE, NOW, OK, attempt, config, message

CONFIG = config()
WRITER = RecordWriter(CONFIG.lane, CONFIG.slot)


def test_a_delivery_record_says_all_that_happened() -> None:
    made = attempt(OK, attempts=3)

    written = json.loads(WRITER.attempt(made, made.results[0], Outcome.DELIVERED))

    assert written == {
        "type": "Delivery",
        "schema": 1,
        "lane": "shop/otp",
        "slot": "otp-0",
        "timestamp": NOW + 0.25,
        "id": f"{made.message.id:024x}",
        "sender": "app@lane.example",
        "recipient": "user0@example.com",
        "queue": "example.com",
        "site": "example-isp",
        "size": len(made.message.body),
        "response": {
            "code": 250,
            "enhanced_code": {"class": 2, "subject": 0, "detail": 0},
            "content": "queued",
            "command": "EndOfData",
        },
        "peer_address": {"name": "mx1.example.com", "addr": "198.51.100.7"},
        "created": NOW,
        "num_attempts": 3,
        "egress_source": "otp-0",
        "source_address": {"address": "203.0.113.10"},
        "delivery_protocol": "ESMTP",
        "tls_cipher": "TLS_AES_256_GCM_SHA384",
        "tls_protocol_version": "TLSv1.3",
        "tls_verified": True,
        "session_id": "42",
        "stage": "EndOfData",
        "message_id": "<m1@lane.example>",
        "correlation_id": "order-17",
    }


def test_a_bounce_names_its_category_and_the_rule_that_decided() -> None:
    made = attempt(BOUNCE)
    written = json.loads(WRITER.attempt(made, made.results[0], Outcome.BOUNCED))
    assert (written["type"], written["bounce_classification"], written["rule"]) == (
        "Bounce",
        "bad-mailbox",
        "default/bad-mailbox",
    )


def test_what_a_policy_asked_of_tls_is_on_record_with_its_id_and_what_failed() -> None:
    made = attempt(BOUNCE)
    tls = TlsResult(how="mta-sts", host="mx1.example.com", failure=TlsFailure.HOST_MISMATCH)
    failed = Attempt(made.entry, made.message, "", NOW, NOW, made.results, tls=tls)
    writer = RecordWriter(CONFIG.lane, CONFIG.slot, lambda domain: f"id of {domain}")
    written = json.loads(writer.attempt(failed, made.results[0], Outcome.DEFERRED))
    assert {key: value for key, value in written.items() if key.startswith("tls")} == {
        "tls_policy": "mta-sts",
        "tls_policy_id": "id of example.com",
        "tls_host": "mx1.example.com",
        "tls_failure": "certificate-host-mismatch",
    }


def test_a_record_says_whose_words_its_response_is() -> None:
    for own, said_by in ((True, "relay"), (False, None)):
        made = attempt(replace(BOUNCE, own_words=own))
        record = json.loads(WRITER.attempt(made, made.results[0], Outcome.BOUNCED))
        assert record.get("said_by") == said_by


def test_an_attempt_without_a_connection_has_no_peer() -> None:
    made = attempt(BOUNCE)
    unroutable = Attempt(made.entry, made.message, "", NOW, NOW, made.results)
    written = json.loads(WRITER.attempt(unroutable, made.results[0], Outcome.EXPIRED))
    assert written["type"] == "Expiration"
    assert not {"peer_address", "source_address", "delivery_protocol", "session_id"} & set(written)


def test_a_reception_names_all_recipients_and_the_client() -> None:
    written = json.loads(WRITER.reception(message(2), NOW))
    assert written["type"] == "Reception"
    assert written["recipient"] == ["user0@example.com", "user1@example.com"]
    assert written["peer_address"] == {"name": "", "addr": "192.0.2.9"}
    assert written["user"] == "app"


def test_a_rejection_keeps_the_null_sender_apart_from_no_sender() -> None:
    refused = Reply(550, ("5.7.1 not yours",))
    assert json.loads(WRITER.rejection(refused, NOW, stage=Stage.MAIL, client="192.0.2.1", sender=""))["sender"] == ""
    assert "sender" not in json.loads(WRITER.rejection(refused, NOW, stage=Stage.MAIL))


def test_a_refusal_names_every_recipient_the_stage_and_who_said_helo() -> None:
    refused = Reply(552, ("5.3.4 too large",))
    everybody = ("a@x.example", "b@y.example")
    written = json.loads(
        WRITER.rejection(
            refused, NOW, stage=Stage.END_OF_DATA, client="192.0.2.1", helo="app.example", recipients=everybody
        )
    )
    assert written["recipient"] == list(everybody)
    assert written["stage"] == "EndOfData"
    assert written["peer_address"] == {"name": "app.example", "addr": "192.0.2.1"}
    alone = json.loads(WRITER.rejection(refused, NOW, stage=Stage.RCPT, recipients=everybody[:1]))
    assert alone["recipient"] == "a@x.example"


def test_an_action_says_who_and_why() -> None:
    written = json.loads(WRITER.admin_action("intake Closed", "operator", "drain", NOW))
    assert (written["user"], written["meta"]) == ("operator", {"action": "intake Closed", "reason": "drain"})


def test_every_record_begins_so_that_the_journal_can_number_it() -> None:
    assert WRITER.reception(message(), NOW).startswith(b'{"')


def test_a_reception_says_how_the_message_came_in() -> None:
    for came_by, said in (("", "ESMTP"), ("HTTPS", "HTTPS")):
        made = replace(message(), protocol=came_by)

        assert json.loads(WRITER.reception(made, NOW))["reception_protocol"] == said


def test_a_lane_that_hashes_recipients_has_no_plain_one_in_any_record() -> None:
    key = b"0123456789abcdef"
    writer = RecordWriter(CONFIG.lane, CONFIG.slot, recipients_key=key)
    reply = Reply(550, ("5.1.1 <User0@example.com> unknown",))
    bounced = attempt(replace(BOUNCE, reply=reply))
    made = message()
    written = [
        writer.attempt(bounced, bounced.results[0], Outcome.BOUNCED),
        writer.reception(made, NOW),
        writer.rejection(reply, NOW, stage=Stage.RCPT, recipients=("user0@example.com",)),
    ]
    for line in written:
        assert b"user0" not in line.lower()
        assert digest(key, "user0@example.com").encode() in line
    assert json.loads(written[0])["response"]["content"] == f"<{digest(key, 'user0@example.com')}> unknown"
    assert b'"domain"' not in writer.admin_action("hold", "ops", "audit", NOW)


def test_a_reception_says_whom_redirected_mail_was_for() -> None:
    of = replace(message(), redirected_from=("b@isp.example", "c@isp.example"))

    assert json.loads(WRITER.reception(of, NOW))["meta"] == {"redirected_from": "b@isp.example\nc@isp.example"}
    hiding = RecordWriter(CONFIG.lane, CONFIG.slot, recipients_key=b"0123456789abcdef")
    hidden = json.loads(hiding.reception(of, NOW))["meta"]["redirected_from"].splitlines()
    assert hidden == [digest(b"0123456789abcdef", one) for one in of.redirected_from]
    assert "meta" not in json.loads(WRITER.reception(message(), NOW))


def test_a_reception_says_what_reports_were_asked_for() -> None:
    of = message(3)
    options = (RecipientOptions(Notify.NEVER), RecipientOptions(), RecipientOptions(Notify.FAILURE | Notify.DELAY))
    asked = replace(of, envelope=replace(of.envelope, envid="Q+3D1", options=options))
    assert json.loads(WRITER.reception(asked, NOW))["meta"] == {"envid": "Q+3D1", "notify": "NEVER - FAILURE,DELAY"}
    taken = json.loads(WRITER.taken_over(asked, NOW, "otp-1", "7"))["meta"]
    assert taken == {"from_slot": "otp-1", "origin": "7", "envid": "Q+3D1", "notify": "NEVER - FAILURE,DELAY"}


def test_an_original_recipient_is_on_record_where_recipients_are() -> None:
    of = message(2)
    options = (RecipientOptions(), RecipientOptions(orcpt="rfc822;User1+2B2@old.example"))
    asked = replace(of, envelope=replace(of.envelope, envid="for-user0@example.com", options=options))
    assert json.loads(WRITER.reception(asked, NOW))["meta"] == {
        "envid": "for-user0@example.com",
        "orcpt": "- rfc822;User1+2B2@old.example",
    }
    hiding = RecordWriter(CONFIG.lane, CONFIG.slot, recipients_key=b"0123456789abcdef")
    hidden = digest(b"0123456789abcdef", "user0@example.com")
    assert json.loads(hiding.reception(asked, NOW))["meta"] == {"envid": f"for-{hidden}"}


def test_a_report_from_outside_names_nobody_where_recipients_are_digests() -> None:
    writer = RecordWriter(
        LaneIdentity(name="otp"), SlotIdentity(name="otp-0", hostname="out1.test"), recipients_key=b"k" * 32
    )
    record = writer.returned(
        RecordType.OOB,
        1.0,
        id=1,
        response=Response(550, None, "No mailbox <ann@isp.test> (was jo@other.test)"),
        meta={"reported_recipient": "jo@other.test", "action": "failed"},
    )
    assert b"@isp.test" not in record
    assert b"@other.test" not in record
    assert b"No mailbox" in record


def test_no_record_is_longer_than_its_readers_read() -> None:
    longest = ('"' + '\\"' * 80 + '"@' + "d" * 90 + ".example",) * 10_000  # each quote is two more octets in JSON
    assert len(longest[0]) > 254, "no address is as long (RFC 5321 section 4.5.3.1.3)"
    made = replace(message(), redirected_from=longest)
    asked = RecipientOptions(Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, "rfc822;" + '"' * 493)
    made = replace(made, envelope=replace(made.envelope, recipients=longest, options=(asked,) * len(longest)))
    assert BATCH_BYTES < len(WRITER.reception(made, NOW)) < LONGEST_LINE


@pytest.mark.parametrize("key", [None, b"0123456789abcdef"], ids=["plain", "hashed"])
def test_words_that_no_record_can_hold_cost_the_record_no_more_than_themselves(key: bytes | None) -> None:
    said = Reply(550, ("5.1.1 half a character: \ud800",))  # no decoder gives one: a fault on purpose
    made = attempt(replace(BOUNCE, reply=said))
    before = CONTAINED["records"]

    writer = RecordWriter(CONFIG.lane, CONFIG.slot, recipients_key=key)
    written = json.loads(writer.attempt(made, made.results[0], Outcome.BOUNCED))

    assert CONTAINED["records"] == before + 1
    assert (written["type"], written["id"], written["response"]["code"]) == ("Bounce", f"{made.message.id:024x}", 550)
    assert "content" not in written["response"]
    assert written["recipient"] == ("user0@example.com" if key is None else digest(key, "user0@example.com"))
