"""The corpus is what its README says: published, labelled, split by a fixed rule."""

import re

import pytest

from tests.lane_relay.replies.corpus import FRESH, HALVES, corpus, half_of


def test_there_are_at_least_three_hundred_published_replies_each_with_its_source() -> None:
    samples = [sample for half in HALVES for sample in corpus(half)]
    assert len(samples) >= 300
    assert len({(sample.text, sample.isp) for sample in samples}) == len(samples)
    assert all(
        re.search(r"\.(com|org|net|de|fr|cn|ru|io|ch|se|php|eu|edu|uk|codes|info|ae)\b|issues/", one.source)
        for one in samples
    )


@pytest.mark.parametrize("half", HALVES)
def test_each_reply_is_in_its_half_and_is_a_refusal(half: str) -> None:
    for sample in corpus(half):
        assert half_of(sample.text) == half, sample.text
        assert re.match(r"[45]\d\d[ -]\S", sample.text), sample.text


@pytest.mark.parametrize("half", [*HALVES, FRESH])
def test_no_label_gives_a_recipient_up_for_a_temporary_reply(half: str) -> None:
    assert [one.text for one in corpus(half) if one.text[0] == "4" and one.action == "Bounce"] == []
