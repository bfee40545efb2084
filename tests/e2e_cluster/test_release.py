"""`make images` says that slots restart only where they do."""

import re

import pytest

from e2e.release import has_images, image_values, install_command

IMAGES = {name: f"lanewright/{name}:dev-1" for name in ("operator", "relay", "unbound")}


def as_typed(command: str) -> dict[str, dict[str, str]]:
    """The values that the command of the guide gives a release."""
    values: dict[str, dict[str, str]] = {}
    for block, key, value in re.findall(r"(image|relay|resolver)\.(\w+)=([^,\s]+)", command):
        values.setdefault(block, {})[key] = value
    return values


def test_a_release_of_the_command_that_is_printed_has_its_images() -> None:
    given = as_typed(install_command(IMAGES))

    assert set(given) == {"image", "relay", "resolver"}
    assert has_images(given, image_values(IMAGES))


@pytest.mark.parametrize("name", IMAGES)
def test_another_image_is_seen(name: str) -> None:
    given = as_typed(install_command(IMAGES))

    assert not has_images(given, image_values({**IMAGES, name: f"lanewright/{name}:dev-2"}))
    assert not has_images({}, image_values(IMAGES))
    assert not has_images({"image": None}, image_values(IMAGES))
