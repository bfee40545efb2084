"""The audit log: writes by user."""

import json
from pathlib import Path

from e2e.cluster import audit


def _event(**more: object) -> str:
    event = {
        "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
        "user": {"username": "system:serviceaccount:lw:operator"},
        "verb": "patch",
        "objectRef": {"resource": "sendinglanes", "subresource": "status", "namespace": "a", "name": "b"},
        "responseStatus": {"code": 200},
    }
    return json.dumps({**event, **more}) + "\n"


def test_writes_are_counted_by_user_without_leases(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text(_event() + _event(user={"username": "admin"}) + _event(objectRef={"resource": "leases"}))
    found = audit.writes(log, user="system:serviceaccount:lw:operator")
    assert [(w.verb, w.resource, w.code) for w in found] == [("patch", "sendinglanes/status", 200)]
    assert len(audit.writes(log, leases=True)) == 3
    assert len(audit.writes(log, offset=len(_event()))) == 1


def test_reads_are_requests_and_no_writes(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text(_event() + _event(verb="watch", objectRef={"resource": "pods", "apiGroup": "x"}))
    assert len(audit.writes(log)) == 1
    assert [(one.verb, one.group) for one in audit.requests(log)] == [("patch", ""), ("watch", "x")]


def test_what_the_authorizer_refused_is_told_from_what_admission_did(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    decision = "authorization.k8s.io/decision"
    no = {"responseStatus": {"code": 403}}
    log.write_text(_event(**no, annotations={decision: "forbid"}) + _event(**no, annotations={decision: "allow"}))
    assert [one.forbidden for one in audit.requests(log)] == [True, False]


def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text(_event() + _event()[:40])
    assert len(audit.writes(log)) == 1
