"""Which families mail, and whatever else leaves from the slot's address, may use."""

from typing import Any

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.resolve.answers import Family
from lane_relay.resolve.families import families_of

PROXY = {"host": "192.0.2.5"}


@pytest.mark.parametrize(
    ("egress", "families"),
    [
        ({}, (Family.V4, Family.V6)),
        ({"source": "2001:db8::1"}, (Family.V6,)),
        ({"address": "203.0.113.10", "source": "10.0.0.1"}, (Family.V4,)),
        ({"address": "203.0.113.10"}, (Family.V4,)),
        ({"address": "2001:db8::1"}, (Family.V6,)),
        ({"address": "2001:db8::1", "proxy": PROXY}, (Family.V6,)),
        ({"address": "203.0.113.10", "second": {"address": "2001:db8::1"}}, (Family.V4, Family.V6)),
        ({"address": "2001:db8::1", "second": {"address": "203.0.113.10"}}, (Family.V6, Family.V4)),
    ],
    ids=[
        "shared",
        "bound",
        "mapped",
        "translated",
        "translated-v6",
        "behind-a-proxy-of-the-other-family",
        "two",
        "two-v6-first",
    ],
)
def test_only_the_family_of_the_own_address_is_used(egress: dict[str, Any], families: tuple[Family, ...]) -> None:
    config = RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out.sender.test"},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "egress": egress,
        }
    )

    assert families_of(config) == families
