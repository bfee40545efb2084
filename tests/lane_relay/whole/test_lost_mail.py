"""Mail that a volume lost while the relay was down: the next start misses it, by number, and says so."""

from tests.lane_relay.running import Relay, Sink, eventually


def _after_a_crash(relay: Relay, sink: Sink) -> Relay:
    """Five wait, put off by their host; then the process is killed."""
    sink.answer_with = lambda stage, _address: "451 4.3.0 later" if stage == "RCPT" else None
    relay.start()
    relay.submit(*range(1, 6))
    eventually(lambda: sum(one["type"] == "TransientFailure" for one in relay.records()) >= 5, "five were put off")
    relay.kill()
    return relay


def test_a_segment_that_is_gone_after_a_crash_is_unaccounted_for(relay: Relay, sink: Sink) -> None:
    _after_a_crash(relay, sink)
    for path in (relay.folder / "spool").glob("*.seg"):
        path.unlink()

    relay.start()

    assert relay.unaccounted() == 5
    assert relay.metric("recipients_recovered_total") == 5
    assert relay.metric("spool_damaged_places") == 1
    assert "5 recipients that waited are in no segment" in relay.log()
    relay.terminate()


def test_a_log_that_is_whole_after_a_crash_accounts_for_all(relay: Relay, sink: Sink) -> None:
    _after_a_crash(relay, sink)

    relay.start()

    assert relay.unaccounted() == 0
    assert relay.metric("recipients_queued") == 5
    assert relay.metric("spool_damaged_places") == 0
