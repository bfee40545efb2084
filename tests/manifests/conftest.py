"""The programs that check manifests, and the definitions that they check them by: ours, the chart's and others'."""

from pathlib import Path

import pytest

from e2e.cluster.identity import Layout
from tests.manifests.checkers import place
from tests.manifests.definitions import write_schemas


@pytest.fixture(scope="module")
def here() -> Layout:
    return place()


@pytest.fixture(scope="module")
def schemas(here: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(here, folder)
    return folder
