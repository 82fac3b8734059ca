from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

import pytest

from extractor.pipeline.messages import ItemDone
from jobs.cli.display import TerminalWatcher, bar_width, duration, open_bar, paragraph, rows, size, starting, table
from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.run.outcome import Outcome
from jobs.stores.standing import Standing
from jobs.workers.events import ShardProgress


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_499, "999.5 kB"),
        (999_500, "1.0 MB"),
        (1_234_567, "1.2 MB"),
        (5e15, "5.0 PB"),
        (5e19, "50000.0 PB"),
    ],
)
def test_size_is_for_a_person(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (3.21, "3.2 s"), (99.9, "99.9 s"), (150, "2 min"), (4000, "67 min"), (7000, "1 h 57 min")],
)
def test_duration_is_for_a_person(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_rows_align_columns_and_numbers() -> None:
    assert rows([("videos", 5, "of 10"), ("clips of them", 1234), ("x",)]).splitlines() == [
        "  videos            5  of 10",
        "  clips of them  1234",
        "  x",
    ]
    assert rows([]) == ""


def test_rows_are_not_widened_by_text_that_ends_them() -> None:
    digest = "0123456789abcdef" * 4  # begins with a digit but is not a number
    assert rows([("SHA-256", digest), ("tensors", 62, "11 MB"), ("name", "text", "more")]).splitlines() == [
        f"  SHA-256  {digest}",
        "  tensors    62  11 MB",
        "  name     text  more",
    ]


@pytest.mark.parametrize("columns", [12, 80])
def test_table_has_headings_over_its_columns(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [("one", 1.5, "2..3"), ("another", 12), ("third", "", "")]
    assert table(("name", "F1", "interval"), lines).splitlines() == [
        "  name      F1  interval",
        "  one      1.5      2..3",
        "  another   12",
        "  third",
    ]


@pytest.mark.parametrize("columns", [24, 40, 80])
def test_rows_wrap_long_text_at_the_end(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = "finished, but the shard that they belong to is not yet committed, so they may be done again"
    lines = rows([("videos staged", 12, text), ("clips", 3)]).splitlines()
    assert all(len(line) <= columns for line in lines)
    assert lines[0].startswith("  videos staged  12") and lines[-1] == "  clips           3"
    assert " ".join(" ".join(lines[:-1]).split()) == f"videos staged 12 {text}"


@pytest.mark.parametrize("columns", [20, 40, 80, 300])
def test_paragraph_fits_the_terminal_and_breaks_no_path(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    path = "/a/very-long/path/that-nobody/may/break"
    lines = paragraph(f"words before it and then {path} and some more words after it, quite a few", indent="  ")
    assert path in lines
    for line in lines.splitlines():
        assert len(line) <= min(columns, 120) or line.strip() == path


def test_paragraph_breaks_no_command_whatever_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    command = "msnet resume 'my store; (1), #1' --rescan"
    assert command in paragraph(f"some words before it; to continue: {command}").splitlines()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(watcher: TerminalWatcher) -> None:
    outcome = Outcome(
        Placement((Workers(1, 1, 1, 0, 16),)),
        Standing(failed={"a": ("corrupt", "")}, left=4),
        wall_seconds=2.0,
    )
    for done in range(3):
        watcher.probing(done, 2)
    watcher.begin(outcome)
    watcher.say("a line about something")
    for video_id in "bcd":
        outcome.add(ShardProgress("shard-00000", "x", finished=(ItemDone(video_id, 4, 32),)))
        watcher.update(outcome)
    watcher.end()


def test_watcher_is_silent_but_for_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture) -> None:
    run(TerminalWatcher())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "continuing: 0 done, 1 failed, 4 left, of 5 videos",
        "a line about something",
    ]


def test_watcher_tells_plain_lines_now_and_then(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.cli.display._LINE_EVERY_SECONDS", 0.0)
    run(TerminalWatcher())
    lines = capsys.readouterr().err.splitlines()
    assert "probing files: 2 of 2" in lines
    assert lines[-1] == "extracting: 4 of 5, 1 failed, 6.0 clips/s"


def test_progress_of_planning_stands_behind_that_of_the_extraction(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cli.display._LINE_EVERY_SECONDS", 0.0)
    watcher = TerminalWatcher()
    outcome = Outcome(Placement((Workers(1, 1, 1, 0, 16),)), Standing(left=4, unplanned=996))
    watcher.begin(outcome)
    watcher.planning(300, 1000)
    watcher.planning(400, 1000)
    first = capsys.readouterr().err.splitlines()
    assert first[0] == "extracting: 0 of 1000, 300/1000 planned"
    assert first[1].startswith("extracting: 0 of 1000, 400/1000 (about ") and first[1].endswith(" s left) planned")
    watcher.planning(1000, 1000)
    watcher.update(outcome)
    assert "planned" not in capsys.readouterr().err
    watcher.end()


def test_planning_before_the_extraction_has_a_bar_of_its_own(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cli.display._LINE_EVERY_SECONDS", 0.0)
    watcher = TerminalWatcher()
    for done in (1, 2):
        watcher.planning(done, 2)
    watcher.begin(Outcome(Placement((Workers(1, 1, 1, 0, 16),)), Standing(left=2)))
    watcher.end()
    assert capsys.readouterr().err.splitlines() == ["planning: 1 of 2", "planning: 2 of 2"]


def test_bar_is_drawn_on_a_terminal_that_tells_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    ours, theirs = os.openpty()  # 0 x 0
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert bar_width() > 0
        run(TerminalWatcher())
    shown = b""
    with suppress(OSError):  # EIO: everything was read, and the other end is closed
        while data := os.read(ours, 65536):  # one read may return only a part
            shown += data
    os.close(ours)
    assert b"extracting 1/5 |" in shown


def test_time_left_counts_all_that_was_done_and_not_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is drawn every half second, also while nothing ends: one of nine took 10 s, so eight take 80."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    now = 1000.0
    with open_bar(total=9, mininterval=0) as bar:
        monkeypatch.setattr(bar, "_time", lambda: now)
        bar.start_t = bar.last_print_t = now
        for step in range(1, 41):
            now = 1000.0 + step / 4
            bar.update(step == 39)
        spoken = bar.format_meter(**{**bar.format_dict, "bar_format": "{remaining_s:.0f}"})
    assert spoken == "80"


def test_bar_tells_no_speed_before_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that goes on: what was done before tells nothing of its speed."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    watcher = TerminalWatcher()
    outcome = Outcome(Placement((Workers(1, 1, 1, 0, 16),)), Standing(done=2, left=3), wall_seconds=2.0)

    def drawn() -> str:
        watcher.update(outcome)
        watcher._bar.refresh()
        return terminal.getvalue().split("\r")[-1]

    watcher.begin(outcome)
    first = drawn()
    assert "extracting 2/5 |" in first and ", measuring the speed, failed=0" in first
    assert "?" not in first and "left" not in first and "clips/s" not in first
    outcome.add(ShardProgress("shard-00000", "x", finished=(ItemDone("a", 4, 32),)))
    then = drawn()
    assert "extracting 3/5 |" in then and "measuring" not in then and "?" not in then
    assert ", about " in then and " left, failed=0, clips/s=2.0" in then
    watcher.end()


@pytest.mark.parametrize("columns", [30, 60, 200])
def test_bar_fits_the_terminal_and_uses_no_colour(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    run(TerminalWatcher())
    text = terminal.getvalue()
    assert "extracting" in text
    assert "\x1b[3" not in text
    for line in text.replace("\n", "\r").split("\r"):
        assert len(line.replace("\x1b[A", "").rstrip()) <= max(columns, 80)


def test_the_last_plain_line_says_what_there_was_in_the_end(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 11.0, 11.0, *[12.0] * 20])  # the only line that is due is that of the first video
    monkeypatch.setattr("jobs.cli.display.time.monotonic", lambda: next(times))
    watcher = TerminalWatcher()
    outcome = Outcome(Placement((Workers(1, 1, 1, 0, 16),)), Standing(left=3), wall_seconds=2.0)
    watcher.begin(outcome)
    watcher.update(outcome)
    for video_id in "abc":
        outcome.add(ShardProgress("shard-00000", "x", finished=(ItemDone(video_id, 4, 32),)))
        watcher.update(outcome)
    watcher.end()
    assert capsys.readouterr().err.splitlines() == [
        "extracting: 0 of 3, 0 failed",
        "extracting: 3 of 3, 0 failed, 6.0 clips/s",
    ]


def test_a_start_is_told_at_once_on_a_terminal(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with starting():
        assert capsys.readouterr().err.startswith("starting")


@pytest.mark.parametrize("spoken", [False, True])
def test_a_start_is_told_elsewhere_unless_something_else_is_soon(
    spoken: bool, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cli.display._SILENCE_SECONDS", 0.0 if not spoken else 0.05)
    with starting() as watcher:
        if spoken:
            watcher.say("a line about something")
            watcher.say_late("starting")
        told = ""
        while not spoken and not told:
            told = capsys.readouterr().err
    told += capsys.readouterr().err
    assert told.splitlines() == (["a line about something"] if spoken else ["starting: torch and Ray are being loaded"])


def test_a_start_that_is_refused_is_one_line(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(KeyError), starting():
        raise KeyError
    assert capsys.readouterr().err == ""
