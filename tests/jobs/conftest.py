from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.main import main
from schemas.layout import StorePaths
from tests.extractor.store.making import make_store

Call = Callable[..., tuple[int, str, str]]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, with content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refused(call: Call, folder: Path, *arguments: Any) -> str:
    """The one sentence by which arguments are refused, with nothing below `folder` changed."""
    before = snapshot(folder)
    code, out, err = call(*arguments)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("msnet: ")
    assert "Traceback" not in err and "Error" not in line.split(":")[0]
    assert snapshot(folder) == before
    return line


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs `msnet` in this process, in which Ray must not be started; exit code, standard output and error."""
    monkeypatch.setattr("ray.init", lambda *args, **options: pytest.fail("Ray was started"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("jobs.cli.display._SILENCE_SECONDS", 3600.0)  # however slow the machine

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


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with a file that looks like a video: nothing here gets as far as opening it."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"never read")
    return tmp_path / "videos"
