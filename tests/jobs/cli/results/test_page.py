from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from schemas.layout import StorePaths
from tests.jobs.conftest import Call, refused


def test_a_page_is_written_and_said(call: Call, store: StorePaths, tmp_path: Path) -> None:
    code, out, _ = call("report", store.root, "--html", tmp_path / "page", "--pictures", 2)
    assert code == 0
    said = r"5 videos, pictures of 2 \(2 of them without frames\), \d\.\d MB:\s+"
    assert re.fullmatch(f"{said}{re.escape(str(tmp_path / 'page' / 'index.html'))}\n", out)
    assert (tmp_path / "page" / "index.html").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--serve",), "expected --html FOLDER with --serve; got --serve alone. Add --html"),
        (("--pictures", "3"), "expected --html FOLDER with --pictures"),
        (("--html", "page", "--json"), "expected --json or --html; got both"),
        (("--html", ".", "--boundaries", "found.json"), "expected a folder that holds no input"),
        (("--html", "store/page"), "expected a folder outside the store"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: tuple[str, ...],
    sentence: str,
    call: Call,
    store: StorePaths,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "found.json").write_text("{}")
    assert sentence in refused(call, tmp_path, "report", store.root, *options)


def test_a_served_page_ends_by_an_interruption(store: StorePaths, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "msnet_features", "report", store.root, "--html", tmp_path / "page", "--serve"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        address = next(found[0] for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+/", line)))
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"msnet-features page" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
