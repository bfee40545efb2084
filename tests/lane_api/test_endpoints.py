"""What a reflector's URL may be, where no API server has looked at it."""

import pytest
from pydantic import ValidationError

from lane_api.ippool import Verification


@pytest.mark.parametrize(
    "url", ["tcp://198.51.100.5:25", "tcp://reflect.example.com", "tcp://[2001:db8::5]:65535", "tcp://[2001:db8::5]"]
)
def test_a_host_with_or_without_a_port_is_a_reflector(url: str) -> None:
    assert Verification(reflectors=(url,), secret_name="key").reflectors == (url,)


@pytest.mark.parametrize(
    "url",
    ["198.51.100.5:25", "tcp://a:70000", "tcp://a:0", "tcp://a:", "tcp://a/b:25", "tcp://", "tcp://a:25/x", "http://a"],
)
def test_an_object_older_than_the_rule_is_refused_with_the_fix(url: str) -> None:
    with pytest.raises(ValidationError, match="port from 1 to 65535"):
        Verification(reflectors=(url,), secret_name="key")
