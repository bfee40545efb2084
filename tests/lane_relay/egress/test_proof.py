"""The proof's rules, one sentence each, without a socket or a clock."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.egress.proof import Claim, Observation, Outcome, Proof, ProofState, Reflector, retry_delay

OURS, OTHER = "203.0.113.10", "198.51.100.9"
A, B, C = Reflector("a.example"), Reflector("b.example"), Reflector("c.example")
A_ALT = Reflector("a.example", 2525)


def claim(*reflectors: Reflector) -> Claim:
    return Claim(OURS, OURS, reflectors)


def seen(reflector: Reflector, address: str = OURS, at: float = 1.0) -> Observation:
    return Observation(reflector, Outcome.SEEN, at, address)


def said(reflector: Reflector, outcome: Outcome, at: float = 1.0) -> Observation:
    return Observation(reflector, outcome, at)


def after(proof: Proof, *observations: Observation) -> ProofState:
    proof.begin_round()
    for observation in observations:
        proof.observe(observation)
    return proof.status.state


def test_a_shared_address_needs_no_proof() -> None:
    status = Proof(Claim(), 0.0).status
    assert (status.state, status.may_send) == (ProofState.NOT_NEEDED, True)


def test_a_slot_never_proved_in_this_process_life_is_shut() -> None:
    status = Proof(claim(A), 0.0).status
    assert (status.state, status.may_send) == (ProofState.UNPROVED, False)


def test_an_address_without_reflectors_stays_shut_and_names_the_field() -> None:
    status = Proof(claim(), 0.0).status
    assert not status.may_send
    assert "egress.proof.reflectors" in status.message


@pytest.mark.parametrize("reflectors", [(A,), (A, B)])
def test_any_one_of_one_or_two_reflectors_proves(reflectors: tuple[Reflector, ...]) -> None:
    assert after(Proof(claim(*reflectors), 0.0), seen(A)) is ProofState.PROVED


def test_two_of_three_reflectors_must_agree() -> None:
    proof = Proof(claim(A, B, C), 0.0)
    assert after(proof, seen(A), said(B, Outcome.REFUSED), said(C, Outcome.REFUSED)) is ProofState.UNPROVED
    assert after(proof, seen(A), seen(B)) is ProofState.PROVED


def test_a_mismatch_shuts_at_once() -> None:
    proof = Proof(claim(A, B, C), 0.0)
    assert after(proof, seen(A), seen(B), seen(C)) is ProofState.PROVED
    assert after(proof, seen(A, OTHER)) is ProofState.MISMATCH
    assert not proof.status.may_send
    assert OTHER in proof.status.message


def test_one_lying_reflector_of_two_shuts() -> None:
    assert after(Proof(claim(A, B), 0.0), seen(A), seen(B, OTHER)) is ProofState.MISMATCH


def test_a_slot_shut_by_one_of_two_stays_shut_until_that_one_is_heard_again() -> None:
    proof = Proof(claim(A, B), 0.0)
    after(proof, seen(A), seen(B, OTHER))
    assert after(proof, seen(A)) is ProofState.MISMATCH  # the other has not taken back what it saw
    assert not proof.status.may_send
    assert proof.observe(seen(B, OTHER)).state is ProofState.MISMATCH
    assert after(proof, seen(A)) is ProofState.MISMATCH
    assert proof.observe(seen(B)).state is ProofState.PROVED
    assert after(proof, seen(A)) is ProofState.PROVED


def test_a_reflector_that_saw_another_address_disagrees_through_its_silence_until_it_counts_as_dead() -> None:
    proof = Proof(claim(A, B), 0.0)
    for _ in range(3):  # wrong, silent, wrong, silent: a lossy path is no proof
        assert after(proof, seen(A), seen(B, OTHER)) is ProofState.MISMATCH
        assert after(proof, seen(A), said(B, Outcome.TIMED_OUT)) is ProofState.MISMATCH
    after(proof, seen(B, OTHER))
    for _ in range(5):
        assert after(proof, seen(A), said(B, Outcome.TIMED_OUT)) is ProofState.MISMATCH
    assert after(proof, seen(A), said(B, Outcome.TIMED_OUT)) is ProofState.PROVED


def test_a_reflector_outvoted_before_shuts_nothing_while_the_others_are_to_be_heard() -> None:
    proof = Proof(claim(A, B, C), 0.0)
    assert after(proof, seen(A), seen(B), seen(C, OTHER)) is ProofState.PROVED
    for _ in range(3):
        assert after(proof, seen(C, OTHER)) is ProofState.PROVED
        assert proof.observe(seen(A)).may_send
        assert proof.observe(seen(B)).state is ProofState.PROVED
    assert after(proof, seen(C, OTHER), seen(A, OTHER)) is ProofState.MISMATCH


def test_a_reflector_outvoted_before_shuts_when_the_round_is_over_and_nobody_outvotes_it() -> None:
    proof = Proof(claim(A, B, C), 0.0)
    after(proof, seen(A), seen(B), seen(C, OTHER))
    assert after(proof, seen(C, OTHER), seen(A), said(B, Outcome.TIMED_OUT)) is ProofState.MISMATCH


def test_two_of_three_that_agree_outvote_the_silent_word_of_the_third() -> None:
    proof = Proof(claim(A, B, C), 0.0)
    assert after(proof, seen(A, OTHER), seen(B, OTHER)) is ProofState.MISMATCH
    assert after(proof, seen(A), said(B, Outcome.TIMED_OUT), seen(C)) is ProofState.PROVED


def test_a_reflector_taken_out_of_the_claim_has_no_say_any_more() -> None:
    proof = Proof(claim(A, B), 0.0)
    after(proof, seen(A), seen(B, OTHER))
    proof.change_claim(claim(A), 2.0)
    assert after(proof, seen(A)) is ProofState.PROVED


def test_one_lying_reflector_of_three_is_outvoted_and_named() -> None:
    proof = Proof(claim(A, B, C), 0.0)
    assert after(proof, seen(A, OTHER), seen(B), seen(C)) is ProofState.PROVED
    assert OTHER in proof.status.message


def test_a_reflectors_outage_never_shuts_a_proved_slot() -> None:
    proof = Proof(claim(A), 0.0)
    after(proof, seen(A))
    assert after(proof, said(A, Outcome.TIMED_OUT)) is ProofState.PROOF_STALE
    assert proof.status.may_send
    assert proof.status.at == 1.0
    assert after(proof, seen(A, at=9.0)) is ProofState.PROVED


def test_silence_after_a_mismatch_keeps_the_slot_shut() -> None:
    proof = Proof(claim(A), 0.0)
    after(proof, seen(A))
    after(proof, seen(A, OTHER))
    assert after(proof, said(A, Outcome.REFUSED)) is ProofState.MISMATCH
    assert after(proof, seen(A)) is ProofState.PROVED


@pytest.mark.parametrize("change", [{"address": OTHER}, {"source": OTHER}])
def test_a_changed_address_or_source_shuts(change: dict[str, str]) -> None:
    proof = Proof(claim(A), 0.0)
    after(proof, seen(A))
    proof.change_claim(replace(claim(A), **change), 5.0)  # type: ignore[arg-type]  # two string fields
    assert proof.status.state is ProofState.UNPROVED


def test_a_changed_list_of_reflectors_keeps_what_is_proved() -> None:
    proof = Proof(claim(A), 0.0)
    after(proof, seen(A))
    proof.change_claim(claim(B, C), 5.0)
    assert proof.status.may_send


def test_an_answer_of_an_older_claims_reflector_is_ignored() -> None:
    proof = Proof(claim(A), 0.0)
    assert after(proof, seen(B)) is ProofState.UNPROVED


def test_a_closed_port_25_is_told_apart_by_another_port_of_the_same_reflector() -> None:
    proof = Proof(claim(A, A_ALT), 0.0)
    assert after(proof, seen(A_ALT)) is ProofState.UNPROVED  # port 25 was not heard of yet
    assert proof.observe(said(A, Outcome.TIMED_OUT)).state is ProofState.PORT_BLOCKED
    assert "port 25" in proof.status.message
    assert not proof.status.may_send


def test_a_closed_port_25_is_told_apart_by_another_reflector_on_another_port() -> None:
    far = Reflector("b.example", 2525)
    assert after(Proof(claim(A, far), 0.0), said(A, Outcome.TIMED_OUT), seen(far)) is ProofState.PORT_BLOCKED


def test_no_reflector_that_answers_anywhere_is_not_a_closed_port() -> None:
    proof = Proof(claim(A, A_ALT), 0.0)
    assert after(proof, said(A, Outcome.TIMED_OUT), said(A_ALT, Outcome.TIMED_OUT)) is ProofState.UNPROVED
    assert "did not let us connect in time" in proof.status.message


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.BAD_ANSWER, Outcome.NO_NAME])
def test_a_reflector_that_is_down_is_not_a_closed_port(outcome: Outcome) -> None:
    assert after(Proof(claim(A, A_ALT), 0.0), said(A, outcome), seen(A_ALT)) is ProofState.PROVED


def test_one_of_two_mail_ports_that_refuses_shows_an_open_path() -> None:
    proof = Proof(claim(A, B, A_ALT), 0.0)
    observations = said(A, Outcome.TIMED_OUT), said(B, Outcome.REFUSED), seen(A_ALT)
    assert after(proof, *observations) is ProofState.UNPROVED  # one agrees, two of three must


def test_a_proved_slot_whose_port_25_goes_silent_keeps_sending() -> None:
    proof = Proof(claim(A, A_ALT), 0.0)
    assert after(proof, seen(A), seen(A_ALT)) is ProofState.PROVED
    assert after(proof, seen(A_ALT), said(A, Outcome.TIMED_OUT)) is ProofState.PROOF_STALE


def test_a_wrong_address_on_another_port_is_still_a_mismatch() -> None:
    proof = Proof(claim(A, A_ALT), 0.0)
    assert after(proof, said(A, Outcome.TIMED_OUT), seen(A_ALT, OTHER)) is ProofState.MISMATCH


OUTCOMES = st.sampled_from(list(Outcome))
ROUNDS = st.lists(
    st.lists(st.tuples(st.sampled_from([A, B, C, A_ALT]), OUTCOMES, st.sampled_from([OURS, OTHER])), max_size=4),
    max_size=8,
)


@given(st.sets(st.sampled_from([A, B, C, A_ALT])), ROUNDS)
def test_the_gate_never_opens_before_a_quorum_saw_our_address(
    reflectors: set[Reflector], rounds: list[list[tuple[Reflector, Outcome, str]]]
) -> None:
    proof = Proof(claim(*sorted(reflectors)), 0.0)
    for round_ in rounds:
        proof.begin_round()
        agreeing: dict[Reflector, bool] = {}
        for reflector, outcome, address in round_:
            shut = not proof.status.may_send
            agreeing[reflector] = outcome is Outcome.SEEN and address == OURS and reflector in reflectors
            proof.observe(Observation(reflector, outcome, 1.0, address if outcome is Outcome.SEEN else ""))
            if shut and proof.status.may_send:
                assert sum(agreeing.values()) >= proof.claim.quorum


def test_retries_start_at_a_second_and_never_wait_longer_than_thirty() -> None:
    assert retry_delay(0, 0.0) == 1.0
    assert [retry_delay(n, 1.0) for n in (0, 3, 50)] == [0.75, 6.0, 22.5]
    assert retry_delay(10**6, 0.0) == 30.0
