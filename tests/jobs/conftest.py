from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from schemas.layout import StorePaths
from tests.extractor.store.making import make_store

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs `msnet` in this process, in which Ray must not be started; exit code, standard output and error."""
    monkeypatch.setattr("ray.init", lambda *args, **options: pytest.fail("Ray was started"))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, captured.out, captured.err

    return run


@pytest.fixture
def store(tmp_path: Path) -> StorePaths:
    """A finished store of two shards: a.mp4, b.mp4, c/d.mp4, e.mp4 with two clips each, and bad.mp4, which failed."""
    return make_store(tmp_path / "store")
