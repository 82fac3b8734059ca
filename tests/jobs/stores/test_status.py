from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from extractor.store import FeatureStore, Lease, new_attempt, write_inventory, write_run
from jobs.stores.import_features import import_features
from jobs.stores.status import StoreStatus, store_status, video_summary
from schemas.errors import StoreError
from schemas.layout import StorePaths, shard_name
from tests.extractor.store.making import fail, make_inventory, make_run, stage
from tests.jobs.stores.importing.making import save_i3d


def counts(found: StoreStatus) -> tuple[int, ...]:
    """Of videos done, failed, staged and left."""
    stand = found.standing
    return stand.done, len(stand.failed), len(stand.staged), stand.left


def test_status_of_a_finished_store(store: StorePaths) -> None:
    found = store_status(store.root)
    assert (found.shards, found.shards_committed, found.standing.videos) == (2, 2, 5)
    assert counts(found) == (4, 1, 0, 0)
    assert (found.standing.clips, dict(found.standing.by_class), found.at_work) == (8, {"corrupt": 1}, ())
    assert found.bytes == sum(path.stat().st_size for path in store.shards.iterdir())


def test_status_counts_every_video_once(store: StorePaths) -> None:
    next(store.commits.glob("shard-00001*")).unlink()
    attempt = new_attempt(store, FeatureStore(store.root).run, shard_name(1), "token")
    stage(attempt, "c/d.mp4")
    found = store_status(store.root)
    assert (found.shards, found.shards_committed) == (2, 1)
    assert counts(found) == (2, 1, 1, 1)
    fail(attempt, "e.mp4")
    found = store_status(store.root)
    assert counts(found) == (2, 2, 1, 0)


def test_status_of_a_store_that_was_only_planned(tmp_path: Path) -> None:
    paths = StorePaths(tmp_path)
    write_run(paths, make_run())
    write_inventory(paths, make_inventory((("a", "b"), ("c",))))
    found = store_status(tmp_path)
    assert (counts(found), found.standing.clips, found.bytes) == ((0, 0, 0, 3), 0, 0)


def test_status_of_a_failed_video_that_is_tried_again(store: StorePaths) -> None:
    """It stands in a new shard of the inventory as well, and is left until that shard has it."""
    shards = (("a.mp4", "b.mp4", "bad.mp4"), ("c/d.mp4", "e.mp4"), ("bad.mp4",))
    write_inventory(store, make_inventory(shards), replace=True)
    found = store_status(store.root)
    assert counts(found) == (4, 0, 0, 1)
    stage(new_attempt(store, FeatureStore(store.root).run, shard_name(2), "token"), "bad.mp4")
    found = store_status(store.root)
    assert counts(found) == (4, 0, 1, 0)


def test_status_names_who_is_at_work(store: StorePaths) -> None:
    with Lease(store):
        assert len(store_status(store.root).at_work) == 1


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_status_of_no_store_is_a_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"is not a store"):
        store_status(tmp_path / name)
    assert list((tmp_path / "empty").iterdir()) == []


def test_show_summarises_the_tensors_of_a_video(store: StorePaths) -> None:
    found = video_summary(store.root, "b.mp4")
    tensors = FeatureStore(store.root).video("b.mp4")
    assert (found.video_id, found.failure, list(found.clips["clip_number"])) == ("b.mp4", None, [0, 1])
    assert [tensor.name for tensor in found.tensors] == list(tensors)
    for told in found.tensors:
        values = np.asarray(tensors[told.name], np.float64)
        assert told.shape == values.shape
        assert (told.smallest, told.largest) == (values.min(), values.max())
        assert told.mean == pytest.approx(values.mean())


def test_show_tells_why_a_video_failed(store: StorePaths) -> None:
    found = video_summary(store.root, "bad.mp4")
    assert found.failure is not None
    assert (found.failure.failure, found.failure.message) == ("corrupt", "bad.mp4 is broken")
    assert (len(found.clips), found.tensors) == (0, ())


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ("d", "Did you mean 'bad.mp4' or 'c/d.mp4'?"),
        ("D.MP4", "Did you mean 'bad.mp4' or 'c/d.mp4'?"),
        ("c-d.mp4", "Did you mean 'c/d.mp4'"),
        ("somebody else", "The manifest lists those it has"),
        ("", "The manifest lists those it has"),
    ],
)
def test_show_of_an_unknown_video_suggests_what_was_meant(store: StorePaths, asked: str, advice: str) -> None:
    with pytest.raises(StoreError, match=re.escape(f"got {asked!r}. {advice}")) as caught:
        video_summary(store.root, asked)
    assert "video_ids" not in str(caught.value)


def test_show_of_a_video_that_is_not_extracted_yet_says_so(store: StorePaths) -> None:
    next(store.commits.glob("shard-00001*")).unlink()
    with pytest.raises(StoreError, match=r"e\.mp4 is not extracted yet: run `msnet resume"):
        video_summary(store.root, "e.mp4")


def test_what_an_imported_store_lacks_is_imported(tmp_path: Path) -> None:
    for name in "ab":
        save_i3d(tmp_path / "i3d", name, 3)
    import_features(tmp_path / "i3d", tmp_path / "store")
    paths = StorePaths(tmp_path / "store")
    next(paths.commits.glob("shard-00000*")).unlink()
    with pytest.raises(StoreError, match=rf"a is not extracted yet: run `msnet import {tmp_path}/i3d --out"):
        video_summary(paths.root, "a")


def test_altered_run_is_refused(store: StorePaths) -> None:
    document = json.loads(store.run.read_text())
    document["run"]["config"]["size"] = 64
    for path in (store.run, store.copy(store.run)):
        path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="seal does not hold"):
        store_status(store.root)
