"""Whatever a command prints, to a terminal or a pipe: no foreign control characters, and the right exit code."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from extractor.store import FeatureStore
from gebd.annotations.loading import write_annotations
from jobs.cli.app import app
from jobs.cli.main import main, register
from jobs.run.outcome import Outcome
from schemas.errors import InventoryError
from schemas.escaping import escaped
from tests.extractor.store.making import make_store
from tests.gebd.boundary_stores import make_videos
from tests.jobs.run.test_plan import PLAN

register([])  # all commands

TITLE, LINES, TURNED, C1 = "a\x1b]0;title\x07.mp4", "two\nlines.mp4", "fine\u202e4pm.mp4", "c\x9b31m é × →.mp4"
IDS = ((TITLE, LINES, "bad\x1b[2J\r.mp4"), (TURNED, C1))
EVIL = "no\x1b[2J\nthing\u202e\udcff"
SENTENCE = f"msnet: {escaped(EVIL)}"

Seen = Callable[..., tuple[int, str, str]]


class Catching:
    """The far end of a terminal or of a pipe; what was written into it, decoded."""

    def __init__(self, encoding: str, terminal: bool) -> None:
        ours, theirs = os.openpty() if terminal else os.pipe()
        if terminal:
            tty.setraw(theirs)  # or the terminal adds carriage returns of its own
        self.stream = io.TextIOWrapper(io.FileIO(theirs, "w"), encoding=encoding, write_through=True)
        self._ours, self._bytes = ours, bytearray()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                self._bytes += data
        except OSError:  # the other end of the terminal is closed
            return

    def text(self) -> str:
        self.stream.close()
        self._thread.join()
        os.close(self._ours)
        return self._bytes.decode(self.stream.encoding)


@pytest.fixture(params=[("ascii", True), ("latin-1", True), ("utf-8", True), ("ascii", False), ("utf-8", False)])
def seen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Runs `msnet` in this process; returns exit code, output and error, which hold no foreign control characters."""
    encoding, terminal = request.param
    monkeypatch.setattr("ray.init", lambda *args, **options: pytest.fail("Ray was started"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("jobs.cli.display._SILENCE_SECONDS", 3600.0)  # however slow the machine

    def run(*arguments: Any) -> tuple[int, str, str]:
        out, err = Catching(encoding, terminal), Catching(encoding, terminal)
        with monkeypatch.context() as patched, pytest.raises(SystemExit) as ended:
            patched.setattr(sys, "stdout", out.stream)
            patched.setattr(sys, "stderr", err.stream)
            main([str(argument) for argument in arguments])
        told, complained = out.text(), err.text()
        allowed = {"\n", "\r"} if terminal else {"\n"}  # \r: of bars, on standard error
        assert {letter for letter in told if not letter.isprintable()} <= {"\n"}
        assert {letter for letter in complained if not letter.isprintable()} <= allowed
        assert "Traceback" not in complained
        assert isinstance(ended.value.code, int)
        return ended.value.code, told, complained

    return run


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with hostile ids, in a folder with a hostile name."""
    return make_store(tmp_path_factory.mktemp("stores") / "st\x1b[31more", IDS).root


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of other videos."""
    return make_store(tmp_path_factory.mktemp("stores") / "other", (("x\x1bc.mp4", "bad\x07.mp4"),)).root


def paths(of: typer.Typer, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command, as words."""
    for command in of.registered_commands:
        yield (*before, command.name or command.callback.__name__.strip("_"))  # type: ignore[union-attr]
    for group in of.registered_groups:
        assert group.typer_instance is not None and group.name is not None
        yield from paths(group.typer_instance, (*before, group.name))


ARGUMENTS: dict[str, list[str]] = {  # of commands that fail because their inputs do not exist
    "extract": [EVIL, "--out", "store"],
    "plan": [EVIL],
    "export": [EVIL, "--out", "out"],
    "import": [EVIL, "--out", "store"],
    "compare": [EVIL, EVIL],
    "demo": ["--out", f"file/{EVIL}"],
    "weights train": ["--config", EVIL, "--out", EVIL],
    "weights convert": [EVIL, "--out", "a.safetensors"],
    "weights picture": [EVIL, "--at", "1", "--out", "a.png"],
    "gebd convert": [EVIL, "--out", "a.json"],
    "gebd join": [EVIL, EVIL],
    "gebd evaluate": [EVIL, EVIL],
    "gebd train": [EVIL, EVIL, "--out", "run"],
    "gebd finetune": [EVIL, EVIL, "--out", "run"],
    "gebd predict": [EVIL, EVIL, "--out", "a.json"],
    "gebd detect": [EVIL, "--out", "a.json"],
    "gebd demo": ["--out", f"file/{EVIL}"],
    "gebd plot video": [EVIL, EVIL, "--out", "a.png"],
    "gebd plot run": [EVIL, "--out", "a.png"],
}
WITHOUT = {"weights list"}  # takes nothing


@pytest.mark.parametrize("command", sorted({" ".join(path) for path in paths(app)} - WITHOUT))
@pytest.mark.parametrize("seen", [("ascii", True), ("utf-8", False)], indirect=True)
def test_every_command_refuses_by_a_line_that_moves_nothing(
    command: str, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    code, out, err = seen(*command.split(), *ARGUMENTS.get(command, [EVIL]))
    assert (code, out) == (1, "")
    last = err.split("\r")[-1].splitlines()[-1]
    assert last.startswith("msnet: ") and r"no\x1b[2J\nthing\u202e\udcff" in last
    code, out, err = seen(*command.split(), *ARGUMENTS.get(command, [EVIL]), "more", "surplus\x1b[2J")
    assert (code, out) == (1, "") and r"surplus\x1b[2J" in err


def test_ids_are_listed_one_a_line_and_shown_by_what_was_listed(seen: Seen, hostile: Path) -> None:
    code, out, _ = seen("show", hostile)
    assert code == 0
    listed = out.splitlines()
    assert len(listed) == 4
    assert listed[:3] == [r"a\x1b]0;title\x07.mp4", r"two\nlines.mp4", r"fine\u202e4pm.mp4"]
    for name in listed:
        code, out, _ = seen("show", hostile, name)
        assert (code, out.splitlines()[0]) == (0, name)
    assert FeatureStore(hostile).video_ids == (TITLE, LINES, TURNED, C1)


def test_commands_on_a_store(seen: Seen, hostile: Path, other: Path, tmp_path: Path) -> None:
    code, out, _ = seen("status", hostile)
    assert code == 0 and re.search(r"videos done +4  of 5", out)
    code, out, _ = seen("report", hostile)
    assert code == 0 and r"  bad\x1b[2J\r.mp4: bad\x1b[2J\r.mp4 is broken" in out.splitlines()
    assert seen("verify", hostile, "--deep")[0] == 0
    assert seen("compare", hostile, other)[0] == 1
    code, out, _ = seen("show", hostile, "bad\x1b[2J\r.mp4")
    assert code == 0 and "  failed, corrupt" in out
    code, _, err = seen("show", hostile, "title")
    assert code == 1 and err.count("\n") == 1
    code, out, _ = seen("export", hostile, "--out", tmp_path / "out")
    assert code == 0
    index = json.loads((tmp_path / "out" / "index.json").read_text())  # files hold the id itself
    assert set(index["videos"]) == {TITLE, LINES, TURNED, C1}


def test_commands_on_annotations(seen: Seen, tmp_path: Path) -> None:
    store, annotations = make_videos(tmp_path / "store", 2, prefix="a\x1b]0;title\x07\n")
    path = tmp_path / "annota\x1btions.json"
    write_annotations(annotations, path)
    assert seen("gebd", "convert", path, "--out", tmp_path / "plain\x07.json")[0] == 0
    assert seen("gebd", "join", store.paths.root, path)[0] == 0
    predictions = tmp_path / "pre\x9bdictions.json"
    assert seen("gebd", "detect", store.paths.root, "--annotations", path, "--out", predictions)[0] == 0
    written = json.loads(predictions.read_text())
    assert set(written) == set(annotations)
    predictions.write_text(json.dumps({**written, "\ud800 of nobody\x1b": [1.0]}))
    code, out, _ = seen("gebd", "evaluate", predictions, path, "--resamples", "2")
    assert code == 0 and r"\ud800 of nobody\x1b" in " ".join(out.split())


def test_summaries_of_runs(seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tuple((name, "corrupt", f"{name} is\x1b[2J\nbroken") for name in (TITLE, LINES, C1))
    plan = replace(PLAN, bad=bad, duplicates=((TITLE, LINES),), skipped=f"left out: {EVIL}")
    monkeypatch.setattr("jobs.run.plan.plan", lambda *_: plan)
    code, out, _ = seen("plan", "videos")
    assert code == 2 and r"\x1b]0;title" in out and r"two\nlines" in out

    def resume(store: Path, options: Any, watcher: Any, **_: Any) -> Outcome:
        watcher.probing(1, 2)
        watcher.say(f"new: {EVIL}")
        return Outcome(plan.workers, given_up=(f"shard{EVIL}",), done=1)

    monkeypatch.setattr("jobs.run.extraction.resume", resume)
    code, out, err = seen("resume", EVIL)
    assert code == 1 and escaped(EVIL) in out and f"new: {escaped(EVIL)}" in err

    def refuse(*_: Any, **options: Any) -> Outcome:
        raise InventoryError(EVIL)

    monkeypatch.setattr("jobs.run.extraction.resume", refuse)
    code, out, err = seen("resume", EVIL)
    assert (code, out, err.splitlines()[-1]) == (1, "", SENTENCE)


@pytest.mark.parametrize("seen", [("ascii", True), ("utf-8", False)], indirect=True)
def test_help_and_networks(seen: Seen) -> None:
    for path in [(), *paths(app)]:
        code, out, err = seen(*path, "--help")
        assert (code, err) == (0, "") and out.startswith("Usage: msnet")
    assert seen("weights", "list")[0] == 0
