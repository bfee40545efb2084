"""The operator's settings, as its environment spells them."""

import dataclasses
from typing import Any

import pytest

from lane_operator.settings import PREFIX, Settings

IMAGES = {"LANEWRIGHT_RELAY_IMAGE": "relay:1", "LANEWRIGHT_RESOLVER_IMAGE": "resolver:1"}


def test_what_is_not_set_has_its_default() -> None:
    assert Settings.from_environment(IMAGES) == Settings(relay_image="relay:1", resolver_image="resolver:1")


def test_every_type_is_read() -> None:
    settings = Settings.from_environment(
        IMAGES
        | {
            "LANEWRIGHT_WATCH_NAMESPACES": "mail, shop,",
            "LANEWRIGHT_MONITORING": "false",
            "LANEWRIGHT_WORKERS": "3",
            "LANEWRIGHT_RESYNC_S": "12.5",
        }
    )

    assert settings.watch_namespaces == ("mail", "shop")
    assert settings.secret_namespaces == ("mail", "shop")
    assert settings.monitoring is False
    assert (settings.workers, settings.resync_s) == (3, 12.5)


@pytest.mark.parametrize(("name", "value"), [("WORKERS", "many"), ("MONITORING", "perhaps"), ("RESYNC_S", "5m")])
def test_a_value_that_is_none_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=PREFIX + name):
        Settings.from_environment(IMAGES | {PREFIX + name: value})


def test_a_missing_image_names_its_variable() -> None:
    with pytest.raises(ValueError, match="LANEWRIGHT_RELAY_IMAGE"):
        Settings.from_environment({})


def test_no_setting_holds_a_secret() -> None:
    names = {field.name for field in dataclasses.fields(Settings)}

    assert not {name for name in names if any(word in name for word in ("password", "token", "key"))}


@pytest.mark.parametrize(
    "forced",
    [{"FORCE_DELIVERY": "Live"}, {"FORCE_DELIVERY": "Redirect"}, {"FORCE_DELIVERY_TO": "a@x.example"},
     {"FORCE_DELIVERY": "Discard", "FORCE_DELIVERY_TO": "a@x.example"},
     {"FORCE_DELIVERY": "Redirect", "FORCE_DELIVERY_TO": "a@x.example, b@x.example"}],
)  # fmt: skip
def test_a_forced_delivery_that_is_not_plain_stops_the_operator(forced: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="LANEWRIGHT_FORCE_DELIVERY"):
        Settings.from_environment(IMAGES | {PREFIX + name: value for name, value in forced.items()})


def test_delivery_is_forced_on_all_lanes() -> None:
    redirected = {PREFIX + "FORCE_DELIVERY": "Redirect", PREFIX + "FORCE_DELIVERY_TO": "all@test.example"}

    assert Settings.from_environment(IMAGES | redirected).force_delivery_to == "all@test.example"


@pytest.mark.parametrize("network", ["everything", "0.0.0.0/0", "::/0"])
def test_a_network_to_close_that_is_none_or_is_everything_stops_the_operator(network: str) -> None:
    given = {"LANEWRIGHT_CLOSED_NETWORKS": f"10.96.0.0/12,{network}"}

    with pytest.raises(ValueError, match="LANEWRIGHT_CLOSED_NETWORKS"):
        Settings.from_environment(IMAGES | given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"served_namespaces": ("mail",)}, None),
        ({"watch_namespaces": ("mail",)}, None),
        ({"served_namespaces": ("mail", "shop")}, ()),
        ({"served_namespaces": ("shop",)}, ()),
        ({}, ()),
        ({"served_namespaces": ("mail",), "dns_domains": ("shop=shop.example",)}, ()),
        ({"dns_domains": ("shop=shop.example", "mail=Example.com", "mail=*")}, ("example.com", "*")),
    ],
)
def test_records_of_any_name_are_published_for_the_only_namespace_else_for_what_is_listed(
    given: dict[str, Any], expected: tuple[str, ...] | None
) -> None:
    assert Settings("r", "u", **given).publishable("mail") == expected
