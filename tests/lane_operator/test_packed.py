"""Long texts are kept small, and are what they were whenever somebody looks."""

import base64
import json
import sys

from hypothesis import given
from hypothesis import strategies as st

from lane_api.packing import packed, unpacked
from lane_operator.cache import UNPACKED, Cache
from lane_operator.compare import is_in_force, prepared
from lane_operator.packed import Packed, PackedObject, entry_of

CONFIG = "".join(f"key{number}: value of a long configuration\n" for number in range(2000))


def secret(text: str, version: int = 1) -> dict[str, object]:
    metadata = {"namespace": "mail", "name": "otp-0-config", "resourceVersion": str(version)}
    return {"kind": "Secret", "metadata": metadata, "data": {"relay.yaml.gz": base64.b64encode(packed(text)).decode()}}


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_packed_text_is_equal_to_itself_alone(one: str, other: str) -> None:
    assert str(Packed(one)) == one
    assert Packed(one) == one
    assert one == Packed(one)
    assert (Packed(one) == Packed(other)) is (one == other)
    assert (Packed(one) == other) is (one == other)
    assert len({Packed(one), Packed(one)}) == 1


@given(st.binary(max_size=300))
def test_base64_comes_back_as_it_was(content: bytes) -> None:
    text = base64.b64encode(content).decode()

    assert str(Packed(text)) == text


def test_the_cache_keeps_a_configuration_small_and_gives_it_whole() -> None:
    cache = Cache()
    cache.put("Secret", secret(CONFIG))

    kept = cache.get("Secret", "mail", "otp-0-config")

    assert kept is not None
    assert unpacked(entry_of(kept, "relay.yaml.gz")) == CONFIG
    assert sys.getsizeof(kept["data"]["relay.yaml.gz"]._bytes) < len(CONFIG) / 10


def test_what_is_in_force_is_seen_in_what_is_packed_and_a_hand_s_edit_too() -> None:
    cache, wanted = Cache(), prepared(secret(CONFIG))
    live = json.loads(json.dumps(wanted))
    cache.put("Secret", live)
    assert is_in_force(wanted, cache.get("Secret", "mail", "otp-0-config"))

    edited = secret(CONFIG + "x", 2)
    edited["metadata"] = {**wanted["metadata"], "resourceVersion": "2"}
    cache.put("Secret", edited)
    assert not is_in_force(wanted, cache.get("Secret", "mail", "otp-0-config"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=20), JSON, max_size=5), st.dictionaries(st.text(max_size=20), st.text()))
def test_an_object_comes_back_as_it_was(body: dict[str, object], data: dict[str, str]) -> None:
    body = {**body, "data": {**data, "relay.yaml.gz": CONFIG}}

    assert PackedObject(body).unpacked() == body


def test_an_object_that_was_read_is_one_object_and_not_unpacked_again() -> None:
    cache = Cache()
    cache.put("Secret", secret(CONFIG))

    assert cache.get("Secret", "mail", "otp-0-config") is cache.get("Secret", "mail", "otp-0-config")


def test_what_was_read_is_another_once_it_has_changed_or_gone() -> None:
    cache = Cache()
    cache.put("Secret", secret("a: 1\n"))
    assert cache.get("Secret", "mail", "otp-0-config") is not None
    cache.put("Secret", secret("a: 2\n", 2))

    kept = cache.get("Secret", "mail", "otp-0-config")
    assert kept is not None
    assert unpacked(entry_of(kept, "relay.yaml.gz")) == "a: 2\n"
    cache.drop("Secret", secret("a: 2\n", 3))
    assert cache.get("Secret", "mail", "otp-0-config") is None


def test_the_cache_holds_few_objects_unpacked_and_gives_all() -> None:
    cache = Cache()
    for number in range(2 * UNPACKED):
        metadata = {"namespace": "mail", "name": str(number), "resourceVersion": str(number + 1)}
        cache.put("Service", {"kind": "Service", "metadata": metadata, "spec": {"number": number}})

    read = [body["spec"]["number"] for body in cache.all("Service")]

    assert sorted(read) == list(range(2 * UNPACKED))
    assert len(cache._unpacked) == UNPACKED


def test_short_entries_and_others_stay_as_they_are() -> None:
    cache = Cache()
    body = secret("short: 1\n")
    body["data"] = {**body["data"], "tls.crt": "x" * 9000}  # type: ignore[dict-item]
    cache.put("Secret", body)

    kept = cache.get("Secret", "mail", "otp-0-config")

    assert kept is not None
    assert {type(text) for text in kept["data"].values()} == {str}
    assert entry_of(kept, "nothing") == b""
