"""Bodies: what they are read to, and that no body makes much of little."""

import json
import tracemalloc
from typing import Any

import pytest

from lane_relay.accept.http.answer import Answer, Problem
from lane_relay.accept.http.reading import MAX_PARTS, Read, canonical, read_request

GOOD: dict[str, Any] = {"from": "a@brand.test", "recipients": ["b@isp.test"], "text": "x"}


def problem_of(body: bytes, most_recipients: int = 10_000) -> Problem:
    answer = read_request(body, most_recipients)
    assert isinstance(answer, Answer)
    assert isinstance(answer.body, Problem)
    return answer.body


def body_of(**more: Any) -> bytes:
    return json.dumps({**GOOD, **more}).encode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (rb"\ud800", r"\ud800 in a text is half a character"), (rb"a\uD83Dx", r"\uD83D in a text is half a character"),
        (rb"\\\ud83d", r"\ud83d in a text is half a character"), (rb"\\ud83d", "truncated"),
        (rb"\ud83d\ude00", "truncated"),
    ],
)  # fmt: skip
def test_half_a_character_is_named_and_no_whole_one(text: bytes, words: str) -> None:
    with pytest.raises(ValueError, match="JSON") as failed:
        canonical(b'{"a": "' + text + (b'"}' if words != "truncated" else b""))
    assert words in str(failed.value)


def test_the_same_json_has_one_canonical_form_and_what_is_none_has_not() -> None:
    assert canonical(b'{"b": 1, "a": [1.0, "\\u00e9"]}') == canonical('{ "a":[1.0,"é"],"b":1}'.encode())
    assert canonical(b'{"a": 1}') != canonical(b'{"a": 2}')
    for bad in (b"", b"{", b"NaN", b'{"a": Infinity}', b"\xff", b"[" * 100_000, b'"\\ud800"'):
        with pytest.raises(ValueError, match="JSON"):
            canonical(bad)


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (body_of(recipients=[""] * 100_000), 422, None),
        (body_of(recipients=[""] * 10_000), 422, "/recipients/0/to"),
        (body_of(recipients=[{"to": "b@isp.test", **{f"x{n}": 1 for n in range(50_000)}}]), 422, "/recipients/0"),
        (body_of(headers={f"x{n}": 1 for n in range(50_000)}), 422, "/headers"),
        (body_of(**{f"x{n}": 1 for n in range(50_000)}), 422, ""),
        (body_of(attachments=[""] * 100_000), 422, "/attachments/0"),
        (body_of(dsn={"notify": ["x"] * 100_000}), 422, "/dsn/notify"),
        (b'{"substitutions": [' + b"[]," * MAX_PARTS + b"1]}", 413, None),
        (b'{"substitutions": ' + b'{"":' * MAX_PARTS, 413, None),
        (b'""' * (MAX_PARTS + 1), 413, None),
    ],
)
def test_many_mistakes_or_many_values_in_a_small_body_are_one_answer_of_a_few_lines(
    body: bytes, status: int, pointer: str | None
) -> None:
    tracemalloc.start()
    try:
        found = problem_of(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.status == status
    assert len(found.errors or []) <= 20
    assert pointer is None or (found.errors is not None and found.errors[0].pointer == pointer)
    assert peak < 64 * len(body) + 2**20, "errors that nobody is told of were made"


def test_commas_brackets_and_quotes_within_a_text_are_not_counted_as_values() -> None:
    text = '"a", [b], {c} \\ ' * (MAX_PARTS // 4)
    assert len(text.encode()) < 2**21
    found = read_request(body_of(text=text), 10)
    assert isinstance(found, Read)
    assert found.request.text == text
    assert found.held < 2**12
    assert problem_of(b'{"text": "' + b'\\"' * 2_000_000).status == 400


def test_a_request_of_the_most_recipients_with_values_of_their_own_is_taken() -> None:
    values = {f"k{n}": "v" for n in range(12)}
    recipients = [{"to": f"r{n}@isp.test", "name": "R", "substitutions": values} for n in range(10_000)]
    found = read_request(body_of(recipients=recipients), 10_000)
    assert isinstance(found, Read)
    assert len(found.request.recipients) == 10_000
    assert found.held > 10_000 * 12 * 64
