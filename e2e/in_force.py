"""`make in-force`: how soon a change is in force in every slot of a lane that sends, and what of it needs no operator.

`spec.suspend`, a limit of a policy or a lane, an address that its owner or a reply rule quarantines: from the API
server's answer (of a reply rule: from the ISP's refusal) until each slot says so itself; what ISPs get shows that it is
true. Then what reply rules and persons stop while no operator runs. Each with a fault made on purpose, which shows that
it can be missed. Not collected by `make e2e`: it takes minutes. `busy_status` is the target's other half.
"""

import asyncio
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import time
from typing import Any

import pytest

from e2e import figures
from e2e.cluster import Cluster
from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, pool, serve
from e2e.internet.addresses import FREEMAIL, GMX, OUTLOOK, SCRIPTED, YAHOO, MailProvider
from e2e.internet.records import Message, Record, Refusal
from e2e.load.ledger import percentile
from e2e.outbound import Outbound, host_pool, isp_policy, sending_lane
from e2e.release import OPERATOR_NAMESPACE, RELEASE
from e2e.slot_words import Answer, Changes, IsSo, SlotWords

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

FILE, COMMAND = "in_force", "make in-force"
PROMISE_S, WITHIN_S = 5.0, 20.0
CHANGES = 30
"""Of each kind."""
HELD, WARM = "held", "warm"
ADDRESSES = tuple((f"203.0.113.{140 + number}", f"n{1 + number % 2}") for number in range(4))
WARM_ADDRESSES = tuple(f"203.0.113.{150 + number}" for number in range(4))
RATE = 4.0
"""Messages a second into each slot."""
DOMAINS = ("gmail-like.example", "yahoo-like.example", "outlook-like.example", "freemail.example")
STOPPED = ("Suspended", "Transferring", "TransferringSuspended")
REPLY = "5.7.1 this sender is on our block list (T100)"
ACTS = {
    "stops-site": (YAHOO, "SuspendSite", "Site"),
    "stops-address": (OUTLOOK, "QuarantineIP", "IP"),
    "stops-domain": (FREEMAIL, "SuspendDomain", "Domain"),
}
"""What is looked at without an operator, by policy."""
ACT_S, STANDBY_S = 6, 12
UNDER_WAY_S = 1.0
"""Of an attempt that had begun when its slot was stopped."""
ROUNDS = 10


@pytest.fixture(scope="module")
def here(sending_namespace: Installation, cluster: Cluster, images: dict[str, str]) -> Iterator[Installation]:
    """Both lanes, and an operator that looks as often as one that users install."""
    here = sending_namespace
    serve(cluster, images, operator={"recheck": 30, "resync": 420})
    for address, node in ADDRESSES:
        cluster.add_address(node, address)
    warm = pool("warm", here.namespace, *WARM_ADDRESSES)
    warm["spec"]["addresses"][-1]["role"] = "Standby"
    here.apply(
        host_pool("held", here.namespace, ADDRESSES),
        warm,
        isp_policy("limited", here.namespace, ["*.gmail-like.example"], connectionsPerIP=5),
        _ruled(here, "listing", GMX, "QuarantineIP", "IP", STANDBY_S),
        *(_ruled(here, name, isp, action, scope, ACT_S) for name, (isp, action, scope) in ACTS.items()),
        sending_lane(HELD, here.namespace, "held", trafficClass="Bulk", replicas=4),
        sending_lane(WARM, here.namespace, "warm", replicas=3, standbyReplicas=1),
    )
    here.wait_ready(HELD, WARM, within=240)
    eventually(lambda: all(one["egressVerified"] for one in _status(here, WARM)), "each address is proved", within=120)
    try:
        yield here
    finally:
        serve(cluster, images)


def _ruled(here: Installation, name: str, isp: MailProvider, action: str, scope: str, for_s: int) -> Manifest:
    rule = {
        "id": "listed",
        "pattern": r"^550[- ]5\.7\.1 .*block list",
        "category": "spam-related",
        "action": action,
        "scope": scope,
        "for": f"{for_s}s",
        "retryAfter": "1s",
        "examples": [f"550 {REPLY}"],
    }
    return isp_policy(name, here.namespace, [f"*.{isp.mx_sets[0].domains[0]}"], responses=[rule])


def _status(here: Installation, lane_name: str) -> list[Manifest]:
    return list(here.get("sendinglane", lane_name)["status"]["slots"])


def _addresses(here: Installation, lane_name: str) -> dict[str, str]:
    """Slot -> the address that it holds."""
    return {one["name"]: one["ip"] for one in _status(here, lane_name)}


def _is_in(*states: str) -> IsSo:
    return lambda answer: answer["delivery"]["state"] in states


def _has_other(serial: int) -> IsSo:
    """Another content of its configuration than this."""
    return lambda answer: answer["serial"] != serial and not answer["refused"]


def _has_act(site: str) -> IsSo:
    return lambda answer: any(act["site"] == site for act in answer["delivery"].get("acts") or ())


def _has_no_act(answer: Answer) -> bool:
    return not answer["delivery"].get("acts")


def _allows(site: str, connections: int) -> IsSo:
    """Of `GET /v1/sites`: so many connections to this site."""
    return lambda answer: any((one["site"], one["connectionLimit"]) == (site, connections) for one in answer["sites"])


@dataclass
class Waits:
    """How long changes took until every slot said so, in seconds; infinite where one did not."""

    kind: str
    seconds: list[float] = field(default_factory=list)

    def add(self, began: float, said: Mapping[str, float], slots: Iterable[str]) -> None:
        """One change."""
        self.seconds.append(max(said.get(slot, math.inf) for slot in slots) - began)

    @property
    def p95(self) -> float:
        return percentile(self.seconds, 0.95)

    def tell(self) -> None:
        """Prints and records the parts."""
        p50, most = percentile(self.seconds, 0.5), max(self.seconds)
        print(f"{self.kind:34}{len(self.seconds):>4} changes: p50 {p50:.2f} p95 {self.p95:.2f} most {most:.2f} s")
        for name, value in (("p50", p50), ("p95", self.p95), ("most", most)):
            _say(f"in_force_{self.kind}_{name}_s", round(value, 2))
        _say(f"in_force_{self.kind}_changes", len(self.seconds), "changes")


def _say(name: str, value: float, unit: str = "s", target: float | None = None) -> None:
    figures.record(FILE, name, min(value, 9999.0), unit, target, "lower", COMMAND)


def _say_fault(name: str, found: int, unit: str) -> None:
    figures.record(FILE, name, found, unit, 1.0, "higher", COMMAND)


@contextmanager
def _no_operator(here: Installation) -> Iterator[None]:
    """Nobody who reconciles."""
    _scale(here, 0)
    chosen = ("-n", OPERATOR_NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}")
    eventually(lambda: not here.cluster.get("pods", *chosen)["items"], "no operator is left", within=90)
    try:
        yield
    finally:
        _scale(here, 1)


def _scale(here: Installation, replicas: int) -> None:
    deployment, namespaced = f"deployment/{RELEASE}", ("-n", OPERATOR_NAMESPACE)
    here.cluster.kubectl("scale", deployment, *namespaced, f"--replicas={replicas}")
    here.cluster.kubectl("rollout", "status", deployment, *namespaced, "--timeout=120s")


async def _pause(least: float = 0.2, most: float = 1.2) -> None:
    """So that changes come at any instant of whatever goes round."""
    await asyncio.sleep(random.uniform(least, most))


async def test_a_change_is_in_force_in_every_slot_within_seconds(outbound: Outbound, here: Installation) -> None:
    changes = Changes(here)
    async with SlotWords(here, HELD) as words, outbound.traffic(HELD, DOMAINS, RATE):
        assert len(words.slots) == len(ADDRESSES)
        suspends, sent, seen = await _suspends(outbound, here, changes, words)
        limits = await _limits(changes, words)
        by_owner = await _quarantines_by_owner(here, changes, words)
        missed = await _missed_without_operator(here, changes, words)
    for waits in (suspends, limits, by_owner):
        waits.tell()
    _say("in_force_suspend_p95_s", round(suspends.p95, 2), "s", PROMISE_S)
    _say("in_force_limit_p95_s", round(limits.p95, 2), "s", PROMISE_S)
    _say("in_force_sent_while_suspended", sent, "messages", 0.0)
    _say("in_force_sent_around", seen, "messages")
    _say_fault("in_force_slots_missed_without_operator", missed, "slots")
    assert seen > sent == 0
    assert missed == len(ADDRESSES)
    assert max(waits.p95 for waits in (suspends, limits, by_owner)) < PROMISE_S


async def _suspends(
    outbound: Outbound, here: Installation, changes: Changes, words: SlotWords
) -> tuple[Waits, int, int]:
    """The waits; messages that ISPs got from slots that had said they are suspended, and all that they got."""
    waits, stopped = Waits("suspend_changes"), list[tuple[float, float]]()
    for number in range(CHANGES):
        stop = number % 2 == 0
        began = changes.make("sendinglanes", HELD, {"suspend": stop})
        if not stop:
            stopped[-1] = (stopped[-1][0], began)
        said = await words.when(_is_in("Suspended" if stop else "Running"), WITHIN_S)
        waits.add(began, said, words.slots)
        if stop:
            stopped.append((time() + UNDER_WAY_S, math.inf))
            await _pause(1.5, 2.5)
        else:
            await _pause()
    changes.make("sendinglanes", HELD, {"suspend": False})
    await words.when(_is_in("Running"), WITHIN_S)
    own = frozenset(_addresses(here, HELD).values())
    messages = [one for one in await _records(outbound) if isinstance(one, Message) and one.source_ip in own]
    sent = sum(began <= one.received < ended for one in messages for began, ended in stopped)
    return waits, sent, len(messages)


async def _records(outbound: Outbound) -> list[Record]:
    """What the scripted ISPs wrote down."""
    return await outbound.internet.records([one.name for one in SCRIPTED])


async def _limits(changes: Changes, words: SlotWords) -> Waits:
    """By turns a policy's, and the lane's own where no policy has one."""
    waits = Waits("limit_changes")
    for number in range(CHANGES):
        limit = 2 + number // 2 % 5
        if number % 2:
            began, site = changes.make("isppolicies", "limited", {"connectionsPerIP": limit}), "limited"
        else:
            began, site = changes.make("sendinglanes", HELD, {"limits": {"connectionsPerIP": limit}}), "stops-site"
        waits.add(began, await words.when(_allows(site, limit), WITHIN_S, "sites"), words.slots)
        await _pause()
    return waits


async def _quarantines_by_owner(here: Installation, changes: Changes, words: SlotWords) -> Waits:
    """The slot stops and each sibling has a configuration that says so; then the same back."""
    waits, held = Waits("quarantine_by_owner"), _addresses(here, HELD)
    addresses = here.get("ippool", "held")["spec"]["addresses"]
    for number in range(CHANGES):
        slot, stop = words.slots[number // 2 % len(words.slots)], number % 2 == 0
        await _pause(0.8, 1.6)
        before = await words.serials()
        wanted = [one | ({"quarantined": True} if stop and one["ip"] == held[slot] else {}) for one in addresses]
        began = changes.make("ippools", "held", {"addresses": wanted})
        is_so = {one: _has_other(serial) for one, serial in before.items()}
        said = await words.when(is_so | {slot: _is_in(*(STOPPED if stop else ("Running",)))}, WITHIN_S)
        waits.add(began, said, words.slots)
    return waits


async def _missed_without_operator(here: Installation, changes: Changes, words: SlotWords) -> int:
    """The seeded fault: slots in which a suspend is not in force in time, and is once there is an operator again."""
    with _no_operator(here):
        changes.make("sendinglanes", HELD, {"suspend": True})
        said = await words.when(_is_in("Suspended"), PROMISE_S)
    assert len(await words.when(_is_in("Suspended"), 60)) == len(words.slots)
    changes.make("sendinglanes", HELD, {"suspend": False})
    assert len(await words.when(_is_in("Running"), WITHIN_S)) == len(words.slots)
    return len(words.slots) - len(said)


async def test_a_refused_address_has_a_stand_in_within_seconds(outbound: Outbound, here: Installation) -> None:
    """From the ISP's refusal until the refused slot has a configuration in which the standby slot stands in for it."""
    ips, own, promoted = _addresses(here, WARM), Waits("quarantine_in_own_slot"), Waits("quarantine_by_reply")
    active = {slot: ip for slot, ip in ips.items() if "-s" not in slot}
    (spare,) = set(ips.values()) - set(active.values())
    sent = instead = 0
    async with SlotWords(here, WARM) as words, outbound.traffic(WARM, ("gmx-like.example",), RATE):
        for _ in range(CHANGES // len(active)):
            before, began = await words.serials(), time()
            await outbound.policy(GMX, blocked=_blocked(active.values()))
            acts, moved = await asyncio.gather(
                words.when(dict.fromkeys(active, _has_act("listing")), WITHIN_S),
                words.when({slot: _has_other(before[slot]) for slot in active}, WITHIN_S),
            )
            serials = await words.serials()
            await outbound.policy(GMX)
            await words.when(dict.fromkeys(active, _has_no_act), 3 * STANDBY_S)
            await words.when({slot: _has_other(serials[slot]) for slot in active}, WITHIN_S)
            records = await outbound.isps.dump(GMX.name)
            refused = _first_refusals(records, began)
            for slot, ip in active.items():
                own.add(refused[ip], acts, [slot])
                promoted.add(refused[ip], moved, [slot])
            since, until = max(moved.values()) + UNDER_WAY_S, min(refused.values()) + STANDBY_S - UNDER_WAY_S
            sent += sum(_sent(records, ip, since, until) for ip in active.values())
            instead += _sent(records, spare, since, until)
            await _pause()
    own.tell()
    promoted.tell()
    _say("in_force_sent_while_quarantined", sent, "messages", 0.0)
    _say("in_force_sent_by_the_standby_slot", instead, "messages")
    _say("in_force_quarantine_p95_s", round(promoted.p95, 2), "s", PROMISE_S)
    assert instead > sent == 0
    assert promoted.p95 < PROMISE_S


def _blocked(ips: Iterable[str]) -> dict[str, Any]:
    return {ip: {"code": 550, "text": REPLY} for ip in ips}


def _first_refusals(records: Iterable[Record], since: float) -> dict[str, float]:
    """Address -> when it was first refused since then."""
    found: dict[str, float] = {}
    for one in records:
        if isinstance(one, Refusal) and one.at >= since and one.code == 550:
            found[one.source_ip] = min(one.at, found.get(one.source_ip, math.inf))
    return found


async def test_what_replies_and_persons_stop_needs_no_operator(outbound: Outbound, here: Installation) -> None:
    """An act is each slot's own: it has another address, and hears the ISP for itself, with its next message there."""
    changes, ips = Changes(here), _addresses(here, HELD)
    own, lane, orders = Waits("own_slot_without_operator"), Waits("lane_without_operator"), Waits("orders")
    sent = looked = 0
    async with SlotWords(here, HELD) as words, outbound.traffic(HELD, DOMAINS, RATE):
        missed, seeded = await _missed_by_observers(outbound, changes, words, ips)
        with _no_operator(here):
            for _ in range(ROUNDS):
                began, said = await _refused(outbound, words, ips)
                await words.when(_has_no_act, 3 * ACT_S)
                for name, (isp, _, _) in ACTS.items():
                    records = await outbound.isps.dump(isp.name)
                    refused = _first_refusals(records, began)
                    lane.add(min(refused.values()), said[name], words.slots)
                    for slot, ip in ips.items():
                        own.add(refused[ip], said[name], [slot])
                        stopped = said[name].get(slot, math.inf) + UNDER_WAY_S
                        sent += _sent(records, ip, stopped, stopped + ACT_S - 2 * UNDER_WAY_S)
                        looked += 1
            await _orders(words, orders)
    for waits in (own, lane, orders):
        waits.tell()
    _say("in_force_in_lane_without_operator_p95_s", round(max(lane.p95, orders.p95), 2), "s", PROMISE_S)
    _say("in_force_sent_while_stopped_by_a_reply", sent, "messages", 0.0)
    _say("in_force_stops_looked_at", looked, "stops")
    _say_fault("in_force_slots_missed_with_automation_observe", missed, "slots")
    _say_fault("in_force_sent_while_only_observed", seeded, "messages")
    assert seeded > sent == 0
    assert missed == len(ADDRESSES)
    assert max(lane.p95, orders.p95) < PROMISE_S


async def _refused(
    outbound: Outbound, words: SlotWords, ips: Mapping[str, str], within: float = WITHIN_S
) -> tuple[float, dict[str, dict[str, float]]]:
    """Three ISPs refuse all addresses until each slot says so; since when, and by policy when each did."""
    began = time()
    for isp, _, _ in ACTS.values():
        await outbound.policy(isp, blocked=_blocked(ips.values()))

    async def until_said(name: str) -> dict[str, float]:
        said = await words.when(_has_act(name), within)
        await outbound.policy(ACTS[name][0])
        return said

    said = await asyncio.gather(*[until_said(name) for name in ACTS])
    return began, dict(zip(ACTS, said, strict=True))


def _sent(records: Iterable[Record], ip: str, began: float, ended: float) -> int:
    """Messages of this address that the ISP was offered in this time."""
    offers = [one for one in records if isinstance(one, Message | Refusal) and one.source_ip == ip]
    return sum(began <= (one.received if isinstance(one, Message) else one.at) < ended for one in offers)


async def _missed_by_observers(
    outbound: Outbound, changes: Changes, words: SlotWords, ips: Mapping[str, str]
) -> tuple[int, int]:
    """The seeded fault: slots in which replies stop nothing, since the lane only observes them; what ISPs get then."""
    for automation in ("Observe", "Act"):
        before = await words.serials()
        changes.make("sendinglanes", HELD, {"automation": automation})
        found = await words.when({slot: _has_other(serial) for slot, serial in before.items()}, WITHIN_S)
        assert len(found) == len(words.slots), automation
        if automation == "Observe":
            began, said = await _refused(outbound, words, ips, PROMISE_S)
            records = [one for isp, _, _ in ACTS.values() for one in await outbound.isps.dump(isp.name)]
            sent = sum(_sent(records, ip, began + UNDER_WAY_S, began + PROMISE_S) for ip in ips.values())
    return len(set(words.slots).difference(*said.values())), sent


async def _orders(words: SlotWords, waits: Waits) -> None:
    """What a person does when there is no operator: the same order to each slot."""
    for _ in range(ROUNDS):
        for action in ("suspend", "resume"):
            began = time()
            await words.order(action=action, site="limited")
            is_held = action == "suspend"
            said = await words.when(_has_orders if is_held else _has_no_orders, WITHIN_S)
            waits.add(began, said, words.slots)


def _has_orders(answer: Answer) -> bool:
    return bool(answer["delivery"].get("orders"))


def _has_no_orders(answer: Answer) -> bool:
    return not _has_orders(answer)
