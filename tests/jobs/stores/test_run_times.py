from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jobs.stores.run_times import RunTimes, read_run_times, write_run_times
from schemas.layout import StorePaths

TIMES = RunTimes("2026-01-01T00:00:00+00:00", 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 2, 1, 16)


def test_times_are_read_in_order_and_damaged_ones_left_out(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    assert read_run_times(paths) == []
    paths.logs.mkdir()
    later = replace(TIMES, began_utc="2026-02-01T00:00:00+00:00", done=7)
    write_run_times(paths.logs / "20260201T000000-9.log", later)
    write_run_times(paths.logs / "20260101T000000-8.log", TIMES)
    assert read_run_times(paths) == [TIMES, later]
    damaged = paths.logs / "20260101T000000-8.times.json"
    damaged.write_text(damaged.read_text().replace('"done": 2', '"done": 3'))
    (paths.logs / "20260301T000000-1.times.json").write_text("{}")
    (paths.logs / "20260302T000000-1.times.json").mkdir()
    (paths.logs / "20260101T000000-8.log").write_text("a log")
    assert read_run_times(paths) == [later]
