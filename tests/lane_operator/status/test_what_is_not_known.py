"""What a lane says of slots that nobody asks for now, and of reflectors that confirm nothing: no guess as a fact."""

from lane_api.conditions import Reason
from lane_operator.inputs import Assignment, Observation, Refusal
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, settled, status, verdict

FORBIDDEN = Refusal(Reason.FORBIDDEN, "Secret otp-proof is not the lane's", waiting=Reason.FORBIDDEN)


def test_a_slot_that_nobody_can_ask_is_not_said_to_be_silent() -> None:
    unasked = (made.seen(0, reachable=False, is_asked=False), made.seen(1, reachable=False, is_asked=False))
    said = status(settled(), seen=made.observation(*unasked), refusals=(FORBIDDEN,))

    assert "False" in (verdict(said, "Ready") or ())
    assert "otp-0 is not asked until what the lane waits for is there" in message(said, "Ready")
    told = [*(one.message for one in said.conditions), *(one.message for one in said.slots)]
    assert "does not answer" not in "".join(told)


def test_a_given_certificate_that_was_seen_is_in_use_also_while_its_secret_is_out_of_sight() -> None:
    of = made.lane(submission={"senders": ["@notify.example.com"], "tls": {"secretName": "lane-tls"}})
    last = {"reachable": False, "is_asked": False, "certificate_self_signed": False}
    seen = made.observation(made.seen(0, **last), made.seen(1, **last))
    said = status(of, seen=seen, refusals=(FORBIDDEN,), references={"secrets": {}})

    assert verdict(said, "CertificateReady") == ("True", "Issued")


def test_a_lane_without_a_slot_says_nothing_of_what_slots_show_or_have_found() -> None:
    said = status(made.lane(), Observation(), Assignment(), refusals=(FORBIDDEN,))

    assert verdict(said, "CertificateReady") == ("False", "SelfSigned")
    assert message(said, "CertificateReady").startswith("no slot has said yet which certificate it shows; without one")
    assert "set submission.tls.secretName" in message(said, "CertificateReady")
    assert verdict(said, "EgressVerified") == ("Unknown", "NotProbed")
    assert message(said, "EgressVerified") == "no slot has an address yet"
    of = made.lane(submission={"senders": ["@notify.example.com"], "tls": {"secretName": "lane-tls"}})
    given = status(of, Observation(), Assignment(), references={"secrets": {}})
    assert message(given, "CertificateReady").endswith("Secret lane-tls is not in use yet")
    shown = status(made.lane())
    assert message(shown, "CertificateReady").startswith("each slot shows a certificate that it made itself")


def test_reflectors_that_confirm_nothing_are_told_with_what_each_said_and_whose_key_it_should_be() -> None:
    stale = "proved before, but not confirmed now: 198.51.100.5: the signature is wrong"
    seen = made.observation(made.seen(0), made.seen(1, proof_state="ProofStale", proof_message=stale))
    said = status(settled(), seen=seen)

    assert verdict(said, "EgressVerified") == ("True", "ProofStale")
    assert f"otp-1 (203.0.113.11): {stale}" in message(said, "EgressVerified")
    assert "their key is the one in Secret reflector" in message(said, "EgressVerified")
    assert "otp-0" not in message(said, "EgressVerified")
