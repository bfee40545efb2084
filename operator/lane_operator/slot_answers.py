"""A slot's answer to `GET /v1/slot` as an observation; pure.

Before it: the visits of `observe`. After it: everything that reads what was seen. Invariants: what a relay of an older
image does not say is absent here, and never wrong; each value is of the kind and the length that `slot_words` gives it,
for what one slot says must do no harm to the record of a pool that other lanes share.
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from lane_api.ippool import Quarantine
from lane_api.isppolicy import Action
from lane_operator import slot_words as said_as
from lane_operator.seen import ActSeen, Hour, NextKeySeen, Recent, RecordSeen, SlotObservation, WarmUpSeen

__all__ = ["LONGEST", "answered", "slot_answer"]

LONGEST: Final = 2 << 20
"""Bytes of an answer: with every list that a relay keeps at its end, and each reply beyond ASCII, it has 1.5 MB."""
MOST_PARTS: Final = 100_000
"""Commas in one: as Python's objects, nothing but empty lists would take forty times what they take on the wire."""

EVERY_SITE = "*"
OBSERVED_TOLD = 5  # of one slot; GET /v1/slot has all
ACTS_TOLD = 26  # one more than status tells, so that it says that there are more
SAMPLE_CHARS = 200
LONGEST_HEAD: Final = 4096
MOST_RECORDS, RECORD_CHARS = 8, 256
"""Of a domain, beside its keys; of one record."""
MOST_QUARANTINES, QUARANTINED_CHARS = 32, 2048
"""Of one address: they stand in the status of its pool, which has room for 1.5 MB, with those of 255 others."""
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
    """The answer to `GET /v1/slot` as an observation; raises ValueError or KeyError for what is none."""
    queue, intake = said_as.part(answer["queue"]), said_as.part(answer["intake"])
    spool, known = answer.get("spool"), said_as.part(answer.get("suppressions"))
    delivery, certificate = said_as.part(answer["delivery"]), said_as.part(answer.get("certificate"))
    return SlotObservation(
        name=name,
        reachable=True,
        config_generation=said_as.whole(answer["generation"]),
        config_serial=said_as.whole(answer["serial"]) if "serial" in answer else None,
        config_refused=said_as.sentence(answer.get("refused")),
        queued=said_as.count(queue["live"]),
        oldest_since=said_as.time(queue.get("oldestSince")),
        disk_used=_share(queue),
        is_behind=queue.get("behind") is True,
        sessions=said_as.count(intake["sessions"]),
        in_flight=said_as.count(queue["inFlight"]),
        intake=said_as.word(intake["state"]),
        intake_ordered=said_as.word(intake.get("ordered")),
        spool_id=said_as.word(answer["spoolId"]),
        spool_mark=said_as.count(said_as.part(spool)["mark"]) if spool is not None else None,
        certificate_self_signed=said_as.flag(certificate.get("selfSigned")),
        suppressed=said_as.count(known["words"]) if "words" in known else None,
        list_read_by=tuple(map(said_as.name, said_as.entries(known.get("readBy")))),
        list_archived=known.get("archived") is True,
        list_failure=said_as.sentence(known.get("failure")),
        last_hour=_hour(said_as.part(answer.get("lastHour"))),
        recent=_recent(said_as.part(answer.get("recent"))),
        warmup=_warm_up(answer.get("warmup")),
        **_proof(delivery),
        **_domains(said_as.rows(answer.get("domains"))),
        **_records(said_as.part(answer.get("records")), said_as.part(answer.get("feedback"))),
        **_delivery(delivery),
        **_handover(said_as.part(answer.get("handover"))),
    )


def _share(queue: Mapping[str, Any]) -> int | None:
    """Of its budget, in full percent; changes in steps of five, so that not each message is news."""
    used, budget = said_as.count(queue.get("diskBytes") or 0), said_as.count(queue.get("budgetBytes") or 0)
    return min(100, 5 * (20 * used // budget)) if budget else None


def _proof(delivery: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that tell of the slot's address."""
    proof, ptr = said_as.part(delivery.get("proof")), said_as.part(delivery.get("ptr"))
    return {
        "proof_state": said_as.word(proof.get("state")),
        "gate_open": said_as.flag(proof.get("open")),
        "proof_message": said_as.sentence(proof.get("message")),
        "proof_at": said_as.time(proof.get("at")),
        "proof_address": said_as.word(proof.get("address")),
        "ptr_finding": said_as.word(ptr.get("finding")),
        "ptr_message": said_as.sentence(ptr.get("message")),
    }


def _records(records: Mapping[str, Any], feedback: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that tell of records, of their archive, and of what webhooks do not have yet."""
    archive = said_as.part(records.get("archive"))
    last, archived = records.get("lastSeq"), archive.get("archivedSeq")
    told = [(said_as.count(one.get("unsent") or 0), one) for one in (said_as.part(records.get("webhook")), feedback)]
    return {
        "head": said_as.verbatim(records.get("head"), LONGEST_HEAD),
        "sealing_failure": said_as.sentence(records.get("failure")),
        # None where there is no archive, or nothing is said of one
        "unarchived": None if None in (last, archived) else max(0, said_as.whole(last) - said_as.whole(archived)),
        "archive_failure": said_as.sentence(archive.get("failure")),
        "untold": sum(unsent for unsent, _ in told),
        "webhook_failure": ", ".join(filter(None, (said_as.sentence(one.get("failure")) for n, one in told if n))),
    }


def _delivery(delivery: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that tell of mail that is held, stopped or slowed down."""
    acts = said_as.rows(delivery.get("acts"))
    return {
        "restored": said_as.sentence(delivery.get("restored")),
        "orders": tuple(map(said_as.sentence, said_as.entries(delivery.get("orders")))),
        "quarantines": tuple(_quarantines(acts)),
        "acts": _acts(acts, said_as.rows(delivery.get("slowed"))),
        "observed": tuple(_observed(said_as.rows(delivery.get("observed")))),
    }


def _handover(handover: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that tell of mail on its way between slots; a relay of an older image says nothing of it."""
    return {
        "doubts": tuple(_doubts(said_as.rows(handover.get("doubts")))),
        "owed": dict(_owed(said_as.rows(handover.get("owed")))),
        "stranded": bool(handover.get("stranded")),
    }


def _warm_up(said: Any) -> WarmUpSeen | None:
    """The ISP at which the address is least far, of those for which it is not warm."""
    cold = [one for one in said_as.rows(said) if one.get("amount") is not None]
    steps = [
        WarmUpSeen(said_as.count(one["step"]), said_as.name(one["isp"]), said_as.time(one.get("since"))) for one in cold
    ]
    return min(steps, key=lambda one: (one.step, one.isp), default=None)


def _domains(said: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of an observation that tell of From domains; a relay of an older image does not say all of it."""
    rows = {said_as.name(one["name"]): one for one in said}
    second = {name: said_as.part(one.get("ed25519")) for name, one in rows.items()}
    return {
        "domains_published": {name: bool(one["published"]) for name, one in rows.items()},
        "domains_dns": {
            name: (said_as.word(one["dns"]), said_as.sentence(one["message"]))
            for name, one in rows.items()
            if one.get("dns")
        },
        "domains_ed25519": {name: bool(one["published"]) for name, one in second.items() if one},
        "domains_selectors": {name: said_as.name(one.get("selector")) for name, one in rows.items()},
        "domains_next": dict(_next_keys(rows)),
        "domains_records": {
            name: tuple(map(_record, said_as.rows(one.get("records"))[:MOST_RECORDS])) for name, one in rows.items()
        },
    }


def _record(said: Mapping[str, Any]) -> RecordSeen:
    return RecordSeen(
        purpose=said_as.word(said["purpose"]),
        name=said_as.name(said["name"]),
        finding=said_as.word(said["finding"]),
        message=said_as.sentence(said.get("message")),
        found=said_as.sentence(said.get("found"))[:RECORD_CHARS],
    )


def _next_keys(domains: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, NextKeySeen]]:
    """Keys that are to sign next; a relay of an older image says nothing of them."""
    for name, one in domains.items():
        if said := said_as.part(one.get("next")):
            second = said_as.part(said.get("ed25519"))
            yield (
                name,
                NextKeySeen(
                    selector=said_as.name(said["selector"]),
                    published=bool(said["published"]),
                    finding=said_as.word(said["dns"]),
                    message=said_as.sentence(said["message"]),
                    ed25519=bool(second.get("published")),
                ),
            )


def _hour(said: Mapping[str, Any]) -> Hour | None:
    return Hour(*(said_as.count(said[name]) for name in ("delivered", "deferred", "bounced"))) if said else None


def _recent(said: Mapping[str, Any]) -> Recent | None:
    if not said:
        return None
    delivered, failed = said_as.count(said["delivered"]), said_as.count(said["failed"])
    return Recent(said_as.number(said["seconds"]) or 0.0, delivered, failed, said_as.number(said.get("p90")))


def _quarantines(acts: Iterable[Mapping[str, Any]]) -> Iterator[Quarantine]:
    """What reply rules stop because of the slot's address: all mail before that for one ISP, then the oldest first."""
    refusals = (act for act in acts if act["action"] == Action.QUARANTINE_IP and not act.get("domain"))
    found = sorted(map(_quarantine, refusals), key=lambda one: (bool(one.isps), one.since, one.isps))
    room = QUARANTINED_CHARS
    for one in found[:MOST_QUARANTINES]:
        room -= sum(map(len, one.isps))
        if room >= 0:
            yield one


def _quarantine(act: Mapping[str, Any]) -> Quarantine:
    site = said_as.name(act["site"])
    return Quarantine(
        by=said_as.name(act["rule"]),
        isps=() if site == EVERY_SITE else (site,),
        reply=said_as.sentence(act.get("reply"))[:SAMPLE_CHARS],
        since=_time_of(act, "since"),
        until=_time_of(act, "until"),
    )


def _acts(acts: Iterable[Mapping[str, Any]], slowed: Iterable[Mapping[str, Any]]) -> tuple[ActSeen, ...]:
    """What is in force; a relay of an older image does not say which sites it has slowed down, and gives no samples."""
    found = [*(_act(one, is_climbing=False) for one in acts), *(_act(one, is_climbing=True) for one in slowed)]
    found.sort(key=lambda act: (act.action == Action.BACKOFF, bool(act.domain), act.since, act.site, act.domain))
    return tuple(found[:ACTS_TOLD])


def _act(said: Mapping[str, Any], *, is_climbing: bool) -> ActSeen:
    site, since = said_as.name(said["site"]), _time_of(said, "since")
    return ActSeen(
        action=said_as.word(said["action"]),
        site="" if site == EVERY_SITE else site,
        domain=said_as.name(said.get("domain")),
        rule=said_as.name(said["rule"]),
        since=since,
        until="" if is_climbing else _at_latest(since, _time_of(said, "until")),
        sample=said_as.sentence(said.get("sample"))[:SAMPLE_CHARS],
    )


def _time_of(act: Mapping[str, Any], name: str) -> str:
    """One of its two times; raises ValueError where it has none."""
    found = said_as.time(act[name])
    if found is None:
        raise ValueError(f"an act without a time {name}")
    return found


def _at_latest(since: str, until: str) -> str:
    """The end, or a little later: each reply may put it off, and status is to be written seldom for that."""
    began = dt.datetime.fromisoformat(since)
    lasts = int((dt.datetime.fromisoformat(until) - began).total_seconds())
    step = next((step for step in _STEPS_S if step * 4 <= lasts), 1)
    return (began + dt.timedelta(seconds=-(-lasts // step) * step)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _observed(acts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What would be in force, the newest first; a relay of an older image says nothing of it."""
    found = sorted(acts, key=lambda act: _time_of(act, "since"), reverse=True)
    for act in found[:OBSERVED_TOLD]:
        domain, reply = said_as.name(act.get("domain")), said_as.sentence(act.get("reply"))[:SAMPLE_CHARS]
        site = "every ISP" if act["site"] == EVERY_SITE else said_as.name(act["site"])
        about, why = f"mail from {domain} to {site}" if domain else site, f" ({reply})" if reply else ""
        rule, action = said_as.name(act["rule"]), said_as.word(act["action"])
        yield f"{action} of {about} until {_time_of(act, 'until')} by rule {rule}{why}"


def _doubts(doubts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What is in doubt for so long that a person is wanted."""
    for doubt in doubts:
        if doubt.get("overdue"):
            slot, since = said_as.name(doubt["slot"]), said_as.time(doubt["since"])
            yield f"{said_as.count(doubt['entries'])} messages with {slot} since {since}"


def _owed(owed: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """What other slots may still ask about."""
    for one in owed:
        slot, began = said_as.name(one["slot"]), said_as.time(one.get("since"))
        since = f", the oldest since {began}" if began else ""
        yield slot, f"{slot} about {said_as.count(one['transfers'])} transfers{since}"
