"""The sidecar's configuration, judged by unbound itself where it is installed with the e2e tools."""

import pytest

from lane_api.pod import Resolver
from lane_operator.desired.resolver import unbound_config


def test_it_listens_where_the_relay_asks_and_validates() -> None:
    text = unbound_config(Resolver(), "127.0.0.1:20012")

    assert "interface: 127.0.0.1@20012\n" in text
    assert "trust-anchor-file:" in text
    assert "forward-zone" not in text


@pytest.mark.parametrize(
    ("target", "spelled"),
    [
        ("192.0.2.53", "192.0.2.53"),
        ("192.0.2.53:5300", "192.0.2.53@5300"),
        ("2001:db8::53", "2001:db8::53"),
        ("[2001:db8::53]:5300", "2001:db8::53@5300"),
        ("[2001:db8::53]", "2001:db8::53@53"),
    ],
)
def test_it_forwards_and_leaves_validation_to_the_forwarder(target: str, spelled: str) -> None:
    text = unbound_config(Resolver(forward_to=(target,)), "127.0.0.1:5353")

    assert f"    forward-addr: {spelled}\n" in text
    assert 'module-config: "iterator"' in text
    assert "trust-anchor" not in text


def test_it_validates_what_a_forwarder_says_where_its_word_is_to_be_believed() -> None:
    text = unbound_config(Resolver(forward_to=("192.0.2.53",), trust_ad=True), "127.0.0.1:5353")

    assert "forward-addr: 192.0.2.53\n" in text
    assert "trust-anchor-file:" in text
    assert "module-config" not in text


@pytest.mark.parametrize(
    ("resolver", "believed"),
    [
        (Resolver(), True),
        (Resolver(trust_ad=False), False),
        (Resolver(forward_to=("192.0.2.53",)), False),
        (Resolver(forward_to=("192.0.2.53",), trust_ad=True), True),
        (Resolver(mode="Cluster"), False),
        (Resolver(mode="Cluster", trust_ad=True), True),
        (Resolver(mode="Addresses", addresses=("192.0.2.53",)), False),
    ],
)
def test_the_word_of_the_pod_s_own_validating_resolver_is_believed_and_of_others_only_if_said_so(
    resolver: Resolver, believed: bool
) -> None:
    assert resolver.validates == believed
