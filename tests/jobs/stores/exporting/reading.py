"""Exports read back by the libraries of their formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest

from jobs.stores.export import INDEX

Videos = dict[str, dict[str, np.ndarray]]


def read_webdataset(out: Path) -> Videos:
    webdataset = pytest.importorskip("webdataset", reason="needs webdataset")
    from webdataset import tariterators

    found: Videos = {}
    names = json.loads((out / INDEX).read_bytes())["videos"]
    with ExitStack() as files:  # webdataset leaves those that it opens to the garbage collector
        shards = [{"url": str(path), "stream": files.enter_context(path.open("rb"))} for path in out.glob("*.tar")]
        read = webdataset.DataPipeline(
            lambda: iter(shards), tariterators.tar_file_expander, tariterators.group_by_keys, webdataset.decode()
        )
        for sample in read:
            video_id = sample["json"]["video_id"]
            assert video_id not in found and names[video_id]["name"] == sample["__key__"]
            found[video_id] = {name[:-4]: value for name, value in sample.items() if name.endswith(".npy")}
    return found


def read_zarr(out: Path) -> Videos:
    zarr = pytest.importorskip("zarr", reason="needs zarr")
    root = zarr.open_group(out / "features.zarr", mode="r")
    found: Videos = {}
    for name, array in root.members(max_depth=None):
        if isinstance(array, zarr.Array):
            group = root[name.rpartition("/")[0]]
            found.setdefault(group.attrs["video_id"], {})[array.basename] = array[...]
    places = json.loads((out / INDEX).read_bytes())["videos"]
    for video_id, tensors in found.items():
        for tensor, rows in tensors.items():
            np.testing.assert_array_equal(zarr.open_array(out / places[video_id][tensor], mode="r")[...], rows)
    return found


def read_parquet(out: Path) -> Videos:
    found: Videos = {}
    for level in ("frames", "pairs", "clips"):
        if not (out / level).exists():
            continue
        table = pyarrow.dataset.dataset(out / level).to_table()
        ids, rows = np.array(table["video_id"].to_pylist()), table["row"].to_numpy()
        for name in table.column_names[2:]:
            shape = json.loads(table.schema.field(name).metadata[b"shape"])
            column = table[name].combine_chunks()
            values = (column.flatten() if shape else column).to_numpy(zero_copy_only=False).reshape(-1, *shape)
            for video_id in dict.fromkeys(ids.tolist()):
                (places,) = np.nonzero(ids == video_id)
                np.testing.assert_array_equal(rows[places], np.arange(len(places)))
                found.setdefault(video_id, {})[name] = values[places]
    return found


READERS: dict[str, Callable[[Path], Videos]] = {
    "webdataset": read_webdataset,
    "zarr": read_zarr,
    "parquet": read_parquet,
}
