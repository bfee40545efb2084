"""Long texts are kept small, and are what they were whenever somebody looks."""

import base64
import json
import sys

from hypothesis import given
from hypothesis import strategies as st

from lane_operator.cache import Cache
from lane_operator.compare import is_in_force, prepared
from lane_operator.packed import Packed, entry_of

CONFIG = "".join(f"key{number}: value of a long configuration\n" for number in range(2000))


def secret(text: str, version: int = 1) -> dict[str, object]:
    metadata = {"namespace": "mail", "name": "otp-0-config", "resourceVersion": str(version)}
    return {"kind": "Secret", "metadata": metadata, "data": {"relay.yaml": base64.b64encode(text.encode()).decode()}}


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
    assert entry_of(kept, "relay.yaml").decode() == CONFIG
    assert sys.getsizeof(kept["data"]["relay.yaml"]._bytes) < len(CONFIG) / 10


def test_what_is_in_force_is_seen_in_what_is_packed_and_a_hand_s_edit_too() -> None:
    cache, wanted = Cache(), prepared(secret(CONFIG))
    live = json.loads(json.dumps(wanted))
    cache.put("Secret", live)
    assert is_in_force(wanted, cache.get("Secret", "mail", "otp-0-config"))

    edited = secret(CONFIG + "x", 2)
    edited["metadata"] = {**wanted["metadata"], "resourceVersion": "2"}
    cache.put("Secret", edited)
    assert not is_in_force(wanted, cache.get("Secret", "mail", "otp-0-config"))


def test_short_entries_and_others_stay_as_they_are() -> None:
    cache = Cache()
    body = secret("short: 1\n")
    body["data"] = {**body["data"], "tls.crt": "x" * 9000}  # type: ignore[dict-item]
    cache.put("Secret", body)

    kept = cache.get("Secret", "mail", "otp-0-config")

    assert kept is not None
    assert {type(text) for text in kept["data"].values()} == {str}
    assert entry_of(kept, "nothing") == b""
