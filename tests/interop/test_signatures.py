"""The short form of `make interop`: the verifier that is a Python library."""

from pathlib import Path

import pytest

from tests.interop import signatures

pytestmark = pytest.mark.timeout(300)


def test_dkimpy_accepts_what_the_relay_signs_and_nothing_that_was_changed(tmp_path: Path) -> None:
    with signatures.signed_corpus(tmp_path, 48) as signed:
        assert len(signed.files) == 96
        assert set(signatures.by_dkimpy(signed, signed.files).values()) == {""}
        assert "" not in signatures.by_dkimpy(signed, signed.broken).values()
