"""What may be different in a message that has arrived."""

import pytest

from tests.interop.shapes import difference


@pytest.mark.parametrize(
    ("arrived", "whole"),
    [
        (b"a: b\r\n\r\nx\r\n", True),
        (b"Received: by x\r\n\twith y\r\nReturn-Path: <>\r\na: b\r\n\r\nx\r\n", True),
        (b"X-Ad: buy\r\na: b\r\n\r\nx\r\n", False),
        (b"Received: by x\r\na: b\r\n\r\nx\r\n\r\n", False),
        (b"a: b\r\n\r\ny\r\n", False),
    ],
)
def test_nothing_but_trace_fields_may_be_added(arrived: bytes, whole: bool) -> None:
    assert (difference(b"a: b\r\n\r\nx\r\n", arrived) == "") is whole
