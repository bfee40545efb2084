"""What comes as an answer of the API server and is none: an error of ours, whatever it holds."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_operator.errors import ConflictError, KubeError, UnavailableError
from lane_operator.kube import SERVICE, WEBHOOK, Kube
from lane_operator.kube.answers import NoAnswerError, answered, event_of, names_of, page_of, refusal, retry_after
from tests.lane_operator.small_api import small_api

PATH = "/api/v1/namespaces/mail/services"
NO_ANSWER = [b"<html>", b"[]", b"7", b'{"a":', b"\xff", b'"\xff"', b'{"a":1e999}', b"[" * 100_000]
_WORDS = st.sampled_from(
    ["metadata", "resourceVersion", "items", "type", "object", "ERROR", "code", "details", "causes"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        ("86400", 300),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0),
        ("nan", 0),
        ("-1", 0),
        ("²", 0),
    ],
)
def test_how_long_to_wait_is_seconds_or_nothing(said: str | None, seconds: float) -> None:
    assert retry_after(said) == seconds


@pytest.mark.parametrize("text", NO_ANSWER)
def test_what_is_no_object_is_no_answer(text: bytes) -> None:
    with pytest.raises(NoAnswerError):
        answered(text)


@given(_JSON)
def test_whatever_comes_is_read_or_no_answer(body: Any) -> None:
    text = json.dumps(body).encode()
    readers: tuple[Callable[[bytes], object], ...] = (
        event_of,
        lambda one: page_of(answered(one)),
        lambda one: names_of(answered(one)),
    )
    for read in readers:
        try:
            read(text)
        except (NoAnswerError, KubeError):
            continue

    assert isinstance(refusal(403, text, 0.0), KubeError)
    assert isinstance(refusal(503, text, 0.0), UnavailableError)


@pytest.mark.parametrize(
    "body",
    [
        {"type": "MODIFIED"},
        {"type": "MODIFIED", "object": {"metadata": {"resourceVersion": "7"}}},
        {"type": "BOOKMARK", "object": {"metadata": {}}},
        {"object": {"metadata": {"resourceVersion": "7", "name": "a"}}},
    ],
)
def test_an_event_without_what_it_is_known_by_is_none(body: dict[str, Any]) -> None:
    with pytest.raises(NoAnswerError):
        event_of(json.dumps(body).encode())


def test_the_end_of_a_watch_is_told_by_its_kind() -> None:
    with pytest.raises(ConflictError):
        event_of(b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version"}}')
    with pytest.raises(UnavailableError):
        event_of(b'{"type":"ERROR","object":{"code":"x"}}')


async def test_a_proxy_that_names_a_date_is_asked_again_as_any_other() -> None:
    async with small_api() as (api, kube):
        api.fails["GET", f"{PATH}/a"] = (503, {"headers": {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}})

        with pytest.raises(UnavailableError) as refused:
            await kube.get(SERVICE, "mail", "a")

    assert (refused.value.status, refused.value.retry_after_s) == (503, 0)


@pytest.mark.parametrize("ask", [lambda kube: kube.list(SERVICE, "mail"), lambda kube: kube.present([WEBHOOK])])
async def test_a_list_that_is_none_is_asked_for_again(ask: Callable[[Kube], Any]) -> None:
    async with small_api() as (api, kube):
        api.objects[PATH] = api.objects[WEBHOOK.root] = {"it": "works"}

        with pytest.raises(UnavailableError):
            await ask(kube)
