"""What is said about mail that waits is what the stages decide, for each of the limits that may hold it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from lane_relay.clock import SYSTEM_CLOCK, rfc3339
from lane_relay.deliver.explain import Place
from lane_relay.deliver.pacing import Hold, Limit
from lane_relay.explainer import Explainer
from lane_relay.records import QueueEntry, Route, message_id_text
from lane_relay.resolve.answers import Answer, MxRecord, Status
from lane_relay.resolve.cache import CachedLookups
from lane_relay.resolve.protection import Protection
from lane_relay.resolve.router import Router
from lane_relay.schedule.scheduled_queue import ScheduledQueue
from tests.lane_relay.deliver.delivery import Delivery, delivering, make_config, route_to, until
from tests.lane_relay.deliver.scripted_peer import STALL, Peer, running
from tests.lane_relay.resolve.test_cache_and_router import Wire
from tests.ports import free_port


class Asked:
    """An explainer with everything it asks."""

    def __init__(self, relay: Delivery, **delivery: Any) -> None:
        config = make_config(**delivery)
        self.wire = Wire()
        self.schedule = ScheduledQueue()
        self.records: list[dict[str, Any]] = []
        self.waiting: list[Place] = []
        lookups = CachedLookups(self.wire, SYSTEM_CLOCK.monotonic)
        self.router = Router(config, lookups, SYSTEM_CLOCK, Random(1))
        self._config = config
        self.explainer = self.explainer_of(relay)

    def explainer_of(self, relay: Delivery, look_up_s: float = 30.0) -> Explainer:
        """Of what the relay has."""
        return Explainer(
            lambda: self._config, SYSTEM_CLOCK, relay.dispatcher, self.schedule.portions, self.router, self._trace,
            lambda: self.waiting, look_up_s=look_up_s,
        )  # fmt: skip

    async def _trace(self, name: str, _recipient: str) -> list[dict[str, Any]]:
        return [one for one in self.records if name in (one["id"], one["message_id"])]

    async def queued(self, entry: QueueEntry) -> dict[str, Any]:
        """The one entry of this message."""
        (message,) = await self.explainer.message(message_id_text(entry.id))
        (said,) = message["queued"]
        assert isinstance(said, dict)
        return said


@asynccontextmanager
async def asking(**delivery: Any) -> AsyncIterator[tuple[Delivery, Asked]]:
    async with delivering(**delivery) as relay:
        asked = Asked(relay, **delivery)
        yield relay, asked
        await asked.router.close()


ISP = {
    "name": "isp",
    "domains": ["x.test"],
    "connections": 1,
    "origins": [
        {
            "field": "connectionsPerIP",
            "given": [
                {"source": "isps", "value": "1"},
                {"source": "ISPPolicy mail/isp", "value": "8"},
                {"source": "limits", "value": "10"},
            ],
        }
    ],
}


async def test_a_connection_limit_says_its_value_where_it_comes_from_and_what_lost() -> None:
    peer = Peer({"end": STALL})
    async with running(peer), asking(policies=[ISP]) as (relay, asked):
        route = route_to(peer.port, site="isp", policy="isp")
        sending = relay.send(route)
        await until(lambda: relay.dispatcher.figures().in_flight == 1)
        waits = relay.send(route, campaign="spring")
        assert (await asked.queued(sending))["state"] == "Sending"
        said = await asked.queued(waits)
        assert (said["state"], said["site"], said["campaign"]) == ("Ready", "isp", "spring")
        held = said["heldBy"]
        assert (held["limit"], held["detail"]) == (Limit.CONNECTIONS, "1 of 1 in use")
        assert held["value"] == {
            "field": "connectionsPerIP",
            "value": 1,
            "inForce": 1,
            "from": "isps",
            "over": [{"from": "ISPPolicy mail/isp", "value": "8"}, {"from": "limits", "value": "10"}],
        }
        peer.release.set()


async def test_a_destination_that_does_not_answer_says_since_when_until_when_and_what_it_said() -> None:
    peer = Peer({"connect": b"554 5.7.1 go away\r\n"})
    async with running(peer), asking() as (relay, asked):
        relay.send(route_to(peer.port))
        await relay.attempted(1)
        said = await asked.queued(relay.send(route_to(peer.port)))
        held = said["heldBy"]
        assert (held["limit"], held["detail"]) == (Limit.PARKED, "554 5.7.1 go away")
        assert held["since"] is not None
        assert held["since"] < held["until"]


async def test_a_site_that_is_slowed_down_says_by_which_rule_and_reply() -> None:
    policy = {**ISP, "connections": 4, "responses": [{
        "id": "slow", "pattern": "^451 slow", "category": "rate-limited", "action": "Backoff", "examples": ["451 slow"],
    }], "backoff": {"message_rate": "1/h"}}  # fmt: skip
    peer = Peer({"end": b"451 slow down\r\n"})
    async with running(peer), asking(policies=[policy]) as (relay, asked):
        route = route_to(peer.port, site="isp", policy="isp")
        relay.send(route)
        await relay.attempted(1)
        held = (await asked.queued(relay.send(route)))["heldBy"]
        assert (held["limit"], held["rule"], held["reply"]) == (Limit.BACKOFF, "isp/slow", "451 slow down")
        assert held["since"] is not None
        site = asked.explainer.site("isp")
        assert site is not None
        assert site["backedOff"] == "451 slow down"
        assert site["hosts"][0]["campaigns"] == {"": 1}


async def test_a_message_that_waits_for_its_time_says_when_and_what_was_answered_last() -> None:
    async with asking() as (_relay, asked):
        entry = QueueEntry(5 << 48, 0, "isp.test", (0,), 100, 2_000_000_000.0, 3 << 1, "spring")
        asked.schedule.add(entry)
        name = message_id_text(entry.id)
        asked.records += [
            {"id": name, "message_id": "<1@brand.test>", "type": "Reception"},
            {"id": name, "message_id": "<1@brand.test>", "type": "TransientFailure", "response": "451 later"},
        ]
        for wanted in (name, "<1@brand.test>"):
            (said,) = await asked.explainer.message(wanted)
            assert (said["id"], said["last"]) == (name, {"type": "TransientFailure", "response": "451 later"})
            assert said["queued"] == [
                {
                    "domain": "isp.test",
                    "recipients": 1,
                    "campaign": "spring",
                    "attempts": 3,
                    "state": "Scheduled",
                    "site": None,
                    "dueAt": "2033-05-18T03:33:20Z",
                }
            ]
        assert await asked.explainer.message("unknown") == []
        assert await asked.explainer.message("ab" * 12) == []


async def test_what_waits_where_nothing_is_due_before_a_time_says_that_time_also_in_the_counts() -> None:
    async with asking() as (_relay, asked):
        entry, now = QueueEntry(5 << 48, 0, "isp.test", (0,), 100, 7.0), SYSTEM_CLOCK.now()
        hold = Hold(Limit.WARM_UP, SYSTEM_CLOCK.monotonic() + 3600, "cold")
        place = Place("Scheduled", Route("", "isp", ()), hold, (entry,), not_before=now + 3600)
        asked.waiting.append(place)
        said = await asked.queued(entry)
        assert (said["state"], said["site"], said["dueAt"]) == ("Scheduled", None, rfc3339(now + 3600))
        assert (said["heldBy"]["limit"], said["heldBy"]["detail"]) == ("warm-up", "cold")
        assert said["heldBy"]["until"][:15] == said["dueAt"][:15]
        (row,) = (await asked.explainer.queues("domain", 0, 10))["queues"]
        assert (row["entries"], row["nextAt"]) == (1, said["dueAt"])


async def test_what_is_done_has_its_last_record_and_nothing_queued() -> None:
    async with asking() as (_relay, asked):
        asked.records.append({"id": "0" * 24, "message_id": "<1@brand.test>", "type": "Delivery", "response": "250 ok"})
        (said,) = await asked.explainer.message("<1@brand.test>")
        assert (said["queued"], said["last"]) == ([], {"type": "Delivery", "response": "250 ok"})


async def test_a_domain_says_where_its_mail_goes_or_why_nowhere() -> None:
    async with asking(state="Suspended") as (relay, asked):
        assert await asked.explainer.domain("localhost") is None
        said = await asked.explainer.domain("isp.test")  # nobody has sent there yet
        assert said is not None
        assert (said["route"]["site"], said["queued"], said["lookingUp"]) == ("mx.isp.test", {}, False)
        assert said["site"]["limits"][0]["field"] == "connectionsPerIP"
        entry = relay.send(route_to(25))
        entry.domain = "isp.test"
        said = await asked.explainer.domain("ISP.test.")
        assert said is not None
        assert said["route"]["hosts"] == [{"host": "mx.isp.test", "addresses": ["192.0.2.1"]}]
        held = said["entries"][0]["heldBy"]
        assert (said["queued"], held["limit"]) == ({"Ready": 1}, Limit.GATE)
        assert "spec.suspend" in held["detail"]

        asked.wire.answers["null.test"] = Answer(Status.FOUND, (MxRecord(0, ""),), 300.0)
        said = await asked.explainer.domain("null.test")
        assert said is not None
        assert said["unroutable"]["reply"].startswith("556 5.1.10")


async def test_a_domain_that_dns_does_not_answer_for_is_being_looked_up() -> None:
    async with asking(state="Suspended") as (relay, asked):
        asked.explainer = asked.explainer_of(relay, look_up_s=0.05)
        asked.wire.hanging.add("slow.test")
        said = await asked.explainer.domain("slow.test")
        assert said is not None
        assert (said["lookingUp"], "route" in said) == (True, False)


async def test_what_relay_yaml_gives_comes_from_it() -> None:
    async with asking(policies=[{"name": "isp", "connections": 3, "backoff": {"for": "5m"}}]) as (_, asked):
        said = asked.explainer.site("isp")
        assert said is not None
        whose = {row["field"]: row["from"] for row in said["limits"]}
        assert (whose["connectionsPerIP"], whose["backoff"], whose["messagesPerConnection"]) == (
            "relay.yaml",
            "relay.yaml",
            "default",
        )


async def test_a_domain_says_what_tls_its_hosts_have_to_prove_and_by_whose_word(tmp_path: Path) -> None:
    now = SYSTEM_CLOCK.now()
    policy = {"id": "7", "mode": "enforce", "mx": ["*.isp.test"], "max_age": 600.0, "fetched_at": now}
    (tmp_path / "mta-sts.json").write_text(json.dumps({"isp.test": policy}))
    async with asking(state="Suspended") as (_relay, asked):
        lookups = CachedLookups(asked.wire, SYSTEM_CLOCK.monotonic)
        protection = Protection.of_lane(lookups, SYSTEM_CLOCK, lambda: True, str(tmp_path))
        asked.explainer._router = router = Router(make_config(), lookups, SYSTEM_CLOCK, Random(1), protection)
        routed = asyncio.Event()
        router.route("isp.test", lambda _route: routed.set())
        await routed.wait()
        said = await asked.explainer.domain("isp.test")
        await router.close()
    assert said is not None
    assert said["route"]["hosts"][0]["tls"] == {"by": "mta-sts", "enforced": True}
    assert (said["mtaSTS"]["id"], said["mtaSTS"]["mx"]) == ("7", ["*.isp.test"])


async def test_a_policy_that_nothing_is_for_now_shows_its_limits() -> None:
    async with asking(policies=[{**ISP, "messages_per_day": 500}]) as (_relay, asked):
        said = asked.explainer.site("isp")
        assert said is not None
        values = {row["field"]: (row["value"], row["from"]) for row in said["limits"]}
        assert values["messagesPerDay"] == (500, "default")
        assert values["connectionsPerIP"] == (1, "isps")
        assert values["totalConnectionsPerIP"] == (200, "limits (the default)")
        assert values["backoff"][1] == "default"
        assert asked.explainer.site("elsewhere") is None


async def test_queues_are_counted_by_domain_and_by_campaign_and_come_in_pages() -> None:
    async with asking(state="Suspended") as (relay, asked):
        for number in range(30):
            relay.send(route_to(25), campaign="spring" if number % 3 else "autumn")
        for number in range(5):
            asked.schedule.add(QueueEntry(number << 48, 0, f"d{number}.test", (0,), 1, 2_000_000_000.0, 0, "autumn"))
        said = await asked.explainer.queues("campaign", 0, 10)
        assert [(row["name"], row["entries"]) for row in said["queues"]] == [("spring", 20), ("autumn", 15)]
        assert said["queues"][1]["oldestSince"] == "1970-01-01T00:00:00Z"
        page = await asked.explainer.queues("domain", 1, 2)
        assert (page["total"], [row["name"] for row in page["queues"]]) == (6, ["d0.test", "d1.test"])


async def test_a_site_without_mail_that_is_left_alone_is_told_of_like_any_other() -> None:
    async with asking(retry={"first": "600s", "factor": 1, "max": "600s"}) as (relay, asked):
        relay.send(route_to(free_port(), "127.0.0.9", site="gone"))
        await relay.attempted(1)
        await until(lambda: relay.dispatcher.known.parked.names == ("gone",))
        said = asked.explainer.site("gone")
        assert said is not None
        assert (said["policy"], said["attempts"], said["connections"], said["backedOff"]) == (None, 1, 0, None)
        assert "connect to mx0.peer.test" in said["lastFailure"]
        (hosts,) = said["hosts"]
        assert (hosts["hosts"], hosts["waiting"], hosts["failures"]) == (["mx0.peer.test"], 0, 1)
        assert said["limits"][0]["inForce"] == said["limits"][0]["value"]
