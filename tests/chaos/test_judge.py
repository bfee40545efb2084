"""The judge finds what was lost and what came twice for no reason, and nothing else."""

from dataclasses import replace

from msgspec import structs

from e2e.internet.records import Connection, Message, Record, Refusal
from tests.chaos.judge import MAIL, Offer, TakenOver, TimedKill, in_flight, judge

SOURCE = "198.51.100.1"
OTHER = "198.51.100.2"
OFFER = Offer("user1@one.test", "m1@brand.test", "accepted", 10.0, 10.1)
BOUNCED = Offer("gone2@one.test", "m2@brand.test", "accepted", 10.0, 10.1)


def message(at: float, *, connection: int = 1, opened: float = 5.0, recipient: str = OFFER.recipient) -> Message:
    return Message(
        "one.test", at, at, True, SOURCE, connection, opened, "m1@brand.test", (recipient,), "<1@x>", "", False, False,
        1, "",
    )  # fmt: skip


def report(at: float, message_id: str = "<r@x>") -> Message:
    return Message(
        "brand.test", at, at, True, SOURCE, 9, 5.0, "", ("m2@brand.test",), message_id, "", False, False, 1, ""
    )


def connection(number: int, opened: float, closed: float | None) -> Connection:
    return Connection("one.test", number, SOURCE, 4000 + number, "198.51.100.100", opened, closed, "x", "", "")


def refusal(at: float, number: int) -> Refusal:
    return Refusal("one.test", at, SOURCE, number, "rcpt", 550, "no", "m2@brand.test", BOUNCED.recipient)


def test_what_was_accepted_and_is_nowhere_is_lost_and_what_was_refused_or_is_queued_is_not() -> None:
    others = [replace(OFFER, recipient="user3@one.test", outcome="refused"), replace(OFFER, recipient="user4@one.test")]
    found = judge([OFFER, *others], [], [], frozenset({(MAIL, "user4@one.test")}))
    assert (found.accepted, found.refused, found.lost) == (2, 1, [(MAIL, OFFER.recipient)])


def test_what_a_spool_still_has_at_the_end_is_stranded_whether_it_was_accepted_in_doubt_or_has_arrived() -> None:
    doubtful = replace(OFFER, recipient="user3@one.test", outcome="in-doubt")
    left = frozenset({(MAIL, OFFER.recipient), (MAIL, doubtful.recipient)})
    assert judge([OFFER, doubtful], [], [], left).stranded == sorted(left)
    assert judge([OFFER, doubtful], [message(10.2)], [], left).stranded == sorted(left)
    assert judge([OFFER], [message(10.2)], []).stranded == []


def test_a_bounce_is_complete_with_its_report() -> None:
    refused: list[Record] = [connection(1, 5.0, None), refusal(10.2, 1)]
    assert judge([BOUNCED], refused, []).lost == [("report", "m2@brand.test")]
    assert judge([BOUNCED], [*refused, report(10.4)], []).lost == []


def test_a_second_copy_is_explained_by_a_kill_just_after_the_first_and_by_nothing_else() -> None:
    records: list[Record] = [
        connection(1, 5.0, 10.5),
        connection(2, 11.0, None),
        message(10.48),
        message(11.5, connection=2, opened=11.0),
    ]
    assert judge([OFFER], records, [TimedKill(10.5, SOURCE)]).unexplained == []
    for kills in ([], [TimedKill(12.0, SOURCE)], [TimedKill(11.3, SOURCE)], [TimedKill(10.5, "198.51.100.2")]):
        found = judge([OFFER], records, kills)
        assert (found.duplicates, len(found.unexplained)) == (1, 1)


def test_a_second_refusal_and_a_second_report_need_a_kill_as_well() -> None:
    records: list[Record] = [connection(1, 5.0, 10.5), connection(2, 11.0, None), refusal(10.46, 1), report(10.48)]
    again = [*records, refusal(11.5, 2), report(11.9, "<s@x>")]
    assert judge([BOUNCED], again, [TimedKill(10.5, SOURCE)]).unexplained == []
    assert len(judge([BOUNCED], again, []).unexplained) == 1
    reported_only = [*records, report(11.9, "<s@x>")]  # the recipient is suppressed when its attempt is repeated
    assert judge([BOUNCED], reported_only, [TimedKill(10.5, SOURCE)]).unexplained == []
    assert len(judge([BOUNCED], reported_only, [TimedKill(11.5, SOURCE)]).unexplained) == 1


def test_a_bounce_that_is_brought_twice_since_its_answer_was_lost_is_reported_twice_and_not_thrice() -> None:
    """Mail that an ISP took and returned later: no refusal, and each bounce of it is passed on to the sender."""
    reports = [report(10.4, f"<r{number}@x>") for number in range(3)]
    assert judge([BOUNCED], reports[:2], [], brought={"m2@brand.test": 2}).unexplained == []
    assert judge([BOUNCED], reports, [], brought={"m2@brand.test": 2}).unexplained == ["reports to m2@brand.test"]
    assert judge([BOUNCED], reports[:2], []).unexplained == ["reports to m2@brand.test"]


def test_a_delivery_is_in_flight_where_a_connection_was_open_and_said_something_just_then() -> None:
    idle, busy, new = connection(1, 5.0, None), connection(2, 5.0, 10.5), connection(3, 10.4, None)
    records: list[Record] = [idle, busy, new, message(10.3, connection=2)]
    assert in_flight(records, SOURCE, 10.5) == 2
    assert in_flight(records, "198.51.100.2", 10.5) == 0
    assert in_flight(records, SOURCE, 20.0) == 0
    assert in_flight([idle, message(10.6, connection=1)], SOURCE, 10.5) == 0, "it spoke only afterwards"


def test_a_kill_explains_no_more_copies_than_it_ended_connections_and_none_of_another_kill() -> None:
    kills = [TimedKill(10.5, SOURCE), TimedKill(10.9, SOURCE)]
    records: list[Record] = [connection(1, 5.0, 10.5), connection(2, 10.6, 10.9), connection(3, 11.0, None)]
    for number, (at, over, opened) in enumerate([(10.48, 1, 5.0), (10.88, 2, 10.6)]):
        recipient = f"user{number}@one.test"
        records += [
            message(at, connection=over, opened=opened, recipient=recipient),
            message(11.5, connection=3, opened=11.0, recipient=recipient),
        ]
    assert (judge([], records, kills).duplicates, judge([], records, kills).unexplained) == (2, [])
    records += [
        message(10.475, recipient="more@one.test"),
        message(11.6, connection=3, opened=11.0, recipient="more@one.test"),
    ]
    assert len(judge([], records, kills).unexplained) == 1


def twice(*firsts: float, by: str = SOURCE) -> list[Record]:
    """Recipients whose first copies one connection brought before the kill at 10.5, and the second ones another."""
    records: list[Record] = [connection(1, 5.0, 10.5), connection(2, 11.0, None)]
    for number, at in enumerate(firsts):
        recipient = f"user{number}@one.test"
        second = message(11.5, connection=2, opened=11.0, recipient=recipient)
        records += [message(at, recipient=recipient), structs.replace(second, source_ip=by)]
    return records


def test_a_first_copy_had_time_to_be_settled_in_two_syncs_and_what_the_process_may_have_been_behind() -> None:
    quick, slow = TimedKill(10.5, SOURCE, 0.005), TimedKill(10.5, SOURCE, 0.1)
    for at, found_quick, found_slow in ((10.47, 0, 0), (10.45, 1, 0), (10.28, 1, 0), (10.26, 1, 1)):
        assert len(judge([], twice(at), [quick]).unexplained) == found_quick, at
        assert len(judge([], twice(at), [slow]).unexplained) == found_slow, at


def test_what_a_slot_and_the_isps_waited_for_a_processor_before_a_kill_is_time_that_they_did_not_have() -> None:
    busy = TimedKill(10.5, SOURCE, 0.005, waits=((0.0, 0.0), (0.05, 0.03), (0.1, 0.06), (1.5, 0.06)))
    for at, found in ((10.45, 0), (10.41, 0), (10.39, 1)):
        assert len(judge([], twice(at), [busy]).unexplained) == found, at
    stuck = TimedKill(10.5, SOURCE, 0.005, waits=((0.0, 0.0), (1.5, 9.0)))
    for at, found in ((9.6, 0), (9.4, 1)):
        assert len(judge([], twice(at), [stuck]).unexplained) == found, at


def test_a_connection_brings_no_more_between_two_commits_than_its_isp_answers_in_that_time() -> None:
    kill = TimedKill(10.5, SOURCE, 0.005)
    many = [10.465 + number * 1e-4 for number in range(200)]
    assert len(judge([], twice(*many), [kill]).unexplained) == 199
    assert judge([], twice(10.40, 10.48), [TimedKill(10.5, SOURCE, 0.05)]).unexplained == []
    assert judge([], twice(10.465, 10.53), [kill]).unexplained == []  # the second was on its way when the slot died
    assert len(judge([], twice(10.465, 10.5, 10.53), [kill]).unexplained) == 1


def test_a_refusal_may_come_a_round_trip_after_the_answer_before_it_and_both_be_unsettled() -> None:
    kill = TimedKill(10.5, SOURCE, 0.005)  # a refusal takes four commits: what was said 0.05 s before is not settled

    def told(before: float) -> int:
        mail = [one for one in twice(before) if isinstance(one, Message)]
        refused: list[Record] = [
            connection(1, 5.0, 10.5),
            connection(2, 11.0, None),
            refusal(10.499, 1),
            refusal(11.5, 2),
        ]
        return len(judge([BOUNCED], [*refused, *mail, report(11.9)], [kill]).unexplained)

    assert told(10.479) == 0
    assert len(judge([], twice(10.479, 10.499), [kill]).unexplained) == 1, "two whole messages take longer"


def test_a_second_copy_by_the_other_slot_has_two_owners_and_one_over_a_connection_of_before_the_kill_no_reason() -> (
    None
):
    kill = TimedKill(10.5, SOURCE, 0.005)
    assert judge([], twice(10.48), [kill]).unexplained == []
    found = judge([], twice(10.48, by=OTHER), [kill])
    assert (len(found.unexplained), len(found.two_owners)) == (1, 1)
    same = [message(10.48, recipient="same@one.test"), message(10.49, recipient="same@one.test")]
    found = judge([], [*twice(), *same], [kill])
    assert (len(found.unexplained), found.two_owners) == (1, [])


def test_the_other_slot_may_bring_the_second_copy_if_it_took_it_over_from_the_one_that_was_killed_and_runs_again() -> (
    None
):
    kill = TimedKill(10.5, SOURCE, 0.005, took_s=0.01)
    given = TakenOver("user0@one.test", SOURCE, OTHER, 11.0)
    found = judge([], twice(10.48, by=OTHER), [kill], taken_over=[given])
    assert (found.duplicates, found.moved, found.unexplained, found.two_owners) == (1, 1, [], [])
    for wrong in (
        replace(given, at=10.52),  # the process that was killed gave it: it was not its own any more
        replace(given, at=10.4),
        replace(given, at=11.6),  # it was brought before
        replace(given, recipient="user1@one.test"),
        replace(given, from_ip=OTHER, to_ip=SOURCE),
    ):
        assert len(judge([], twice(10.48, by=OTHER), [kill], taken_over=[wrong]).two_owners) == 1, wrong
    for kills in ([], [TimedKill(10.5, OTHER, 0.005)], [TimedKill(12.0, SOURCE, 0.005)]):
        assert len(judge([], twice(10.48, by=OTHER), kills, taken_over=[given]).two_owners) == 1
    assert len(judge([], twice(10.2, by=OTHER), [kill], taken_over=[given]).two_owners) == 1


def test_two_owners_are_seen_where_a_repeated_request_gave_either_copy_its_own_message_id() -> None:
    first, second = message(10.2), structs.replace(message(10.3), source_ip=OTHER, message_id="<2@x>")
    assert len(judge([OFFER], [connection(1, 5.0, None), first, second], []).two_owners) == 1
