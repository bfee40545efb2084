"""Mail that was taken for some of its addressees: its second try is for the others alone."""

from lane_relay.feedback.addresses import Addressee, Desk
from lane_relay.feedback.partly_taken import KEPT_S, MOST, PartlyTaken

ANN, BOB = (Addressee(Desk.COMPLAINTS, name) for name in ("a.test", "b.test"))


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_taken_is_not_taken_again_while_the_peer_tries() -> None:
    time = Time()
    known = PartlyTaken(time)
    assert known.left(b"mail", [ANN, BOB, ANN]) == (ANN, BOB)
    known.refused(b"mail", [ANN])
    assert known.left(b"mail", [ANN, BOB]) == (BOB,)
    assert known.left(b"another", [ANN, BOB]) == (ANN, BOB)
    time.now += KEPT_S
    assert known.left(b"mail", [ANN, BOB]) == (ANN, BOB)


def test_a_second_try_that_fails_too_forgets_nothing_and_one_that_is_taken_does() -> None:
    known = PartlyTaken(Time())
    known.refused(b"mail", [ANN])
    known.refused(b"mail", [])
    assert known.left(b"mail", [ANN, BOB]) == (BOB,)
    known.done(b"mail")
    assert known.left(b"mail", [ANN, BOB]) == (ANN, BOB)


def test_the_oldest_go_beyond_a_number() -> None:
    known = PartlyTaken(Time())
    for number in range(MOST + 1):
        known.refused(b"%d" % number, [ANN])
    assert known.left(b"0", [ANN]) == (ANN,)
    assert known.left(b"1", [ANN]) == ()
