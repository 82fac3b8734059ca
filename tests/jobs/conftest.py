from __future__ import annotations

from pathlib import Path

import pytest

from schemas.layout import StorePaths
from tests.extractor.store.making import make_store


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    """A finished store of two shards: a.mp4, b.mp4, c/d.mp4, e.mp4 with two clips each, and bad.mp4, which failed."""
    return make_store(tmp_path / "store")
