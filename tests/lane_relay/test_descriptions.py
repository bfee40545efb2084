"""What fields mean is found in the source, as pydantic would have found it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lane_relay.descriptions import describe, descriptions


class Base(BaseModel):
    """The text of a class is none of a field's."""

    first: int
    """What comes first,
    and its second line."""
    silent: int = 0


class Made(Base):
    """Has a field of another."""

    model_config = ConfigDict(populate_by_name=True)

    second_one: str = Field(default="", alias="secondOne")
    """What comes second."""
    silent: int = 1


class Model(Base):
    """The same, as pydantic reads it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    second_one: str = Field(default="", alias="secondOne")
    """What comes second."""


def test_a_field_means_what_stands_below_it_also_in_a_model_made_of_another() -> None:
    assert descriptions(Made) == {"first": "What comes first,\nand its second line.", "secondOne": "What comes second."}
    assert descriptions(Model)["secondOne"] == Model.model_fields["second_one"].description


def test_what_a_schema_says_already_stays() -> None:
    schemas: dict[str, Any] = {"Base": {"properties": {"first": {"description": "said"}, "silent": {}}}, "Other": {}}
    assert len(list(describe(schemas, Base))) == 1
    assert schemas["Base"]["properties"] == {"first": {"description": "said"}, "silent": {}}
