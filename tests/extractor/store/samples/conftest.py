from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from extractor.store import (
    commit_shard,
    new_attempt,
    read_inventory,
    write_inventory,
    write_manifest_cache,
    write_run,
)
from schemas.layout import StorePaths, shard_name
from tests.extractor.store.making import make_inventory, make_run, stage

SHARDS = [[f"{shard}{video}.mp4" for video in range(6)] for shard in "abc"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of six videos with 1 to 6 clips of 4 frames; a table with five columns."""
    paths = StorePaths(tmp_path_factory.mktemp("samples") / "store")
    paths.root.mkdir()
    run = write_run(paths, make_run())
    inventory = make_inventory(SHARDS)
    count = len(inventory)
    inventory["label"] = pd.array([("walk", "run", "jump")[k % 3] for k in range(count)], "str")
    inventory["score"] = pd.array([k / 4 for k in range(count)], "float64")
    inventory["take"] = pd.array(range(count), "Int64")
    inventory["wide"] = pd.array([k % 2 == 0 for k in range(count)], "boolean")
    inventory["rare"] = pd.array([None if k % 4 else 7 for k in range(count)], "Int64")
    write_inventory(paths, inventory)
    for index, ids in enumerate(SHARDS):
        attempt = new_attempt(paths, run, shard_name(index), "token")
        for number, video_id in enumerate(ids):
            stage(attempt, video_id, clips=1 + number, seed=10 * index + number)
        commit_shard(attempt, ids)
    write_manifest_cache(paths)
    assert len(read_inventory(paths)) == count
    return paths.root
