from __future__ import annotations

from pathlib import Path

import pytest

from tests.videos import make_broken, make_valid


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Valid files of all kinds, by name."""
    return make_valid(tmp_path_factory.mktemp("valid"))


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Damaged files of all kinds, by name."""
    return make_broken(tmp_path_factory.mktemp("broken"))
