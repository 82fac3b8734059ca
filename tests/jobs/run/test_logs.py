from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.run.logs import run_log
from schemas.layout import StorePaths


def test_log_holds_what_our_packages_say_and_the_traceback(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    with pytest.raises(ValueError, match="é 💥"), run_log(paths) as path:
        logging.getLogger("jobs.anything").info("a line")
        logging.getLogger("extractor.store").warning("another")
        logging.getLogger("someone.else").error("not ours")
        raise ValueError("é 💥")
    text = path.read_text(encoding="utf-8")
    assert path.parent == paths.logs
    assert "INFO jobs.anything: a line" in text
    assert "WARNING extractor.store: another" in text
    assert "not ours" not in text
    assert "Traceback" in text and "ValueError: é 💥" in text


def test_ids_end_no_line_of_the_log_and_move_no_cursor(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="u"), run_log(StorePaths(tmp_path)) as path:
        logging.getLogger("jobs.a").warning("%s: %s failed after %d s", "shard", "a\x1b[2J\nb\udcff", 3)
        logging.getLogger("jobs.a").error("a worker failed: %s", ValueError("two\nlines\x07"))
        raise ValueError("u\u202e")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith(r"shard: a\x1b[2J\nb\udcff failed after 3 s")
    assert lines[1].endswith("a worker failed: two") and lines[2] == r"lines\x07"
    assert lines[-1] == r"ValueError: u\u202e"


def test_logging_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loggers = [logging.getLogger(name) for name in ("jobs", "extractor", "msnet")]
    for one in loggers:
        monkeypatch.setattr(one, "propagate", True)
        monkeypatch.setattr(one, "level", logging.ERROR)
    with run_log(StorePaths(tmp_path)):
        assert logging.getLogger("jobs").isEnabledFor(logging.INFO)
    assert [(one.level, one.propagate, one.handlers) for one in loggers] == [(logging.ERROR, True, [])] * 3


NATIVE = """
import os, sys
from pathlib import Path
from jobs.cli.streams import guard_streams
from jobs.cluster.native_output import native_errors_to
guard_streams()
before = sys.stderr
with native_errors_to(Path(sys.argv[1]) if sys.argv[1] else None):
    os.write(2, b"[state-dump] of C++\\n")
    print("for the user\\x1b", file=sys.stderr)
assert sys.stderr is before
os.write(2, b"after\\n")
"""


@pytest.mark.parametrize("logged", [True, False])
def test_what_is_written_past_python_goes_to_the_log(logged: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("begun\n")
    command = [sys.executable, "-c", NATIVE, str(log) if logged else ""]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr == "for the user\\x1b\nafter\n"
    assert log.read_text() == ("begun\n[state-dump] of C++\n" if logged else "begun\n")
