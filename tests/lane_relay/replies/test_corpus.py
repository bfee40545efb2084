"""The corpus is what its README says: published, labelled, split by a fixed rule."""

import re

import pytest

from tests.lane_relay.replies.corpus import BLIND, BLIND_2, BLIND_3, FRESH, HALVES, TABLES, corpus, half_of


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


@pytest.mark.parametrize("half", [*HALVES, FRESH, TABLES, BLIND, BLIND_2, BLIND_3])
def test_no_label_gives_a_recipient_up_for_a_temporary_reply(half: str) -> None:
    assert [one.text for one in corpus(half) if one.text[0] == "4" and one.action == "Bounce"] == []


def test_the_blind_set_shares_no_reply_with_the_others() -> None:
    blind = {sample.text for sample in corpus(BLIND)}
    assert len(blind) == len(corpus(BLIND)) >= 120
    assert not blind & {sample.text for other in (*HALVES, FRESH) for sample in corpus(other)}


def words(text: str) -> str:
    """A reply without what differs from one message to the next: case, numbers, addresses, links, spaces."""
    bare = re.sub(r"https?://\S+|<?[\w.+=-]+@[\w.-]+>?|\[?\b[\da-f]*:[\da-f:]+\b\]?", " ", text.lower())
    return " ".join(re.findall("[a-z]+", bare))


@pytest.mark.parametrize(
    ("name", "least", "others"),
    [(BLIND_2, 60, (*HALVES, FRESH, TABLES, BLIND)), (BLIND_3, 90, (*HALVES, FRESH, TABLES, BLIND, BLIND_2))],
)
def test_a_later_blind_set_shares_no_reply_with_the_others_however_it_is_written(
    name: str, least: int, others: tuple[str, ...]
) -> None:
    """How far it agrees is told by `make replies` and asserted nowhere: a floor would have it read."""
    mine = [words(sample.text) for sample in corpus(name)]
    theirs = {words(sample.text) for other in others for sample in corpus(other)}
    assert len(set(mine)) == len(mine) >= least
    assert not theirs.intersection(mine)
    assert all(re.match(r"[45]\d\d[ -] ?\S", sample.text) and sample.source for sample in corpus(name))
