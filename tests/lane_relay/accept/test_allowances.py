"""How much each client and user may hand in."""

from typing import Any

from lane_api.relayconfig import Intake
from lane_relay.accept.allowances import Allowances


def allowances(**intake: Any) -> Allowances:
    return Allowances(Intake.model_validate(intake))


def test_without_rates_nobody_asks() -> None:
    assert not allowances().counts_messages
    assert not allowances(users=[{"name": "app", "senders": ["@x.example"]}]).counts_messages
    assert allowances(users=[{"name": "app", "rate": "1/m"}]).counts_messages


def test_a_user_over_its_rate_hears_which_it_is_and_when_to_come_again() -> None:
    some = allowances(users=[{"name": "app", "rate": "2/m"}])
    assert [some.spend("192.0.2.1", "app", 1, 10.0) for _ in range(2)] == [None, None]

    refusal = some.spend("192.0.2.2", "app", 1, 20.0)
    assert str(refusal) == "451 4.7.1 User app has sent all messages it may (2/m): come again in 51 s"
    assert some.judge("192.0.2.1", "other", 1, 20.0) is None
    assert some.spend("192.0.2.1", "app", 1, 72.0) is None


def test_recipients_are_counted_as_well_and_a_refused_message_counts_for_nothing() -> None:
    some = allowances(users=[{"name": "app", "rate": "10/m", "recipientRate": "5/h"}])
    assert some.spend("c", "app", 4, 0.0) is None
    for _ in range(20):
        refusal = some.spend("c", "app", 2, 1.0)
        assert refusal is not None
        assert refusal.text.startswith("4.7.1 User app has sent to all recipients it may (5/h): come again in")
    assert some.spend("c", "app", 1, 1.0) is None


def test_a_new_configuration_forgets_nothing() -> None:
    some = allowances(users=[{"name": "app", "rate": "2/m"}])
    some.spend("c", "app", 1, 0.0)
    some.apply(Intake.model_validate({"users": [{"name": "app", "rate": "1/m"}]}))

    assert some.judge("c", "app", 1, 1.0) is not None
    some.apply(Intake())
    assert some.judge("c", "app", 1, 1.0) is None


def test_a_client_has_rates_of_its_own() -> None:
    some = allowances(
        limits={"connectRatePerClient": "2/m", "messageRatePerClient": "1/m", "errorRatePerClient": "3/m"}
    )
    assert [some.connect("192.0.2.1", 0.0) for _ in range(2)] == [None, None]
    assert str(some.connect("192.0.2.1", 0.0)) == ("421 4.7.1 Client 192.0.2.1 may connect 2/m: come again in 61 s")
    assert some.connect("192.0.2.2", 0.0) is None
    assert some.spend("192.0.2.2", "app", 1, 0.0) is None
    assert str(some.spend("192.0.2.2", "", 1, 0.0)).startswith(
        "451 4.7.1 Client 192.0.2.2 has sent all messages it may (1/m)"
    )

    some.err("192.0.2.3", 3, 0.0)
    assert str(some.connect("192.0.2.3", 1.0)).startswith("421 4.7.1 Client 192.0.2.3 made too many errors (3/m)")
    assert some.connect("192.0.2.3", 62.0) is None


def test_clients_that_did_nothing_lately_are_forgotten() -> None:
    some = allowances()
    for number in range(50):
        some.connect(f"192.0.2.{number}", float(number))
    some.renew(70.0)
    assert set(some._clients) == {f"192.0.2.{number}" for number in range(10, 50)}


def test_a_flood_of_addresses_costs_bounded_memory() -> None:
    some = allowances()
    for number in range(20_100):
        some.connect(f"2001:db8::{number:x}", 0.0)
    assert len(some._clients) == 20_000
    assert "2001:db8::0" not in some._clients
