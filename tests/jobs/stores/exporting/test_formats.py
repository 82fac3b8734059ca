from __future__ import annotations

import json
import os
import shutil
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from extractor.store import FeatureStore
from jobs.stores.export import INDEX, export_store
from schemas.errors import UsageError
from tests.extractor.store.making import make_store
from tests.jobs.stores.exporting.reading import READERS
from tests.jobs.stores.test_export import HOSTILE

FORMATS = tuple(READERS)
PARTS = ("webdataset", "parquet")


def assert_equal_to_store(found, store, tensors=None):
    reader = FeatureStore(store.root)
    assert set(found) == set(reader.video_ids)
    for video_id, arrays in found.items():
        expected = reader.video(video_id, tensors)
        assert arrays.keys() == expected.keys()
        for name, rows in expected.items():
            assert (arrays[name].dtype, arrays[name].shape) == (rows.dtype, rows.shape)
            np.testing.assert_array_equal(arrays[name], rows)


@pytest.mark.parametrize("format", FORMATS)
def test_its_own_library_reads_what_the_store_holds(store, tmp_path, format):
    report = export_store(store.root, tmp_path / "out", format, part_bytes=1)
    assert_equal_to_store(READERS[format](tmp_path / "out"), store)
    assert report.videos == 4
    assert report.files == {"webdataset": 4, "zarr": 4, "parquet": 12}[format]


@pytest.mark.parametrize("format", FORMATS)
def test_hostile_ids_stay_inside_the_folder(tmp_path, format):
    paths = make_store(tmp_path / "in" / "store", (HOSTILE,), clips=1)
    outside = sorted(tmp_path.rglob("*"))
    out = tmp_path / "in" / "out"
    export_store(paths.root, out, format, ["clip", "frame"])
    assert sorted(path for path in tmp_path.rglob("*") if out not in (path, *path.parents)) == outside
    assert_equal_to_store(READERS[format](out), paths, ["clip", "frame"])


@pytest.mark.parametrize("format", FORMATS)
def test_a_second_call_exports_nothing_and_a_later_one_what_is_new(tmp_path, format):
    out = tmp_path / "out"
    small = make_store(tmp_path / "small", (("a.mp4",), ("b.mp4", "bad.mp4")))
    grown = make_store(tmp_path / "grown", (("new/0.mp4", "a.mp4"), ("b.mp4", "new/1.mp4")))
    first = export_store(small.root, out, format)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.parent != out}
    stamps |= {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    second = export_store(small.root, out, format)
    assert (second.files, second.bytes, second.skipped) == (0, 0, first.files)
    third = export_store(grown.root, out, format)
    assert third.files > 0 and third.skipped == first.files
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert_equal_to_store(READERS[format](out), grown)


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_that_stopped_anywhere_goes_on(store, tmp_path, monkeypatch, format):
    """It stops at some fsync: what is there is whole, and the next call adds the rest."""
    fsync, left = os.fsync, 0

    def stopping(handle):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        fsync(handle)

    whole = export_store(store.root, tmp_path / "whole", format, ["clip"], part_bytes=1)
    monkeypatch.setattr(os, "fsync", stopping)
    for stop in (3, 8, 13, 18):
        out, left = tmp_path / str(stop), stop
        with pytest.raises(KeyboardInterrupt):
            export_store(store.root, out, format, ["clip"], part_bytes=1)
        assert not list(out.rglob(".*.tmp"))
        left = 0
        rest = export_store(store.root, out, format, ["clip"], part_bytes=1)
        assert rest.files + rest.skipped == whole.files
        assert_equal_to_store(READERS[format](out), store, ["clip"])


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_killed_export_left_half_written_goes(store, tmp_path, format):
    out = tmp_path / "out"
    export_store(store.root, out, format, ["clip"])
    for folder in {"webdataset": [out, out / "parts"], "zarr": [out / "features.zarr"], "parquet": [out / "clips"]}[
        format
    ]:
        (folder / ".a.mp4.0123456789ab.tmp").mkdir()
        (folder / ".b.0123456789ab.tmp").write_text("half")
    for path in [*out.glob("*.tar"), *out.glob("clips/*.parquet")]:
        path.unlink()
    if format == "zarr":
        shutil.rmtree(out / "features.zarr" / "a.mp4")
    assert export_store(store.root, out, format, ["clip"]).files == 1
    assert not list(out.rglob(".*.tmp"))


@pytest.mark.parametrize("format", PARTS)
def test_parts_end_where_they_are_full(store, tmp_path, format):
    export_store(store.root, tmp_path / "out", format, ["clip"], part_bytes=2 * 2 * 16 * 2)
    parts = json.loads((tmp_path / "out" / INDEX).read_bytes())["parts"]
    assert [part["videos"] for part in parts.values()] == [2, 2]


@pytest.mark.parametrize("format", PARTS)
def test_videos_of_a_part_that_is_gone_are_exported_again(store, tmp_path, format):
    out = tmp_path / "out"
    export_store(store.root, out, format, ["clip"], part_bytes=1)
    gone, cut = sorted(out.rglob("features-*.tar") if format == "webdataset" else out.rglob("clips/*"))[1:3]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    assert export_store(store.root, out, format, ["clip"], part_bytes=1).files == 2
    found = json.loads((out / INDEX).read_bytes())["videos"]
    assert {video["part"] for video in found.values()} == {f"features-0000{n}" for n in (0, 3, 4, 5)}


def test_records_that_are_not_ours_are_refused(store, tmp_path):
    out = tmp_path / "out"
    export_store(store.root, out, "webdataset", ["clip"])
    record = out / "parts" / "features-00000.json"
    for content in ('{"files": {"../../x.tar": "y"}, "videos": {}}', "junk", "[]", '{"files": {}, "videos": {"a": 1}}'):
        record.write_text(content)
        with pytest.raises(UsageError, match="is not the record of a part"):
            export_store(store.root, out, "webdataset", ["clip"])


def test_samples_of_tar_files_have_the_videos_names(tmp_path):
    store = make_store(tmp_path / "store", (("cats/one.mp4", "cats/one.webm", "cats/one_mp4"),))
    export_store(store.root, tmp_path / "out", "webdataset", ["clip"])
    with tarfile.open(tmp_path / "out" / "features-00000.tar") as tar:
        names = tar.getnames()
        document = json.load(tar.extractfile("cats/one_mp4.json"))
    assert names[:4] == ["cats/one_mp4.json", "cats/one_mp4.clip.npy", "cats/one_webm.json", "cats/one_webm.clip.npy"]
    assert names[4].startswith("_names/cats-one-mp4-")
    assert (document["video_id"], document["video"]["fps"]) == ("cats/one.mp4", 30.0)
    assert document["clips"]["frame_stop"] == [4, 8]


def test_tables_of_parquet_say_the_shape_of_rows(store, tmp_path):
    export_store(store.root, tmp_path / "out", "parquet")
    schema = pq.read_schema(tmp_path / "out" / "pairs" / "features-00000.parquet")
    assert schema.field("displacement").metadata == {b"shape": b"[2, 5, 11]"}
    assert schema.field("displacement").type.list_size == 110
    assert not (tmp_path / "out" / "clips.parquet").is_dir()
