"""Requests: what is taken, and that what is wrong is said with its place."""

import json
from typing import Any

import pytest

from lane_relay.accept.http.reading import read
from lane_relay.accept.http.request import Submission

GOOD: dict[str, Any] = {"from": "a@brand.test", "recipients": ["b@isp.test"], "text": "x"}


def request(**more: Any) -> Submission | list[dict[str, str]]:
    body = {key: value for key, value in {**GOOD, **more}.items() if value is not None}
    return read(json.dumps(body).encode())


def test_an_address_is_written_alone_or_with_a_name() -> None:
    made = request(recipients=["b@isp.test", {"to": "c@isp.test", "name": "C"}], replyTo={"address": "r@brand.test"})
    assert isinstance(made, Submission)
    assert [(one.to, one.name) for one in made.recipients] == [("b@isp.test", ""), ("c@isp.test", "C")]
    assert made.sender is not None
    assert (made.sender.address, made.is_template) == ("a@brand.test", False)


def test_substitutions_make_it_a_template_unless_it_is_said_otherwise() -> None:
    for more, is_template in (
        ({"substitutions": {"a": 1}}, True),
        ({"recipients": [{"to": "b@isp.test", "substitutions": {"a": 1}}]}, True),
        ({"template": "Jinja"}, True),
        ({"template": "None", "text": "{{ as it is }}"}, False),
    ):
        made = request(**more)
        assert isinstance(made, Submission)
        assert made.is_template is is_template


def test_times_and_base64_are_read() -> None:
    made = request(expiresIn="1h30m", triggeredAt="2026-11-28T12:00:00+01:00", attachments=[
        {"name": "a", "content": "aGk=\r\n"}])  # fmt: skip
    assert isinstance(made, Submission)
    assert (made.expires_in, made.attachments[0].content) == (5400.0, b"hi")


@pytest.mark.parametrize(
    ("more", "pointer", "words"),
    [
        ({"expiresin": "5m"}, "/expiresin", "unknown field"),
        ({"recipients": []}, "/recipients", "at least 1"),
        ({"recipients": None}, "/recipients", "is required"),
        ({"recipients": [{"name": "x"}]}, "/recipients/0/to", "is required"),
        ({"recipients": [1]}, "/recipients/0", ""),
        ({"from": None}, "", "from is missing"),
        ({"text": None}, "", "there is no content"),
        ({"raw": "aGk="}, "", "raw is the whole message: put text into it"),
        ({"expiresIn": "5"}, "/expiresIn", "a number and a unit"),
        ({"expiresIn": 300}, "/expiresIn", "a number and a unit"),
        ({"expiresIn": "0s"}, "/expiresIn", "more than 0s"),
        ({"triggeredAt": "2026-11-28T12:00:00"}, "/triggeredAt", "timezone"),
        ({"attachments": [{"name": "a", "content": "%"}]}, "/attachments/0/content", "not base64"),
        ({"attachments": [{"name": "a\n", "content": ""}]}, "/attachments/0/name", "pattern"),
        ({"attachments": [{"name": "a", "content": "", "cid": "x"}]}, "", "there is none"),
        ({"attachments": [{"name": "a", "content": "", "type": "message/rfc822"}]}, "/attachments/0", "raw"),
        ({"dsn": {"notify": ["Never", "Delay"]}}, "/dsn", "Never alone"),
        ({"dsn": {"notify": ["never"]}}, "/dsn/notify/0", "'Never'"),
        ({"template": "None", "substitutions": {"a": 1}}, "", "Jinja"),
        ({"subject": 5}, "/subject", "string"),
        ({"correlationId": "a\nb"}, "/correlationId", "pattern"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(more: dict[str, Any], pointer: str, words: str) -> None:
    found = request(**more)
    assert isinstance(found, list)
    assert pointer in [one["pointer"] for one in found]
    assert words in " ".join(one["detail"] for one in found)
