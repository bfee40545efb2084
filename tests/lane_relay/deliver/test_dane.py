"""TLSA records against chains: usages, selectors, digests, roll-over, names and dates."""

import time

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_relay.deliver.dane import match
from lane_relay.records import Tlsa, TlsFailure
from tests.lane_relay.deliver.certificates import Issued, make_authority

HOST = "mx.peer.test"
DAY = 86_400.0


def _failure(records: list[Tlsa], *chain: Issued, names: tuple[str, ...] = (HOST,), days: float = 0) -> TlsFailure:
    wrong = match(records, [one.der for one in chain], names, time.time() + days * DAY)
    return wrong.failure if wrong is not None else TlsFailure.NONE


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("usage", [2, 3])
def test_every_usable_kind_of_record_names_a_certificate(usage: int, selector: int, matching: int) -> None:
    root = make_authority()
    leaf = root.issue(HOST)
    record = (root if usage == 2 else leaf).tlsa(usage, selector, matching)
    other = make_authority()
    assert _failure([record], leaf, root) == TlsFailure.NONE
    assert _failure([record], other.issue(HOST), other) != TlsFailure.NONE


def test_usage_3_asks_neither_name_nor_date_nor_chain() -> None:
    leaf = make_authority().issue("another.name", days=(-20, -10))
    assert _failure([leaf.tlsa(3, 1, 1)], leaf) == TlsFailure.NONE


def test_a_renewed_certificate_with_the_old_key_is_still_named_by_its_key_alone() -> None:
    root = make_authority()
    before = root.issue(HOST)
    after = root.issue(HOST, key=before)
    assert _failure([before.tlsa(3, 1, 1)], after) == TlsFailure.NONE
    assert _failure([before.tlsa(3, 0, 1)], after) == TlsFailure.VALIDATION


def test_during_a_change_of_keys_either_record_will_do() -> None:
    root = make_authority()
    old, new, foreign = root.issue(HOST), root.issue(HOST), root.issue(HOST)
    records = [old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)]
    assert _failure(records, old) == _failure(records, new) == TlsFailure.NONE
    assert _failure(records, foreign) == TlsFailure.VALIDATION


def test_usage_2_needs_the_name_the_dates_and_the_chain() -> None:
    root = make_authority()
    middle = root.issue("middle", authority=True)
    leaf = middle.issue(HOST)
    named = [root.tlsa(2, 0, 1)]
    assert _failure(named, leaf, middle, root) == TlsFailure.NONE
    assert _failure([middle.tlsa(2, 1, 1)], leaf, middle) == TlsFailure.NONE  # an authority that is no root
    assert _failure(named, leaf, middle, root, names=("other.test",)) == TlsFailure.HOST_MISMATCH
    assert _failure(named, leaf, middle, root, names=("other.test", HOST)) == TlsFailure.NONE
    assert _failure(named, leaf, middle, root, days=5) == TlsFailure.EXPIRED
    assert _failure(named, leaf, middle) == TlsFailure.VALIDATION  # the authority is not in the chain
    assert _failure(named, leaf, root) == TlsFailure.NOT_TRUSTED  # a link is missing


@pytest.mark.parametrize("selector", [0, 1])
def test_usage_2_names_an_authority_above_the_server_and_not_the_server_itself(selector: int) -> None:
    root = make_authority()
    leaf, alone = root.issue(HOST), make_authority().issue(HOST, authority=True)
    assert _failure([leaf.tlsa(2, selector, 1)], leaf, root) == TlsFailure.VALIDATION
    assert _failure([alone.tlsa(2, selector, 1)], alone) == TlsFailure.VALIDATION


def test_a_whole_authority_in_a_record_need_not_be_sent() -> None:
    root = make_authority()
    assert _failure([root.tlsa(2, 0, 0)], root.issue(HOST)) == TlsFailure.NONE


def test_an_authority_put_into_the_chain_that_did_not_sign_proves_nothing() -> None:
    root, foreign = make_authority(), make_authority()
    assert _failure([root.tlsa(2, 0, 1)], foreign.issue(HOST), root) == TlsFailure.NOT_TRUSTED
    server = root.issue("plain.server")  # no authority, although below one
    assert _failure([root.tlsa(2, 0, 1)], server.issue(HOST), server, root) == TlsFailure.NOT_TRUSTED


def test_an_authority_whose_key_may_not_sign_certificates_proves_nothing() -> None:
    root = make_authority()
    middle = root.issue("middle", authority=True, may_sign=False)
    assert _failure([root.tlsa(2, 0, 1)], middle.issue(HOST), middle, root) == TlsFailure.NOT_TRUSTED


def test_rubbish_is_a_failure_and_no_exception() -> None:
    record = make_authority().tlsa(3, 1, 1)
    assert match([record], [], (HOST,), 0.0) is not None
    assert match([record], [b"no certificate"], (HOST,), 0.0) is not None
    assert _failure([Tlsa(2, 0, 0, b"no certificate")], make_authority().issue(HOST)) == TlsFailure.VALIDATION


_ROOT = make_authority()
_LEAF = _ROOT.issue(HOST)
_RECORDS = [_ROOT.tlsa(2, 0, 0), _ROOT.tlsa(2, 1, 1), make_authority().tlsa(3, 1, 1)]


_BIT_COUNT = _LEAF.der.rindex(x509.load_der_x509_certificate(_LEAF.der).signature) - 1
"""Where it says how many of the signature's last bits do not count: with 1 it is the same one if that bit is 0."""


def _without_bit_count(der: bytes) -> bytes:
    return der[:_BIT_COUNT] + der[_BIT_COUNT + 1 :]


@pytest.mark.parametrize("count", [1, 2, 255])
def test_a_signature_is_another_one_if_bits_that_are_set_do_not_count(count: int) -> None:
    spoiled = bytearray(_LEAF.der)
    spoiled[_BIT_COUNT] = count
    is_same = count < 8 and not spoiled[-1] % 2**count
    assert (match(_RECORDS, [bytes(spoiled), _ROOT.der], (HOST,), time.time()) is None) is is_same


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_whatever_a_peer_presents_is_judged_and_never_raises(data: st.DataObject) -> None:
    spoiled = bytearray(_LEAF.der)
    for _ in range(data.draw(st.integers(1, 4))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    changed = _without_bit_count(bytes(spoiled)) != _without_bit_count(_LEAF.der)
    for above in ([], [_ROOT.der], [bytes(spoiled), _ROOT.der]):
        wrong = match(_RECORDS, [bytes(spoiled), *above], (HOST,), time.time())
        assert wrong is not None or not changed
