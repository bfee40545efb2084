"""A slot's answer to `GET /v1/slot` as an observation; pure.

Before it: the visits of `observe`. After it: everything that reads what was seen. Invariant: what a relay of an older
image does not say is absent here, and never wrong.
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from lane_api.ippool import Quarantine
from lane_api.isppolicy import Action
from lane_operator.seen import ActSeen, Hour, NextKeySeen, Recent, SlotObservation, WarmUpSeen

__all__ = ["LONGEST", "answered", "slot_answer"]

LONGEST: Final = 2 << 20
"""Bytes of an answer: with every list that a relay keeps at its end, and each reply beyond ASCII, it has 1.5 MB."""
MOST_PARTS: Final = 100_000
"""Commas in one: as Python's objects, nothing but empty lists would take forty times what they take on the wire."""

EVERY_SITE = "*"
OBSERVED_TOLD = 5  # of one slot; GET /v1/slot has all
ACTS_TOLD = 26  # one more than status tells, so that it says that there are more
SAMPLE_CHARS = 200
_STEPS_S: Final = (86_400, 21_600, 3_600, 900, 300, 60)
"""What the length of an act is rounded up to, by the largest that is a quarter of it at most."""


def answered(body: bytes) -> dict[str, Any]:
    """The object in an answer's body; raises ValueError for what is none, or says more than any slot has to say."""
    if body.count(b",") > MOST_PARTS:
        raise ValueError(f"an answer of more than {MOST_PARTS} parts")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"an answer that is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise ValueError("an answer that is no object")  # noqa: TRY004  # a slot's word, no slip of ours
    return answer


def slot_answer(name: str, answer: Mapping[str, Any]) -> SlotObservation:
    """The answer to `GET /v1/slot` as an observation; raises TypeError, ValueError or KeyError for what is none."""
    queue, delivery, intake = answer["queue"], answer["delivery"], answer["intake"]
    proof, ptr = delivery.get("proof") or {}, delivery.get("ptr") or {}
    certificate, records = answer.get("certificate") or {}, answer.get("records") or {}
    known = answer.get("suppressions") or {}
    told = [one for one in (records.get("webhook"), answer.get("feedback")) if one]
    return SlotObservation(
        name=name,
        reachable=True,
        config_generation=int(answer["generation"]),
        config_serial=int(answer["serial"]) if "serial" in answer else None,
        config_refused=str(answer.get("refused") or ""),
        proof_state=str(proof.get("state") or ""),
        gate_open=bool(proof["open"]) if "open" in proof else None,
        proof_message=str(proof.get("message") or ""),
        proof_at=proof.get("at"),
        proof_address=str(proof.get("address") or ""),
        warmup=_warm_up(answer.get("warmup")),
        ptr_finding=str(ptr.get("finding") or ""),
        ptr_message=str(ptr.get("message") or ""),
        queued=int(queue["live"]),
        oldest_since=queue.get("oldestSince"),
        disk_used=_share(queue),
        is_behind=queue.get("behind") is True,
        sessions=int(intake["sessions"]),
        in_flight=int(queue["inFlight"]),
        intake=str(intake["state"]),
        intake_ordered=str(intake.get("ordered") or ""),
        spool_id=str(answer["spoolId"]),
        spool_mark=int(answer["spool"]["mark"]) if "spool" in answer else None,
        **_domains(answer.get("domains") or ()),
        certificate_self_signed=certificate.get("selfSigned"),
        unarchived=_unarchived(records),
        archive_failure=str((records.get("archive") or {}).get("failure") or ""),
        untold=sum(int(one.get("unsent") or 0) for one in told),
        webhook_failure=", ".join(str(one["failure"]) for one in told if one.get("unsent") and one.get("failure")),
        suppressed=int(known["words"]) if "words" in known else None,
        list_read_by=tuple(map(str, known.get("readBy") or ())),
        list_archived=known.get("archived") is True,
        list_failure=str(known.get("failure") or ""),
        head=str(records.get("head") or ""),
        sealing_failure=str(records.get("failure") or ""),
        restored=str(delivery.get("restored") or ""),
        orders=tuple(map(str, delivery.get("orders") or ())),
        quarantines=tuple(_quarantines(delivery)),
        acts=_acts(delivery),
        observed=tuple(_observed(delivery)),
        doubts=tuple(_doubts(answer.get("handover") or {})),
        owed=dict(_owed(answer.get("handover") or {})),
        stranded=bool((answer.get("handover") or {}).get("stranded")),
        last_hour=_hour(answer.get("lastHour")),
        recent=_recent(answer.get("recent")),
    )


def _share(queue: Mapping[str, Any]) -> int | None:
    """Of its budget, in full percent; changes in steps of five, so that not each message is news."""
    used, budget = int(queue.get("diskBytes") or 0), int(queue.get("budgetBytes") or 0)
    return min(100, 5 * (20 * used // budget)) if budget > 0 and used >= 0 else None


def _warm_up(said: Sequence[Mapping[str, Any]] | None) -> WarmUpSeen | None:
    """The ISP at which the address is least far, of those for which it is not warm."""
    cold = [one for one in said or () if one.get("amount") is not None]
    least = min(cold, key=lambda one: (int(one["step"]), str(one["isp"])), default=None)
    return None if least is None else WarmUpSeen(int(least["step"]), str(least["isp"]), least.get("since"))


def _domains(said: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of an observation that tell of From domains; a relay of an older image does not say all of it."""
    rows = {str(one["name"]): one for one in said}
    return {
        "domains_published": {name: bool(one["published"]) for name, one in rows.items()},
        "domains_dns": {name: (str(one["dns"]), str(one["message"])) for name, one in rows.items() if one.get("dns")},
        "domains_ed25519": {
            name: bool(one["ed25519"]["published"]) for name, one in rows.items() if one.get("ed25519")
        },
        "domains_selectors": {name: str(one.get("selector") or "") for name, one in rows.items()},
        "domains_next": dict(_next_keys(rows.values())),
    }


def _next_keys(domains: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, NextKeySeen]]:
    """Keys that are to sign next; a relay of an older image says nothing of them."""
    for one in domains:
        if said := one.get("next"):
            second = said.get("ed25519") or {}
            yield (
                str(one["name"]),
                NextKeySeen(
                    selector=str(said["selector"]),
                    published=bool(said["published"]),
                    finding=str(said["dns"]),
                    message=str(said["message"]),
                    ed25519=bool(second.get("published")),
                ),
            )


def _hour(said: Mapping[str, Any] | None) -> Hour | None:
    return Hour(*(int(said[name]) for name in ("delivered", "deferred", "bounced"))) if said else None


def _recent(said: Mapping[str, Any] | None) -> Recent | None:
    if not said:
        return None
    p90 = said.get("p90")
    return Recent(
        float(said["seconds"]), int(said["delivered"]), int(said["failed"]), None if p90 is None else float(p90)
    )


def _quarantines(delivery: Mapping[str, Any]) -> Iterator[Quarantine]:
    """What reply rules stop because of the slot's address."""
    for act in delivery.get("acts") or ():
        if act["action"] == Action.QUARANTINE_IP and not act.get("domain"):
            site = str(act["site"])
            yield Quarantine(
                by=str(act["rule"]),
                isps=() if site == EVERY_SITE else (site,),
                reply=str(act.get("reply") or ""),
                since=str(act["since"]),
                until=str(act["until"]),
            )


def _acts(delivery: Mapping[str, Any]) -> tuple[ActSeen, ...]:
    """What is in force; a relay of an older image does not say which sites it has slowed down, and gives no samples."""
    found = [_act(one, is_climbing=False) for one in delivery.get("acts") or ()]
    found += [_act(one, is_climbing=True) for one in delivery.get("slowed") or ()]
    found.sort(key=lambda act: (act.action == Action.BACKOFF, bool(act.domain), act.since, act.site, act.domain))
    return tuple(found[:ACTS_TOLD])


def _act(said: Mapping[str, Any], *, is_climbing: bool) -> ActSeen:
    site, since = str(said["site"]), str(said["since"])
    return ActSeen(
        action=str(said["action"]),
        site="" if site == EVERY_SITE else site,
        domain=str(said.get("domain") or ""),
        rule=str(said["rule"]),
        since=since,
        until="" if is_climbing else _at_latest(since, str(said["until"])),
        sample=str(said.get("sample") or "")[:SAMPLE_CHARS],
    )


def _at_latest(since: str, until: str) -> str:
    """The end, or a little later: each reply may put it off, and status is to be written seldom for that."""
    began = dt.datetime.fromisoformat(since)
    lasts = int((dt.datetime.fromisoformat(until) - began).total_seconds())
    step = next((step for step in _STEPS_S if step * 4 <= lasts), 1)
    return (began + dt.timedelta(seconds=-(-lasts // step) * step)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _observed(delivery: Mapping[str, Any]) -> Iterator[str]:
    """What would be in force, the newest first; a relay of an older image says nothing of it."""
    found = sorted(delivery.get("observed") or (), key=lambda act: str(act["since"]), reverse=True)
    for act in found[:OBSERVED_TOLD]:
        site = "every ISP" if act["site"] == EVERY_SITE else str(act["site"])
        about = f"mail from {act['domain']} to {site}" if act.get("domain") else site
        reply = f" ({act['reply']})" if act.get("reply") else ""
        yield f"{act['action']} of {about} until {act['until']} by rule {act['rule']}{reply}"


def _unarchived(records: Mapping[str, Any]) -> int | None:
    """Records that are not in the archive yet; None where there is no archive, or nothing is said of one."""
    last, archived = records.get("lastSeq"), (records.get("archive") or {}).get("archivedSeq")
    return None if last is None or archived is None else max(0, int(last) - int(archived))


def _doubts(handover: Mapping[str, Any]) -> Iterator[str]:
    """What is in doubt for so long that a person is wanted; a relay of an older image says nothing of it."""
    for doubt in handover.get("doubts") or ():
        if doubt.get("overdue"):
            yield f"{int(doubt['entries'])} messages with {doubt['slot']} since {doubt['since']}"


def _owed(handover: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What other slots may still ask about; a relay of an older image says nothing of it."""
    for one in handover.get("owed") or ():
        since = f", the oldest since {one['since']}" if one.get("since") else ""
        yield str(one["slot"]), f"{one['slot']} about {int(one['transfers'])} transfers{since}"
