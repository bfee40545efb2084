"""The suppression list across changes of its scope: what was said once counts on, for whom it was said."""

from pathlib import Path

import pytest

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import Suppression, SuppressionScope
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppression_store import SuppressionStore
from lane_relay.feedback.suppressions import Reason, Source
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
