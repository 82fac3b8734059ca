from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from extractor.store import StagingLog, new_attempt, staged_items
from extractor.store.commits import staging
from extractor.store.commits.staging import all_staged, set_aside
from schemas.errors import FailureClass, NotFiniteError, StoreError
from schemas.layout import shard_name
from schemas.manifest import MANIFEST_COLUMNS
from schemas.records import Failure
from tests.extractor.store.making import fail, item_arrays, item_clips, stage, staged_rows


def read(attempt):
    return staged_items(attempt.paths, attempt.run, attempt.shard)


def test_staged_item_comes_back(attempt):
    stage(attempt, "a.mp4", clips=3)
    item = read(attempt)["a.mp4"]
    assert item.failure is None
    rows, columns = staged_rows(attempt.run, item)
    wanted = item_arrays(attempt.run, 3, 0)
    assert rows.keys() == wanted.keys()
    for spec in attempt.run.datasets:
        np.testing.assert_array_equal(rows[spec.path], wanted[spec.path].astype(spec.dtype))
    clips = item_clips(attempt.run, 3)
    assert columns == {name: [row[name] for row in clips] for name in MANIFEST_COLUMNS if name in clips[0]}


def test_items_are_written_side_by_side_in_pieces_and_started_over(attempt, monkeypatch):
    monkeypatch.setattr(staging, "_PART_BYTES", 1500)
    wanted = {video_id: item_arrays(attempt.run, 6, seed) for seed, video_id in enumerate("ab")}
    with StagingLog(attempt) as log:
        writers = {video_id: log.item(video_id) for video_id in wanted}
        for start_over in (True, False):
            for k in range(24):
                part = slice(k, k + 1)
                for video_id, arrays in wanted.items():
                    for level in ("frames", "pairs", "clips"):
                        rows = {path: rows[part] for path, rows in arrays.items() if path.startswith(level)}
                        writers[video_id].append(rows)
            for video_id in wanted:
                writers[video_id].reset() if start_over else writers[video_id].finish(item_clips(attempt.run, 6))
    for video_id, arrays in wanted.items():
        rows, _ = staged_rows(attempt.run, read(attempt)[video_id])
        for spec in attempt.run.datasets:
            np.testing.assert_array_equal(rows[spec.path], arrays[spec.path].astype(spec.dtype))
    sizes = {item.row_bytes for item in read(attempt).values()}
    (file,) = attempt.staging.glob("*.rows")
    assert len(sizes) == 1 and file.stat().st_size > 3 * min(sizes), "what was started over is left behind"


def test_rows_are_copies_and_rounded_to_the_nearest(attempt):
    arrays = item_arrays(attempt.run, 1, 0)
    arrays["clips/feature"][0, :3] = 1 + 2**-12, 65504.0, 1e-9
    with StagingLog(attempt) as log, log.item("a") as writer:
        writer.append(arrays)
        for rows in arrays.values():
            rows[:] = 0
        writer.finish(item_clips(attempt.run, 1))
    rows, _ = staged_rows(attempt.run, read(attempt)["a"])
    np.testing.assert_array_equal(rows["clips/feature"][0, :3], [1.0, 65504.0, 0.0])
    assert rows["frames/index"].tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("path", "change", "match"),
    [
        ("frames/index", lambda rows: rows[1:], "equally many rows"),
        ("frames/index", None, "equally many rows"),
        ("clips/feature", lambda rows: rows[:, 1:], r"shape \(16,\)"),
        ("clips/feature", lambda rows: rows.astype(np.int64), "float16"),
        ("frames/index", lambda rows: rows.astype(np.float64), "int64"),
        ("clips/other", lambda rows: np.zeros(1), "clips/other"),
        ("clips/feature", lambda rows: rows + np.float32(1e5), "16 of 16 values of clips/feature are not finite"),
        ("clips/feature", lambda rows: rows * np.float16(np.nan), "not finite"),
        ("frames/time_seconds", lambda rows: rows - np.inf, "not finite as float64"),
    ],
)
def test_rows_that_do_not_fit_are_refused(attempt, path, change, match):
    arrays = item_arrays(attempt.run, 1, 0)
    arrays[path] = None if change is None else change(arrays.get(path))
    arrays = {name: rows for name, rows in arrays.items() if rows is not None}
    with StagingLog(attempt) as log, log.item("a") as writer, pytest.raises(StoreError, match=match) as caught:
        writer.append(arrays)
    assert isinstance(caught.value, NotFiniteError) == ("not finite" in match)
    assert read(attempt) == {}


def test_nothing_is_staged_without_finish(attempt):
    with StagingLog(attempt) as log, log.item("a.mp4") as writer:
        writer.append(item_arrays(attempt.run, 1, 0))
    with pytest.raises(ZeroDivisionError), StagingLog(attempt) as log, log.item("b.mp4") as writer:
        writer.append(item_arrays(attempt.run, 1, 0))
        1 / 0  # noqa: B018
    assert not attempt.staging.exists()
    assert read(attempt) == {}


def test_what_is_finished_is_seen_at_once_and_durable_after_one_sync(attempt, monkeypatch):
    synced = []
    monkeypatch.setattr(staging.os, "fsync", synced.append)
    log = StagingLog(attempt)
    for video_id in "abc":
        with log.item(video_id) as writer:
            writer.append(item_arrays(attempt.run, 1, 0))
            writer.finish(item_clips(attempt.run, 1))
    log.fail(Failure("d", FailureClass.CORRUPT, ""))
    assert read(attempt).keys() == set("abcd")
    made = len(synced)
    log.sync()
    assert len(synced) == made + 2
    log.sync()
    assert len(synced) == made + 2
    log.close()
    with pytest.raises(StoreError, match="closed"):
        log.fail(Failure("e", FailureClass.CORRUPT, ""))


def test_failure_is_staged_like_a_success_and_counts_less(attempt):
    failure = Failure("a.mp4", FailureClass.TIMED_OUT, "took too long: \udcff", 2, 3.5)
    with StagingLog(attempt) as log:
        log.fail(failure)
        log.fail(dataclasses.replace(failure, video_id="b.mp4", message="x" * 10_000))
    assert read(attempt)["a.mp4"].failure == dataclasses.replace(failure, message="took too long: ?")
    assert len(read(attempt)["b.mp4"].failure.message) == 4000
    other = new_attempt(attempt.paths, attempt.run, attempt.shard, "token")
    stage(other, "a.mp4")
    assert read(attempt)["a.mp4"].failure is None


HOSTILE = [
    "../../etc/passwd",
    "/abs.mp4",
    "nul\0.mp4",
    "a" * 5000,
    "A.mp4",
    "a.mp4",
    "a.mp4/b",
    "clip#1.0-2.5",
    "é\n💥",
    " ",
]


def test_video_ids_never_become_paths(attempt):
    for video_id in HOSTILE:
        stage(attempt, video_id, clips=1)
    assert read(attempt).keys() == set(HOSTILE)
    assert {path.suffix for path in attempt.staging.iterdir()} == {".rows", ".items"}
    assert {path.parent for path in attempt.paths.root.parent.rglob("*.rows")} == {attempt.staging}


def test_id_that_is_no_text_is_refused(attempt):
    with StagingLog(attempt) as log, pytest.raises(StoreError, match="UTF-8"):
        log.item("bad\udcff.mp4")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda rows: [], "at least one clip"),
        (lambda rows: rows[:1], "expected 1 rows of clips, as its clips say; got 2"),
        (lambda rows: [{k: v for k, v in row.items() if k != "fps"} for row in rows], "fps"),
        (lambda rows: [row | {"colour": 1} for row in rows], "colour"),
        (lambda rows: [row | {"clip_number": 0} for row in rows], "ascending"),
        (lambda rows: rows[::-1], "ascending"),
        (lambda rows: [rows[0], rows[1] | {"frame_start": 5}], "frame ranges"),
        (lambda rows: [rows[0], rows[1] | {"pair_stop": 2}], "pair ranges"),
        (lambda rows: [rows[0], rows[1] | {"frame_stop": 9}], "expected 9 rows of frames, as its clips say; got 8"),
    ],
)
def test_finish_refuses_rows_that_do_not_fit(attempt, change, match):
    with StagingLog(attempt) as log, log.item("a.mp4") as writer, pytest.raises(StoreError, match=match):
        writer.append(item_arrays(attempt.run, 2, 0))
        writer.finish(change(item_clips(attempt.run, 2)))
    assert read(attempt) == {}


def test_numbers_of_numpy_and_not_a_number_survive_in_rows(attempt):
    rows = [
        row | {"fps": np.float32(29.97), "clip_number": np.int64(row["clip_number"]), "width": np.int32(7)}
        for row in item_clips(attempt.run, 2)
    ]
    rows[1]["video_end_seconds"] = float("nan")
    with StagingLog(attempt) as log, log.item("a.mp4") as writer:
        writer.append(item_arrays(attempt.run, 2, 0))
        writer.finish(rows)
    _, columns = staged_rows(attempt.run, read(attempt)["a.mp4"])
    assert columns["fps"] == [float(np.float32(29.97))] * 2
    assert columns["width"] == [7, 7]
    assert np.isnan(columns["video_end_seconds"][1])


def test_other_configurations_do_not_count(attempt):
    stage(attempt, "a.mp4")
    fail(attempt, "b.mp4")
    config = attempt.run.config.model_copy(update={"seed": 1})
    assert staged_items(attempt.paths, dataclasses.replace(attempt.run, config=config), attempt.shard) == {}


def test_any_attempt_reads_what_another_staged(attempt):
    stage(attempt, "a.mp4")
    other = new_attempt(attempt.paths, attempt.run, attempt.shard, "token")
    stage(other, "b.mp4")
    assert read(other).keys() == {"a.mp4", "b.mp4"}


def test_item_that_is_set_aside_is_so_for_all_and_can_be_staged_again(attempt):
    with StagingLog(attempt) as log:
        for seed in range(2):
            with log.item("a") as writer:
                writer.append(item_arrays(attempt.run, 1, seed))
                writer.finish(item_clips(attempt.run, 1))
            item = read(attempt)["a"]
            set_aside(item)
            set_aside(item)
            assert read(attempt) == {}
        log.fail(Failure("a", FailureClass.CORRUPT, ""))
        assert read(attempt)["a"].failure is not None
    assert len(all_staged(attempt.paths, attempt.run, attempt.shard)["a"]) == 1


def test_log_that_vanished_is_a_lost_race_only_after_a_commit(attempt):
    def finish(log, video_id):
        with log.item(video_id) as writer:
            writer.append(item_arrays(attempt.run, 1, 0))
            writer.finish(item_clips(attempt.run, 1))

    def sweep():
        for path in attempt.staging.iterdir():
            path.unlink()
        attempt.staging.rmdir()

    log = StagingLog(attempt)
    finish(log, "a.mp4")
    sweep()
    with pytest.raises(StoreError, match="vanished"):
        log.sync()
    attempt.paths.commits.mkdir()
    attempt.paths.commit(attempt.shard).write_text("{}")
    with StagingLog(attempt) as log:
        finish(log, "a.mp4")
        sweep()
        log.sync()
        finish(log, "b.mp4")
        log.fail(Failure("c.mp4", FailureClass.CORRUPT, ""))
    assert not attempt.staging.exists()
    assert read(attempt) == {}


def test_log_that_another_file_replaced_is_told(attempt):
    log = StagingLog(attempt)
    log.fail(Failure("a", FailureClass.CORRUPT, ""))
    (path,) = attempt.staging.glob("*.items")
    path.with_name("other").write_bytes(path.read_bytes())
    path.with_name("other").replace(path)
    with pytest.raises(StoreError, match="vanished"):
        log.sync()


def test_shards_do_not_share_what_is_staged(attempt):
    stage(attempt, "a")
    assert staged_items(attempt.paths, attempt.run, shard_name(1)) == {}
