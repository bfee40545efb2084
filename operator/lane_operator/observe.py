"""Looks at the slots: their pods in the cache, and what each says of itself at `GET /v1/slot`.

Comes after apply and before status. Each slot is visited by its own task, so that one that does not answer delays
nobody; the reconciler reads what was seen last and never waits. A visit also brings the slot what it lacks: the newest
configuration (`PUT /v1/config`) and its intake state (`PUT /v1/intake`).
Invariants: nothing here writes to the Kubernetes API; a lane is only woken when something that it shows has changed.
"""

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import aiohttp
import structlog

from lane_operator import metrics, slot_words
from lane_operator.inputs import Handed, Key, Manifest, SlotObservation
from lane_operator.packed import Packed
from lane_operator.seen import Hour
from lane_operator.slot_answers import LONGEST, answered, slot_answer

__all__ = ["UNANSWERED", "Observer", "Target", "pod_observation", "process_of"]

CONNECTIONS = 64
KEPT_S = 3.0
"""How long a connection is kept after an answer: one takes up to 0.3 MB; most slots are visited every 30 s, those of
lanes with standby slots every 2."""
VISIT_TIMEOUT = aiohttp.ClientTimeout(total=4, sock_connect=1.5)
UNANSWERED = 3
SILENT_AFTER_S = 30.0
"""Visits on end without an answer, and how long, until a slot counts as silent: answers that come too late from a busy
node are no news, and must not make a lane unready for a moment. Whether it takes mail is the kubelet's to see."""
AGAIN_S = 2.0
"""Until such a slot is visited again."""
RELAY_CONTAINER = "relay"
OWNER = "lanewright-operator"
"""As whom records of what it does name it."""
CONTEXTS = 512  # TLS contexts kept, one a lane's authority
_FORESEEN = (aiohttp.ClientError, TimeoutError, OSError, ValueError, TypeError, KeyError, AttributeError)
"""No answer, or one that is none."""
_FLEETING: dict[str, Any] = {
    "is_fresh": True,
    "sessions": 0,
    "in_flight": 0,
    "untold": 0,
    "webhook_failure": "",
    "suppressed": None,
    "list_read_by": (),
    "list_archived": False,
    "list_failure": "",
    "owed": {},
    "head": "",
}
"""What comes and goes in a slot that takes mail."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """A slot to visit, and what it is to have."""

    lane: Key
    slot: str
    host: str
    port: int
    server_name: str
    """The name in its certificate."""
    authority: str
    """The lane's CA, PEM."""
    token: str = field(repr=False)
    config: Packed | str = field(repr=False)
    """relay.yaml, as rendered for it; packed, since it is kept and seldom read."""
    config_digest: str
    """Over all of it but the serial."""
    serial: int
    generation: int
    intake: str
    """Open or Closed, by an order that its spool keeps; empty: as its configuration says, and no order."""
    interval_s: float
    process: str = ""
    """As `process_of` its pod."""


@dataclass(slots=True)
class _Visited:
    """One slot's task and what it has learnt."""

    target: Target
    task: "asyncio.Task[None] | None" = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    seen: SlotObservation | None = None
    pushed: tuple[str, int] = ("", 0)
    """Digest and serial of the configuration that this slot has taken, or refused, from us."""
    refused: str = ""
    unanswered: int = 0
    """Visits without an answer since the last one that had one."""
    answered_at: float = 0.0
    """When that was, by the monotonic clock."""
    unforeseen: str = ""
    """The last exception of a visit that is none of a slot's silence or of a wrong answer; each is logged once."""


class Observer:
    """Visits every slot again and again, and keeps what each said last."""

    def __init__(
        self,
        woken: Callable[[Key], None],
        resolver: Callable[[], aiohttp.ClientSession] | None = None,
        silent_after_s: float = SILENT_AFTER_S,
    ) -> None:
        """`woken` is called with a lane of which something has changed."""
        self._woken = woken
        self._silent_after_s = silent_after_s
        self._slots: dict[tuple[Key, str], _Visited] = {}
        self._aimed: set[Key] = set()
        """Lanes of which it is known who is to be visited."""
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None
        self._make_session = resolver or _session

    async def close(self) -> None:
        """Ends all visits."""
        for visited in self._slots.values():
            if visited.task is not None:
                visited.task.cancel()
        await asyncio.gather(*(v.task for v in self._slots.values() if v.task), return_exceptions=True)
        self._slots.clear()
        if self._session is not None:
            await self._session.close()

    def aim(self, lane: Key, targets: tuple[Target, ...], remembered: frozenset[str] = frozenset()) -> None:
        """Replaces the slots of one lane that are visited; a slot whose target changed is visited at once.

        `remembered` are slots that cannot be visited now and whose last words are kept.
        """
        wanted = {target.slot: target for target in targets}
        self._aimed.add(lane)
        for key in [key for key in self._slots if key[0] == lane and key[1] not in wanted]:
            self._stop(key, forget=key[1] not in remembered)
        for slot, target in wanted.items():
            known = self._slots.get((lane, slot))
            if known is None or known.task is None:
                self._start((lane, slot), target, known.seen if known else None)
            elif known.target != target:
                moved = _place(known.target) != _place(target)
                known.target = target
                if moved:
                    known.pushed = ("", 0)  # another process: it may hold an older file
                known.wake.set()

    def leave(self, lane: Key) -> None:
        """Nobody of this lane is visited any more; it has gone."""
        self.aim(lane, ())
        self._aimed.discard(lane)

    def seen(self, lane: Key, slot: str) -> SlotObservation | None:
        """What the slot said last; None before its first visit."""
        visited = self._slots.get((lane, slot))
        return None if visited is None else visited.seen

    def has_asked(self, lane: Key, slots: Iterable[str]) -> bool:
        """Whether those of the slots that are visited have had a visit each; else the lane is woken by its end."""
        asked = (self._slots.get((lane, slot)) for slot in slots)
        waits = any(one is not None and one.task is not None and one.seen is None for one in asked)
        return lane in self._aimed and not waits

    def handed(self, lane: Key, slot: str) -> Handed:
        """The configuration that the slot is to have as far as it was told here, and the serial that it said last."""
        visited = self._slots.get((lane, slot))
        if visited is None:
            return Handed()
        target, seen = visited.target, visited.seen
        if seen is None:
            return Handed(target.config_digest, target.serial)
        reported = seen.config_serial or 0
        return Handed(target.config_digest, target.serial, reported, seen.spool_id, seen.spool_mark, seen.head)

    def config_of(self, lane: Key, slot: str, digest: str, serial: int) -> Packed | str | None:
        """The configuration that the slot is visited with, if it is the one of this digest and serial."""
        visited = self._slots.get((lane, slot))
        if visited is None or (visited.target.config_digest, visited.target.serial) != (digest, serial):
            return None
        return visited.target.config

    def _stop(self, key: tuple[Key, str], *, forget: bool) -> None:
        visited = self._slots.pop(key)
        if visited.task is not None:
            visited.task.cancel()
        if not forget and visited.seen is not None:
            last = replace(visited.seen, reachable=False, is_asked=False)
            self._slots[key] = _Visited(visited.target, seen=last)

    def _start(self, key: tuple[Key, str], target: Target, seen: SlotObservation | None) -> None:
        seen = replace(seen, is_asked=True) if seen is not None else None
        visited = self._slots[key] = _Visited(target, seen=seen)
        visited.task = asyncio.create_task(self._keep_visiting(visited), name=f"visit {key[0][0]}/{key[1]}")

    async def _keep_visiting(self, visited: _Visited) -> None:
        while True:
            visited.wake.clear()
            before = visited.seen
            visited.seen = await self._visit(visited)
            if before is None or _shown(before) != _shown(visited.seen):
                self._woken(visited.target.lane)
            try:
                doubtful = visited.unanswered > 0 and visited.seen.reachable
                async with asyncio.timeout(min(visited.target.interval_s, AGAIN_S if doubtful else inf)):
                    await visited.wake.wait()
            except TimeoutError:
                continue

    async def _visit(self, visited: _Visited) -> SlotObservation:
        """One visit; a slot that goes on giving no answer keeps its last words, marked as old."""
        target = visited.target
        try:
            answer = await self._ask(target, "GET", "slot")
            if _is_to_be_pushed(visited, answer):
                await self._push(visited)
                answer = await self._ask(target, "GET", "slot")
            if not _is_kept(answer, target.intake):
                await self._order_intake(target)
                answer = await self._ask(target, "GET", "slot")
            seen = slot_answer(target.slot, answer)
            metrics.relay_requests.labels(result="ok").inc()
            visited.unanswered, visited.answered_at = 0, time.monotonic()
            if seen.config_serial == target.serial:
                visited.refused = ""  # it has taken it after all, by its file
            return replace(seen, config_refused=visited.refused or seen.config_refused, process=target.process)
        except Exception as error:  # noqa: BLE001  # the task's edge: a visit that ends in one is none, the next comes
            metrics.relay_requests.labels(result=type(error).__name__).inc()
            _log_failure(visited, error)
            visited.unanswered += 1
            if visited.seen is not None and visited.seen.reachable and not self._is_silent(visited):
                return replace(visited.seen, is_fresh=False)
            return replace(visited.seen or SlotObservation(target.slot), reachable=False)

    async def _order_intake(self, target: Target) -> None:
        """Has the slot open or close intake, by our name."""
        lane = "/".join(target.lane)
        why = {"owner": OWNER, "reason": f"generation {target.generation} of SendingLane {lane} asks for it"}
        try:
            await self._ask(target, "PUT", "intake", json={"state": target.intake, **why})
        except aiohttp.ClientResponseError as refused:
            if refused.status != 422:
                raise
            await self._ask(target, "PUT", "intake", json={"state": target.intake})  # a relay of an older image

    def _is_silent(self, visited: _Visited) -> bool:
        silent_s = time.monotonic() - visited.answered_at
        return visited.unanswered >= UNANSWERED and silent_s >= self._silent_after_s

    async def _push(self, visited: _Visited) -> None:
        """Hands the slot its newest configuration; a refusal is kept until there is another one."""
        target = visited.target
        async with self._request(target, "PUT", "config", data=str(target.config).encode()) as response:
            if response.status == 422:
                visited.refused = slot_words.sentence((await _answer(response)).get("error")) or "refused"
            else:
                response.raise_for_status()
                visited.refused = ""
            visited.pushed = (target.config_digest, target.serial)
            log.info(
                "configuration pushed",
                lane="/".join(target.lane),
                slot=target.slot,
                generation=target.generation,
                serial=target.serial,
                refused=visited.refused,
            )

    async def _ask(self, target: Target, method: str, resource: str, **body: Any) -> dict[str, Any]:
        async with self._request(target, method, resource, **body) as response:
            response.raise_for_status()
            return await _answer(response)

    def _request(self, target: Target, method: str, resource: str, **body: Any) -> Any:
        if self._session is None:
            self._session = self._make_session()
        host = f"[{target.host}]" if ":" in target.host else target.host
        return self._session.request(
            method,
            f"https://{host}:{target.port}/v1/{resource}",
            ssl=self._context(target.authority),
            server_hostname=target.server_name,
            headers={"Authorization": f"Bearer {target.token}", "Accept-Encoding": "identity"},
            allow_redirects=False,  # whoever runs in a lane's pod would else choose what we ask, and from where
            **body,
        )

    def _context(self, authority: str) -> ssl.SSLContext:
        """A context that trusts this lane's authority and no other."""
        context = self._contexts.get(authority)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_verify_locations(cadata=authority)
            self._contexts[authority] = context
            if len(self._contexts) > CONTEXTS:
                self._contexts.popitem(last=False)
        return context


def _log_failure(visited: _Visited, error: Exception) -> None:
    """A slot that does not answer is seen in status; what nobody foresaw is our bug, and shows in the log alone."""
    target, said = visited.target, f"{type(error).__name__}: {error}"
    if isinstance(error, _FORESEEN):
        log.debug(
            "slot does not answer", lane="/".join(target.lane), slot=target.slot, host=target.host, error=str(error)
        )
    elif visited.unforeseen != said:
        visited.unforeseen = said
        log.error("visit failed", lane="/".join(target.lane), slot=target.slot, exc_info=error)


def _session() -> aiohttp.ClientSession:
    """What a slot sends stays as large as it is on the wire, and nothing of it is kept."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEPT_S),
        timeout=VISIT_TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


async def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The object that a slot answers with; raises ValueError for none, and for one that is larger than any."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LONGEST:
            raise ValueError(f"an answer of more than {LONGEST} bytes")
    return answered(bytes(body))


def _place(target: Target) -> tuple[str, int, str]:
    return target.host, target.port, target.process


def _is_to_be_pushed(visited: _Visited, answer: Mapping[str, Any]) -> bool:
    """Whether the slot has another configuration than it is to have, and has not refused this one already."""
    target = visited.target
    if "serial" not in answer:  # a relay of an older image: it cannot say which content of a generation it has
        return int(answer.get("generation", 0)) < target.generation or visited.pushed[0] != target.config_digest
    refused = visited.refused and visited.pushed == (target.config_digest, target.serial)
    return not refused and int(answer["serial"]) != target.serial


def _is_kept(answer: Mapping[str, Any], wanted: str) -> bool:
    """Whether intake is as it is to be; a closed one also in the slot's spool, for a restart reads an older file."""
    if not wanted:
        return True
    intake = answer.get("intake") or {}
    return intake.get("state") == wanted and (wanted == "Open" or intake.get("ordered") == wanted)


def process_of(pod: Manifest) -> str:
    """Which process answers in a pod: another one has read its files anew, and may hold an older configuration."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    restarts = next((one.get("restartCount", 0) for one in statuses if one["name"] == RELAY_CONTAINER), 0)
    return f"{pod['metadata'].get('uid', '')}/{restarts}"


def pod_observation(name: str, pod: Manifest | None, said: SlotObservation | None, pvc_uid: str) -> SlotObservation:
    """A slot's words joined with what the cluster knows of its pod."""
    seen = said or SlotObservation(name)
    if pod is None:
        return replace(
            seen,
            pod_ready=False,
            ready_since="",
            unready_since="",
            pod_reason="no pod",
            reachable=False,
            pvc_uid=pvc_uid,
        )
    status = pod.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    ready = conditions.get("Ready", {}).get("status") == "True"
    changed = str(conditions.get("Ready", {}).get("lastTransitionTime") or "")
    return replace(
        seen,
        reachable=seen.reachable and seen.process == process_of(pod),  # else words of a process that is no more
        pod_ready=ready,
        ready_since=changed if ready else "",
        unready_since="" if ready else changed or str(pod["metadata"].get("creationTimestamp", "")),
        pod_reason="" if ready else _why_not_ready(status, conditions),
        node=pod.get("spec", {}).get("nodeName", ""),
        pvc_uid=pvc_uid,
    )


def _why_not_ready(status: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]) -> str:
    """The most telling line that scheduler and kubelet have left."""
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return str(scheduled.get("message") or scheduled.get("reason") or "not scheduled")
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting:
            return f"{container['name']}: {waiting.get('reason', 'waiting')} {waiting.get('message', '')}".strip()
    return str(conditions.get("Ready", {}).get("message") or status.get("phase") or "starting")


def _shown(seen: SlotObservation) -> SlotObservation:
    """What of an observation a lane shows or acts on; a field that nobody names here is."""
    step = None if seen.warmup is None else replace(seen.warmup, since=None)
    hour = seen.last_hour
    if hour is not None:
        hour = Hour(_rounded(hour.delivered), _rounded(hour.deferred), _rounded(hour.bounced))
    seen = replace(seen, proof_at=None, oldest_since=None, recent=None, warmup=step, last_hour=hour)
    if seen.intake == "Closed":
        return seen
    return replace(  # of interest only in a slot that goes
        seen,
        queued=_rounded(seen.queued),
        unarchived=None if seen.unarchived is None else 0,
        **_FLEETING,
    )


def _rounded(count: int) -> int:
    """Two significant digits, as in status."""
    digits = len(str(count)) - 2
    return count if digits <= 0 else round(count, -digits)
