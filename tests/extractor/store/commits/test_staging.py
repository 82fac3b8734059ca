from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from extractor.store import StagedItemWriter, new_attempt, stage_failure, staged_items
from extractor.store.commits.staging import item_key, open_staged, staged_columns
from extractor.store.disk.atomic import is_temporary
from schemas.errors import FailureClass, StoreError
from schemas.manifest import MANIFEST_COLUMNS
from schemas.records import Failure
from tests.extractor.store.making import fail, item_arrays, item_clips, stage


def read(attempt):
    return staged_items(attempt.paths, attempt.run, attempt.shard)


def test_staged_item_comes_back(attempt):
    stage(attempt, "a.mp4", clips=3)
    item = read(attempt)["a.mp4"]
    assert item.failure is None
    with open_staged(item.path, attempt.run) as reader:
        assert reader.rows == {"clips": 3, "frames": 12, "pairs": 9}
        np.testing.assert_array_equal(
            reader.read("frames/feature", 0, 12), item_arrays(attempt.run, 3, 0)["frames/feature"].astype(np.float16)
        )
        columns = staged_columns(reader)
    clips = item_clips(attempt.run, 3)
    assert columns == {name: [row[name] for row in clips] for name in MANIFEST_COLUMNS if name in clips[0]}


def test_item_is_appended_in_pieces_and_started_over(attempt):
    arrays = item_arrays(attempt.run, 2, 0)
    with StagedItemWriter(attempt, "a.mp4") as writer:
        writer.append({name: rows[:1] for name, rows in arrays.items()})
        writer.reset()
        for part in (slice(0, 1), slice(1, None)):
            for level in ("frames", "pairs", "clips"):
                writer.append({name: rows[part] for name, rows in arrays.items() if name.startswith(level)})
        writer.finish(item_clips(attempt.run, 2))
    with open_staged(read(attempt)["a.mp4"].path, attempt.run) as reader:
        assert reader.rows["frames"] == 8


def test_nothing_is_left_without_finish(attempt):
    with StagedItemWriter(attempt, "a.mp4") as writer:
        writer.append(item_arrays(attempt.run, 1, 0))
    with pytest.raises(ZeroDivisionError), StagedItemWriter(attempt, "b.mp4") as writer:
        writer.append(item_arrays(attempt.run, 1, 0))
        1 / 0  # noqa: B018
    assert list(attempt.staging.iterdir()) == []
    assert read(attempt) == {}


def test_failure_is_staged_like_a_success_and_counts_less(attempt):
    failure = Failure("a.mp4", FailureClass.TIMED_OUT, "took too long: \udcff", 2, 3.5)
    stage_failure(attempt, failure)
    assert read(attempt)["a.mp4"].failure == dataclasses.replace(failure, message="took too long: ?")
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
    root = attempt.paths.root.parent
    assert {path.parent for path in root.rglob("*.h5")} == {attempt.staging}
    assert len({item_key(video_id) for video_id in HOSTILE}) == len(HOSTILE)


def test_id_that_is_no_text_is_refused(attempt):
    with pytest.raises(StoreError, match="UTF-8"):
        StagedItemWriter(attempt, "bad\udcff.mp4")


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
    with StagedItemWriter(attempt, "a.mp4") as writer, pytest.raises(StoreError, match=match):
        writer.append(item_arrays(attempt.run, 2, 0))
        writer.finish(change(item_clips(attempt.run, 2)))
    assert read(attempt) == {}


def test_numbers_of_numpy_and_not_a_number_survive_in_rows(attempt):
    rows = [
        row | {"fps": np.float32(29.97), "clip_number": np.int64(row["clip_number"]), "width": np.int32(7)}
        for row in item_clips(attempt.run, 2)
    ]
    rows[1]["video_end_seconds"] = float("nan")
    with StagedItemWriter(attempt, "a.mp4") as writer:
        writer.append(item_arrays(attempt.run, 2, 0))
        writer.finish(rows)
    with open_staged(read(attempt)["a.mp4"].path, attempt.run) as reader:
        columns = staged_columns(reader)
    assert columns["fps"] == [float(np.float32(29.97))] * 2
    assert columns["width"] == [7, 7]
    assert np.isnan(columns["video_end_seconds"][1])


def test_reading_passes_over_junk_and_half_files(attempt):
    stage(attempt, "a.mp4")
    stage(attempt, "b.mp4")
    fail(attempt, "c.mp4")
    good = read(attempt)
    data = good["a.mp4"].path.read_bytes()
    folder = attempt.paths.staged(attempt.shard) / "other"
    folder.mkdir()
    (folder / f"{item_key('half')}.h5").write_bytes(data[: len(data) // 2])
    (folder / f"{item_key('another')}.h5").write_bytes(data)  # a name that is not its content's
    (folder / "junk.json").write_text("{}")
    (folder / "array.json").write_text("[1]")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "big.json").write_text(" " * 2_000_000)
    (folder / "folder.h5").mkdir()
    (folder / ".temporary.h5.123.tmp").write_bytes(data)
    (attempt.paths.staged(attempt.shard) / "file").write_text("")
    assert read(attempt) == good


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


def test_vanished_staging_is_a_lost_race_only_after_a_commit(attempt):
    def sweep_while_writing(video_id, arrays):
        for path in attempt.staging.iterdir():
            assert is_temporary(path)
            path.unlink()

    with StagedItemWriter(attempt, "a.mp4") as writer:
        writer.append(item_arrays(attempt.run, 1, 0))
        sweep_while_writing("a.mp4", {})
        with pytest.raises(StoreError, match="vanished"):
            writer.finish(item_clips(attempt.run, 1))
    attempt.paths.commits.mkdir()
    attempt.paths.commit(attempt.shard).write_text(json.dumps({}))
    with StagedItemWriter(attempt, "a.mp4") as writer:
        writer.append(item_arrays(attempt.run, 1, 0))
        sweep_while_writing("a.mp4", {})
        writer.finish(item_clips(attempt.run, 1))
    assert read(attempt) == {}
