from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from extractor.store import FeatureStore
from jobs.stores.export import CLIPS, INDEX, export_store
from schemas.errors import StorageError, UsageError
from tests.extractor.store.making import make_store

FILES = ("npy", "safetensors")

HOSTILE = (
    "../../x.mp4",
    "/etc/passwd",
    "nul\0.mp4",
    "a" * 3000,
    "A.mp4",
    "a.mp4",
    "a",
    "a/b",
    "a/../b",
    "..",
    "é 💥\n",
    "con",
    "run.json",
)


def read_export(out: Path) -> dict[str, dict[str, np.ndarray]]:
    """An export read by its index alone."""
    videos = json.loads((out / INDEX).read_bytes())["videos"]
    found = {}
    for video_id, paths in videos.items():
        read = {
            path: np.load(out / path) if path.endswith(".npy") else load_file(out / path) for path in paths.values()
        }
        found[video_id] = {n: read[p] if p.endswith(".npy") else read[p][n] for n, p in paths.items()}
    return found


@pytest.mark.parametrize("format", FILES)
def test_export_holds_what_the_store_holds(store, tmp_path, format):
    report = export_store(store.root, tmp_path / "out", format)
    reader = FeatureStore(store.root)
    found = read_export(tmp_path / "out")
    assert tuple(found) == reader.video_ids
    assert report.videos == 4
    assert report.files == 4 * (len(reader.tensors) if format == "npy" else 1)
    assert report.bytes == sum(
        p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.suffix in (".npy", ".safetensors")
    )
    for video_id, tensors in found.items():
        expected = reader.video(video_id)
        assert tensors.keys() == expected.keys()
        for name, rows in expected.items():
            assert tensors[name].dtype == rows.dtype
            np.testing.assert_array_equal(tensors[name], rows)


def test_clips_are_cut_out_by_the_table(store, tmp_path):
    export_store(store.root, tmp_path / "out", tensors=["frame", "displacement", "clip"])
    reader = FeatureStore(store.root)
    table = pd.read_parquet(tmp_path / "out" / CLIPS)
    found = read_export(tmp_path / "out")
    for i, row in enumerate(table.itertuples()):
        clip, video = reader.clip(i), found[row.video_id]
        np.testing.assert_array_equal(video["frame"][row.frame_start : row.frame_stop], clip["frame"])
        np.testing.assert_array_equal(video["displacement"][row.pair_start : row.pair_stop], clip["displacement"])
        np.testing.assert_array_equal(video["clip"][row.clip_row], clip["clip"][0])


@pytest.mark.parametrize("format", FILES)
def test_hostile_ids_stay_inside_the_folder(tmp_path, format):
    paths = make_store(tmp_path / "in" / "store", (HOSTILE,), clips=1)
    outside = sorted(tmp_path.rglob("*"))
    out = tmp_path / "in" / "out"
    export_store(paths.root, out, format, ["clip"])
    assert sorted(path for path in tmp_path.rglob("*") if out not in (path, *path.parents)) == outside
    found = read_export(out)
    reader = FeatureStore(paths.root)
    for video_id in HOSTILE:
        np.testing.assert_array_equal(found[video_id]["clip"], reader.video(video_id)["clip"])


def test_files_are_called_after_the_videos(store, tmp_path):
    export_store(store.root, tmp_path / "out", "npy", ["clip", "frame"])
    export_store(store.root, tmp_path / "one", "safetensors")
    assert np.load(tmp_path / "out" / "c" / "d.mp4" / "frame.npy").shape == (8, 16)
    assert load_file(tmp_path / "one" / "c" / "d.mp4.safetensors")["clip"].shape == (2, 16)
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.npy")}
    assert found == {f"{v}/{t}.npy" for v in ("a.mp4", "b.mp4", "c/d.mp4", "e.mp4") for t in ("clip", "frame")}


def test_videos_keep_their_names_when_the_store_grows(tmp_path):
    """The first of two ids that one file name could mean has it, also where the second comes before it later."""
    out = tmp_path / "out"
    grown = make_store(tmp_path / "grown", (("B.MP4",), ("a", "a/b", "b.mp4")), clips=1)
    small = make_store(tmp_path / "small", (("bad.mp4",), ("a", "a/b", "b.mp4")), clips=1)
    assert FeatureStore(small.root).run.digest == FeatureStore(grown.root).run.digest
    export_store(small.root, out, "npy", ["clip"])
    before = read_export(out)
    second = export_store(grown.root, out, "npy", ["clip"])
    assert (second.files, second.skipped) == (1, 3)
    paths = json.loads((out / INDEX).read_bytes())["videos"]
    assert paths["b.mp4"] == {"clip": "b.mp4/clip.npy"}
    assert paths["B.MP4"]["clip"].startswith("_names/b-mp4-")
    for video_id, tensors in before.items():
        np.testing.assert_array_equal(read_export(out)[video_id]["clip"], tensors["clip"])


@pytest.mark.parametrize("format", FILES)
def test_videos_called_like_files_of_an_export_or_a_store_take_no_part_of_them(tmp_path, format):
    ids = ("run.json", "index.json", "clips.parquet", "run.json/a", "_names/a", "zarr.json")
    store = make_store(tmp_path / "store", (ids,), clips=1)
    export_store(store.root, tmp_path / "out", format, ["clip"])
    assert export_store(store.root, tmp_path / "out", format, ["clip"]).files == 0
    assert set(read_export(tmp_path / "out")) == set(ids)


def test_an_index_that_names_files_elsewhere_is_refused(store, tmp_path):
    out = tmp_path / "out"
    export_store(store.root, out, "npy", ["clip"])
    index = json.loads((out / INDEX).read_bytes())
    for place in ("../../x/clip.npy", "b.mp4/clip.npy", None, "a.mp4"):
        index["videos"]["a.mp4"] = {"clip": place}
        (out / INDEX).write_text(json.dumps(index))
        with pytest.raises(UsageError, match=r"index.json was altered: it calls 'a.mp4'"):
            export_store(store.root, out, "npy", ["clip"])


def test_two_exports_to_one_folder_do_not_mix(store, tmp_path):
    def second(done, total):
        with pytest.raises(StorageError, match="another export writes there"):
            export_store(store.root, tmp_path / "out")

    export_store(store.root, tmp_path / "out", progress=second)


def test_export_is_continued(store, tmp_path):
    out = tmp_path / "out"
    first = export_store(store.root, out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    gone = sorted(stamps)[::5]
    for path in gone:
        path.unlink()
    second = export_store(store.root, out)
    assert (second.files, second.skipped) == (len(gone), first.files - len(gone))
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items() if path not in gone)


def test_full_disk_leaves_no_half_file(store, tmp_path, monkeypatch):
    out = tmp_path / "out"
    fsync = os.fsync
    calls = []

    def full(handle):
        calls.append(handle)
        if len(calls) > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="is full"):
        export_store(store.root, out)
    monkeypatch.undo()
    assert not list(out.rglob(".*"))
    export_store(store.root, out)
    assert len(read_export(out)) == 4


def test_another_export_or_a_store_is_not_written_into(store, tmp_path):
    out = tmp_path / "out"
    export_store(store.root, out, "npy", ["clip"])
    with pytest.raises(UsageError, match="another configuration"):
        export_store(store.root, out, "npy", ["frame"])
    with pytest.raises(UsageError, match="is a store"):
        export_store(store.root, store.root)
    (out / INDEX).write_text("junk")
    with pytest.raises(UsageError, match="not the index"):
        export_store(store.root, out, "npy", ["clip"])


def test_a_folder_with_other_files_is_not_written_into(store, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match=r"expected an empty folder or an export; .* holds 'thesis.tex'. Give"):
        export_store(store.root, out)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_an_export_that_was_killed_before_its_index_goes_on(store, tmp_path):
    out = tmp_path / "out"
    export_store(store.root, out)
    for path in out.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink() if path.name != CLIPS else None
    assert export_store(store.root, out).skipped == 0
    assert len(read_export(out)) == 4


def test_unknown_tensors_and_formats_are_refused(store, tmp_path):
    with pytest.raises(UsageError, match="colour"):
        export_store(store.root, tmp_path / "out", tensors=["colour"])
    with pytest.raises(ValueError, match="csv"):
        export_store(store.root, tmp_path / "out", "csv")
    assert not (tmp_path / "out").exists()


def test_progress_counts_every_video(store, tmp_path):
    seen = []
    export_store(store.root, tmp_path / "out", "safetensors", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("format", ["npy", "safetensors", "zarr"])
def test_a_link_out_of_the_export_is_not_followed(tmp_path, format):
    store = make_store(tmp_path / "store", [["cats/a.mp4", "b.mp4"]])
    out, others = tmp_path / "out", tmp_path / "others"
    export_store(store.root, out, format)
    others.mkdir()
    (others / ".theirs.tmp").touch()
    folder = next(path for path in sorted(out.rglob("cats")) if path.is_dir())
    shutil.rmtree(folder)
    folder.symlink_to(others)
    with pytest.raises(StorageError, match="a link out of it"):
        export_store(store.root, out, format)
    assert [path.name for path in others.iterdir()] == [".theirs.tmp"]
    folder.unlink()
    (tmp_path / "linked").symlink_to(out)  # the export itself may be one
    export_store(store.root, tmp_path / "linked", format)
