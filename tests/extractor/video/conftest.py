from __future__ import annotations

from pathlib import Path

import pytest

from tests.extractor.video.bitstreams.streams_with_groups import KINDS, WITHOUT, write_kind
from tests.videos import make_broken, make_valid


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Valid files of all kinds, by name."""
    return make_valid(tmp_path_factory.mktemp("valid"))


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Damaged files of all kinds, by name."""
    return make_broken(tmp_path_factory.mktemp("broken"))


@pytest.fixture(scope="session")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Streams of several groups of pictures, by name."""
    folder = tmp_path_factory.mktemp("groups")
    return {name: write_kind(folder, name) for name in (*KINDS, *WITHOUT)}
