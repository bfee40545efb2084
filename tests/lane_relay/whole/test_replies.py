"""What a reply about the source comes to in the whole relay: nobody bounces, and the stop outlives a kill -9."""

from tests.lane_relay.running import Relay, Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient

BLOCKED = "550 5.7.1 Unfortunately, messages from [192.0.2.7] weren't sent. It is on our block list (S3150)."
STOPPED = "acts_in_force{action=SuspendSite,policy=other}"


def test_a_block_of_the_address_stops_it_bounces_nobody_and_is_kept_over_a_kill(relay: Relay, sink: Sink) -> None:
    sink.answer_with = lambda stage, _address: BLOCKED if stage == "MAIL" else None
    admin = AdminClient(relay)
    relay.start().submit(1, 2, 3)
    eventually(lambda: relay.metric(STOPPED) == 1, "the address is stopped")
    (act,) = admin.ask("GET", "/v1/slot")[1]["delivery"]["acts"]
    assert (act["action"], act["site"], act["rule"]) == (
        "SuspendSite", f"route:{sink.address}", "default/outlook-block-list",
    )  # fmt: skip
    assert "S3150" in act["reply"]
    assert act["sample"].endswith("messages from [<IP>] weren't sent. It is on our block list (<N>).")

    # the act is on the volume no later than the record of what the ISP said
    eventually(lambda: "TransientFailure" in [one["type"] for one in relay.records()], "the refusal is on record")
    relay.kill()
    sink.answer_with = lambda _stage, _address: None
    asked = len(sink.asked)
    relay.start().submit(4)
    held = eventually(lambda: [one for one in admin.ask("GET", "/v1/sites")[1]["sites"] if one["waiting"]], "it waits")
    assert [(one["heldBy"], one["acts"]) for one in held] == [("suspended", [act])]
    assert relay.metric("queue_messages") == 4
    assert (len(sink.asked), sink.arrived) == (asked, [])


def test_a_stop_that_a_person_ends_lets_its_mail_go_at_once_and_is_on_record(relay: Relay, sink: Sink) -> None:
    sink.answer_with = lambda stage, _address: BLOCKED if stage == "MAIL" else None
    admin = AdminClient(relay)
    relay.start().submit(1, 2, 3)
    eventually(lambda: relay.metric(STOPPED) == 1, "the address is stopped")
    sink.answer_with = lambda _stage, _address: None
    relay.submit(4)

    status, said = admin.ask("DELETE", f"/v1/acts?site=route:{sink.address}&owner=jane&reason=delisted")
    assert (status, [one["action"] for one in said["acts"]]) == (200, ["SuspendSite"])
    eventually(lambda: sink.arrived, "what waited for it is sent")
    assert relay.metric(STOPPED) == 0
    acts = [(one["meta"]["action"], one["user"]) for one in relay.records() if one["type"] == "AdminAction"]
    assert acts == [(f"ended SuspendSite of route:{sink.address} by default/outlook-block-list", "jane")]
    relay.kill()
    relay.start()
    assert admin.ask("GET", "/v1/slot")[1]["delivery"]["acts"] == []


def test_a_lane_that_is_never_paused_goes_as_slowly_after_a_kill_as_before(new_relay: NewRelay, sink: Sink) -> None:
    """Else each rollout would go at an ISP that blocks with full speed."""
    sink.answer_with = lambda stage, _address: BLOCKED if stage == "MAIL" else None
    relay = new_relay(delivery={"protection": "NeverPause", "routes": [fixed_route(sink)]})
    admin = AdminClient(relay)
    relay.start().submit(1, 2, 3)

    def limits() -> tuple[int, float, bool]:
        (site,) = eventually(lambda: [one for one in admin.ask("GET", "/v1/sites")[1]["sites"] if one["waiting"]], "it")
        return site["connectionLimit"], site["messagesPerSecond"], "S3150" in site["backedOff"]

    eventually(lambda: relay.metric("sites_backing_off{policy=other}") == 1, "the site is slowed down")
    relay.submit(*range(4, 40))
    before = limits()
    assert before[2]
    (slowed,) = admin.ask("GET", "/v1/slot")[1]["delivery"]["slowed"]
    assert (slowed["action"], slowed["site"]) == ("Backoff", f"route:{sink.address}")
    relay.kill()
    sink.answer_with = lambda _stage, _address: None
    relay.start()
    assert limits() == before
    assert admin.ask("GET", "/v1/slot")[1]["delivery"]["slowed"] == [slowed]


def test_a_lane_that_is_only_watched_sends_on_and_says_what_it_would_have_done(new_relay: NewRelay, sink: Sink) -> None:
    sink.answer_with = lambda stage, _address: BLOCKED if stage == "MAIL" else None
    relay = new_relay(delivery={"automation": "Observe", "routes": [fixed_route(sink)]})
    admin = AdminClient(relay)
    relay.start().submit(1, 2, 3)
    deferred = "attempts_total{policy=other,result=deferred}"
    eventually(lambda: relay.metric(deferred) >= 3, "all are tried")
    said = admin.ask("GET", "/v1/slot")[1]["delivery"]
    (act,) = said["observed"]
    assert (act["action"], act["site"], "S3150" in act["reply"]) == ("SuspendSite", f"route:{sink.address}", True)
    assert said["acts"] == []
    assert relay.metric("acts_observed{action=SuspendSite,policy=other}") == 1
    assert relay.metric("reply_alerts_total{policy=other,rule=default/outlook-block-list}") == 1


def test_replies_without_a_rule_are_listed_with_one_to_begin_with(new_relay: NewRelay, sink: Sink) -> None:
    sink.answer_with = lambda stage, _address: (
        "451 4.7.9 Moon phase 17 is wrong for ann@isp.test" if stage == "RCPT" else None
    )
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "retry": {"first": "10m"}})  # it is counted once
    admin = AdminClient(relay)
    relay.start().submit(1)
    (sample,) = eventually(lambda: admin.ask("GET", "/v1/replies")[1]["replies"], "a sample")
    assert (sample["reply"], sample["stage"], sample["count"]) == (
        "451 4.7.9 Moon phase <N> is wrong for <ADDRESS>", "Rcpt", 1,
    )  # fmt: skip
    assert sample["suggested"]["pattern"].startswith("^451[- ]")
    assert relay.metric("default_replies_total{policy=other}") == 1
