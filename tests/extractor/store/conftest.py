from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.layout import StorePaths, shard_name
from tests.extractor.store.making import make_run, make_store, write_run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    """A finished store of two shards: a.mp4, b.mp4, c/d.mp4, e.mp4 with two clips each, and bad.mp4, which failed."""
    return make_store(tmp_path / "store")


@pytest.fixture
def attempt(tmp_path: Path) -> Any:
    """An attempt at shard-00000 of a new store."""
    from extractor.store import new_attempt

    paths = StorePaths(tmp_path / "store")
    paths.root.mkdir()
    return new_attempt(paths, write_run(paths, make_run()), shard_name(0), "token")


@pytest.fixture
def crashing(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a mode of crashing.py in its own process and returns what it found."""

    def run(mode: str, rounds: int | None = None) -> dict[str, Any]:
        folder = tmp_path / f"{mode}{rounds or ''}"
        folder.mkdir()
        command = [sys.executable, "-m", "tests.extractor.store.crashing", mode, str(folder)]
        command += [] if rounds is None else [str(rounds)]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run
