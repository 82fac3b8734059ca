from __future__ import annotations

import dataclasses
import itertools
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extractor.store import (
    FeatureStore,
    commit_shard,
    committed,
    manifest,
    new_attempt,
    read_run,
    write_manifest_cache,
)
from extractor.store.commits.commit import stored_file
from extractor.store.manifest import merge_failures, merge_fragments
from extractor.store.tables import write_table
from schemas.errors import DamagedShardError
from schemas.manifest import empty_manifest
from tests.extractor.store.making import make_store, stage


def test_manifest_cache_holds_every_clip_and_failure(tmp_path):
    paths = make_store(tmp_path / "store")
    table, failures = pd.read_parquet(paths.manifest), pd.read_parquet(paths.failures)
    assert table.equals(merge_fragments(paths, committed(paths)))
    assert failures.equals(merge_failures(committed(paths)))
    assert (len(table), len(failures)) == (8, 1)


def test_manifest_cache_of_a_store_without_clips(tmp_path):
    paths = make_store(tmp_path / "store", (("bad.mp4",),))
    assert pd.read_parquet(paths.manifest).equals(empty_manifest())
    assert len(pd.read_parquet(paths.failures)) == 1
    store = FeatureStore(paths.root)
    assert (len(store), store.video_ids, len(store.of_videos(["fps"]))) == (0, (), 0)


def test_manifest_cache_is_one_table_whatever_the_number_of_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_GROUP_ROWS", 5)
    paths = make_store(tmp_path / "store", [(f"{k}.mp4",) for k in range(4)])
    attempt = new_attempt(paths, read_run(paths), "shard-00004", "token")
    for video_id in ("1.mp4", "new.mp4"):  # 1.mp4 has moved
        stage(attempt, video_id)
    commit_shard(attempt, ["1.mp4", "new.mp4"])
    write_manifest_cache(paths)
    found = pd.read_parquet(paths.manifest)
    assert found["video_id"].tolist() == [f"{name}.mp4" for name in ("0", "2", "3", "1", "new") for _ in range(2)]
    assert found.equals(merge_fragments(paths, committed(paths)))
    with pq.ParquetFile(paths.manifest) as file:
        assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [6, 4]
        written = file.schema_arrow
    expected = pa.Schema.from_pandas(found, preserve_index=False)
    assert written.remove_metadata() == expected.remove_metadata()
    assert json.loads(written.metadata[b"pandas"])["columns"] == json.loads(expected.metadata[b"pandas"])["columns"]


def test_manifest_cache_is_made_again_where_shards_were_committed_meanwhile(tmp_path, monkeypatch):
    paths = make_store(tmp_path / "store")
    now = committed(paths)
    before = now.only(["shard-00000"])
    answers = [before, now, now]
    monkeypatch.setattr(manifest, "committed", lambda paths: answers.pop(0))
    write_manifest_cache(paths)
    assert not answers
    assert len(pd.read_parquet(paths.manifest)) == 8
    assert manifest.cached_manifest(paths, now) is not None


def test_manifest_cache_is_not_made_again_for_ever(tmp_path, monkeypatch):
    paths = make_store(tmp_path / "store")
    now = committed(paths)
    answers = itertools.cycle([now, now.only(["shard-00000"])])
    monkeypatch.setattr(manifest, "committed", lambda paths: next(answers))
    write_manifest_cache(paths)
    assert pd.read_parquet(paths.manifest).size


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"video_id": "z.mp4", "clip_number": [0, 1, 2, 3]}, "items do not agree"),
        ({"fps": "fast"}, "another type"),
    ],
)
def test_fragment_that_is_not_its_records_is_refused(tmp_path, change, match):
    paths = make_store(tmp_path / "store")
    record = committed(paths)["shard-00000"]
    path = paths.root / record.fragment.path
    write_table(path, pd.read_parquet(path).assign(**change))
    with pytest.raises(DamagedShardError, match=match):
        manifest.read_fragment(paths, dataclasses.replace(record, fragment=stored_file(paths, path, path)))
