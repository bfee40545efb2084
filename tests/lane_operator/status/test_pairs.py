"""A slot with an address of each family of which one is not proved: it sends, and it shows."""

from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, status, verdict


def test_an_address_of_a_pair_that_is_not_proved_shows_while_the_other_one_sends() -> None:
    text = "2001:db8::10: no reflector answers (mail leaves from 203.0.113.11)"
    half = made.seen(1, proof_state="Unproved", gate_open=True, proof_message=text)
    said = status(seen=made.observation(made.seen(0), half))

    assert verdict(said, "EgressVerified") == ("False", "ProbeFailed")
    assert f"not every address is proved: otp-1 (203.0.113.11): {text}" == message(said, "EgressVerified")
    assert (verdict(said, "Ready") or ("", ""))[0] == "True"
    assert said.slots[1].egress_verified
