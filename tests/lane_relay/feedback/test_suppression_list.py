"""The suppression list: across changes of its scope, and words that are chosen by reason, site and time."""

from pathlib import Path

import pytest
from msgspec import structs

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import Suppression, SuppressionScope
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.feedback.suppression_list import Choice, SuppressionList
from lane_relay.feedback.suppression_store import SuppressionStore
from lane_relay.feedback.suppressions import Reason, Source, Suppressed, pack
from lane_relay.mail.token import address_digest

OWN, SHARED = b"o" * 32, b"n" * 32
ANN, SHOP, NEWS = "ann@example.com", "shop.example", "news.example"


def config(path: Path, scope: SuppressionScope) -> Suppression:
    shared = "unused" if scope is SuppressionScope.NAMESPACE else None
    return Suppression(path=str(path), key_file="unused", scope=scope, namespace_key_file=shared)


def in_scope(path: Path, scope: SuppressionScope) -> SuppressionList:
    key, earlier = (SHARED, OWN) if scope is SuppressionScope.NAMESPACE else (OWN, SHARED)
    store = SuppressionStore.open(path, 1000)
    return SuppressionList(config(path, scope), TrafficClass.BULK, key, store, SYSTEM_CLOCK, earlier)


async def complain(known: SuppressionList, digest: bytes, *, domain_scoped: bool) -> None:
    word = known.word(digest, Reason.COMPLAINT, Source.COMPLAINT_REPORT, domain_scoped=domain_scoped)
    assert word is not None
    await known.suppress([word])


@pytest.mark.parametrize("later", list(SuppressionScope))
@pytest.mark.parametrize("key", [OWN, SHARED])
async def test_a_complaint_about_one_domain_counts_for_it_in_every_later_scope(
    tmp_path: Path, later: SuppressionScope, key: bytes
) -> None:
    before = in_scope(tmp_path, SuppressionScope.DOMAIN)
    await complain(before, address_digest(key, ANN, SHOP), domain_scoped=True)
    await before.close()
    known = in_scope(tmp_path, later)
    assert known.is_suppressed(ANN, TrafficClass.BULK, SHOP) == "complaint"
    assert not known.is_suppressed(ANN, TrafficClass.BULK, NEWS)
    assert not known.is_suppressed(ANN, TrafficClass.BULK)
    await known.close()


@pytest.mark.parametrize("later", [SuppressionScope.LANE, SuppressionScope.NAMESPACE])
async def test_a_complaint_by_a_token_from_the_scope_of_a_domain_counts_when_it_comes_later(
    tmp_path: Path, later: SuppressionScope
) -> None:
    known = in_scope(tmp_path, later)
    await complain(known, address_digest(OWN, ANN, SHOP), domain_scoped=True)
    assert known.is_suppressed(ANN, TrafficClass.BULK, SHOP) == "complaint"
    assert not known.is_suppressed(ANN, TrafficClass.BULK, NEWS)
    await known.close()


@pytest.mark.parametrize("later", list(SuppressionScope))
@pytest.mark.parametrize("key", [OWN, SHARED])
async def test_a_complaint_about_all_mail_counts_for_all_mail_in_every_later_scope(
    tmp_path: Path, later: SuppressionScope, key: bytes
) -> None:
    known = in_scope(tmp_path, later)
    await complain(known, address_digest(key, ANN), domain_scoped=False)
    assert known.is_suppressed(ANN, TrafficClass.BULK, SHOP) == known.is_suppressed(ANN, TrafficClass.BULK)
    assert known.is_suppressed(ANN, TrafficClass.BULK) == "complaint"
    await known.close()


async def bounce(known: SuppressionList, site: str, *addresses: str) -> None:
    words = [known.word(known.digest(one), Reason.HARD_BOUNCE, Source.DELIVERY, site=site) for one in addresses]
    await known.suppress([word for word in words if word is not None])


async def test_hard_bounces_are_chosen_by_the_site_that_said_so_also_after_a_restart(tmp_path: Path) -> None:
    known = in_scope(tmp_path, SuppressionScope.LANE)
    await bounce(known, "google", *[f"g{number}@gmail.test" for number in range(30)])
    await bounce(known, "outlook", "o@outlook.test")
    await complain(known, known.digest("g0@gmail.test"), domain_scoped=False)
    await known.close()
    again = in_scope(tmp_path, SuppressionScope.LANE)
    chosen = await again.chosen(Choice(Reason.HARD_BOUNCE, "google"))
    assert len(chosen) == 30
    ends = {word.expires - word.created for word in chosen}
    assert all(0 <= end - 180 * 86400 < 2**16 for end in ends)
    await again.take_back(chosen)
    assert await again.chosen(Choice(Reason.HARD_BOUNCE, "google")) == []
    assert again.is_suppressed("g7@gmail.test", TrafficClass.BULK) == ""
    assert again.is_suppressed("g0@gmail.test", TrafficClass.BULK) == "complaint"
    assert again.is_suppressed("o@outlook.test", TrafficClass.BULK) == "hard-bounce"
    await again.close()


async def test_words_are_chosen_by_when_they_were_said_and_not_if_they_count_no_more(tmp_path: Path) -> None:
    known = in_scope(tmp_path, SuppressionScope.LANE)
    for number, created in enumerate((100, 200, 300)):
        digest = known.digest(f"a{number}@example.com")
        await known.suppress([Suppressed(digest, Reason.MANUAL, TrafficClass.BULK, Source.PERSON, created)])
    await known.lift(known.digest("a1@example.com"))
    assert {word.created for word in await known.chosen(Choice(Reason.MANUAL, "", 100, 300))} == {100, 300}
    assert len(await known.chosen(Choice(Reason.MANUAL, "", 101, 300))) == 1
    assert await known.chosen(Choice(Reason.MANUAL, "", 101, 299)) == []
    await known.close()


async def test_what_is_held_back_stops_nobody_until_it_is_believed(tmp_path: Path) -> None:
    known = in_scope(tmp_path, SuppressionScope.LANE)
    await bounce(known, "google", ANN)
    digests = [known.digest(ANN), known.digest("bob@example.com")]
    assert await known.hold_back(digests, "google", Source.DELIVERY) == 2
    assert await known.hold_back(digests, "google", Source.DELIVERY) == 0
    assert [known.is_suppressed(one, TrafficClass.COLD) for one in (ANN, "bob@example.com")] == ["", ""]
    held = await known.chosen(Choice(Reason.HELD_BACK, "google"))
    assert len(held) == 2
    await known.believe(held)
    assert [bool(known.is_suppressed(one, TrafficClass.TRANSACTIONAL)) for one in (ANN, "bob@example.com")] == [
        True
    ] * 2
    assert await known.chosen(Choice(Reason.HELD_BACK)) == []
    assert len(await known.chosen(Choice(Reason.HARD_BOUNCE, "google"))) == 2
    await known.close()


@pytest.mark.parametrize(("known_days", "days"), [(365, 365), (31, 31), (29, 30), (0, 0)])
async def test_a_word_that_runs_out_takes_the_place_of_a_shorter_one_alone(
    tmp_path: Path, known_days: int, days: int
) -> None:
    """0: without an end."""
    known = in_scope(tmp_path, SuppressionScope.LANE)
    word = known.word(address_digest(OWN, ANN), Reason.COMPLAINT, Source.COMPLAINT_REPORT)
    assert word is not None
    before = structs.replace(word, expires=word.created + known_days * 86_400 if known_days else 0)
    await known.suppress([before])
    later = known.for_a_while(word, 30 * 86_400)
    assert (later is None) is (days != 30)
    await known.suppress([later] if later is not None else [])
    assert [one.expires for one in known.words_about(ANN)] == [word.created + days * 86_400 if days else 0]
    await known.close()


FUTURE = (2**32 - 1, 2**32 - 2, 4_070_908_800)


@pytest.mark.parametrize("created", FUTURE)
async def test_a_word_of_a_time_to_come_is_lifted_all_the_same(tmp_path: Path, created: int) -> None:
    known = in_scope(tmp_path, SuppressionScope.LANE)
    digest = known.digest(ANN)
    await known.suppress([Suppressed(digest, Reason.COMPLAINT, TrafficClass.BULK, Source.IMPORT, created)])
    assert known.is_suppressed(ANN, TrafficClass.BULK) == "complaint"
    assert await known.lift(digest) == 1
    assert known.is_suppressed(ANN, TrafficClass.BULK) == ""
    await known.close()


async def test_what_was_held_back_until_the_last_second_is_believed(tmp_path: Path) -> None:
    known = in_scope(tmp_path, SuppressionScope.LANE)
    words = [
        Suppressed(known.digest(ANN), reason, TrafficClass.BULK, Source.IMPORT, 2**32 - 1)
        for reason in (Reason.HARD_BOUNCE, Reason.HELD_BACK)
    ]
    await known.suppress(words)
    await known.believe(words[1:])
    assert known.is_suppressed(ANN, TrafficClass.BULK) == "hard-bounce"
    assert known.held_back_since(words[0].digest) == 0
    await known.close()


@pytest.mark.parametrize("created", FUTURE)
async def test_a_siblings_word_of_a_time_to_come_counts_as_of_now_so_that_later_ones_count(
    tmp_path: Path, created: int
) -> None:
    known = in_scope(tmp_path, SuppressionScope.LANE)
    word = Suppressed(known.digest(ANN), Reason.COMPLAINT, TrafficClass.BULK, Source.IMPORT, created)
    before = int(SYSTEM_CLOCK.now())
    assert await known.copy([pack(word)], "otp-1") == 1
    (taken,) = known.words_about(ANN)
    assert before <= taken.created <= known.latest
    assert await known.lift(word.digest) == 1
    assert await known.copy([pack(structs.replace(word, created=known.latest))], "otp-1") == 1
    assert known.is_suppressed(ANN, TrafficClass.BULK) == "complaint"
    await known.close()
