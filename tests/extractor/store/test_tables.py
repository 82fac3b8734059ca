from __future__ import annotations

import dataclasses
import json
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from extractor.store import (
    FeatureStore,
    committed,
    read_inventory,
    read_run,
    write_inventory,
    write_run,
)
from extractor.store.commits.commit import stored_file
from extractor.store.commits.records import encode_record
from extractor.store.commits.run import Run
from extractor.store.tables import encode_table
from schemas.config import Edges
from schemas.errors import ConfigurationError, StoreError
from schemas.layout import StorePaths
from schemas.tensors import NetworkShape
from tests.extractor.store.making import make_inventory, make_run, make_store


def test_run_comes_back(tmp_path):
    paths = StorePaths(tmp_path)
    run = dataclasses.replace(make_run(compression="gzip"), versions={"torch": "2"}, settings={"limit": None})
    assert write_run(paths, run) == run
    assert read_run(paths) == run
    assert isinstance(read_run(paths), Run)
    assert json.loads(paths.run.read_text())["datasets"][0]["level"] == "clips"


def test_first_of_two_drivers_writes_the_run_and_the_other_agrees(tmp_path):
    paths = StorePaths(tmp_path)
    first = make_run()
    write_run(paths, first)
    later = dataclasses.replace(first, created_utc="2027-01-01T00:00:00+00:00", dataset_root="/elsewhere")
    assert write_run(paths, later) == first


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (make_run(rate_hz=5.0), "rate_hz"),
        (make_run(compression="gzip"), "compression"),
        (make_run(shape=NetworkShape(8, 8, 4, (5, 11))), "shape"),
    ],
)
def test_another_configuration_is_refused_by_field(tmp_path, other, match):
    paths = StorePaths(tmp_path)
    write_run(paths, make_run())
    with pytest.raises(ConfigurationError, match=match):
        write_run(paths, other)


def test_compression_that_cannot_be_done_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: number != 32015)
    paths = StorePaths(tmp_path)
    with pytest.raises(ConfigurationError, match=r"pip install 'msnet-features\[zstd\]'"):
        write_run(paths, make_run(compression="zstd"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match="among none, gzip, zstd; got 'lzma'"):
        write_run(paths, make_run(compression="lzma"))
    assert write_run(paths, make_run(compression="gzip")) == make_run(compression="gzip")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text[: len(text) // 2], "not what extract wrote"),
        (lambda text: text.replace('"format_version": 2', '"format_version": 99', 1), "format version 99"),
        (lambda text: text.replace('"rate_hz": 10.0', '"rate_hz": 5.0'), "its seal does not hold"),
        (lambda text: text.replace("\n ", "\n\t", 1), "its seal does not hold"),
        (lambda text: text.replace('"seal"', '"Seal"', 1), "its seal does not hold"),
        (lambda text: text.replace('"rate_hz": 10.0', '"colour": 5.0'), "not what extract wrote"),
        (lambda text: "[" * 100_000, "not what extract wrote"),
    ],
)
def test_altered_run_is_refused(tmp_path, change, match):
    paths = StorePaths(tmp_path)
    write_run(paths, make_run())
    changed = change(paths.run.read_text())
    paths.run.write_text(changed)
    assert read_run(paths) == make_run()
    paths.copy(paths.run).write_text(changed)
    with pytest.raises(StoreError, match=match):
        read_run(paths)


def test_run_without_a_seal_whose_configuration_was_altered_is_refused(tmp_path):
    paths = StorePaths(tmp_path)
    write_run(paths, make_run())
    document = {key: value for key, value in json.loads(paths.run.read_bytes()).items() if key != "seal"}
    paths.run.write_text(json.dumps(document))
    assert read_run(paths) == make_run()
    paths.copy(paths.run).unlink()
    paths.run.write_text(json.dumps(document).replace('"rate_hz": 10.0', '"rate_hz": 5.0'))
    with pytest.raises(StoreError, match="altered"):
        read_run(paths)


def test_inventory_is_published_once_and_replaced_on_request(tmp_path):
    paths = StorePaths(tmp_path)
    write_run(paths, make_run())
    first, second = make_inventory([["007", "NA", "nul\0", "é"]]), make_inventory([["other"]])
    first.loc[0, "fps"] = np.nan
    assert write_inventory(paths, first).equals(first)
    assert write_inventory(paths, second).equals(first)
    assert read_inventory(paths)["video_id"].tolist() == ["007", "NA", "nul\0", "é"]
    assert write_inventory(paths, second, replace=True).equals(second)
    assert read_inventory(paths).equals(second)


def test_inventory_that_cannot_be_read_is_refused(tmp_path):
    paths = StorePaths(tmp_path)
    write_run(paths, make_run())
    with pytest.raises(StoreError, match="missing"):
        read_inventory(paths)
    for content in (b"junk", encode_table(make_inventory([["a"]]))):
        paths.inventory.write_bytes(content)
        with pytest.raises(StoreError, match="not as it was written"):
            read_inventory(paths)
    with pytest.raises(StoreError, match="lacks the columns path"):
        write_inventory(paths, make_inventory([["a"]]).drop(columns="path"))
    with pytest.raises(StoreError, match="another type"):
        write_inventory(paths, make_inventory([["a"]]).astype({"bytes": "str"}).assign(bytes="many"))


def test_store_of_the_first_version_is_read_and_not_added_to(tmp_path):
    """It knew no edges and no pixel_aspect, called clip_number clip, and its windows were clips.

    The digest is one that version 1 wrote.
    """
    paths = make_store(tmp_path, format_version=1, num_frames=8)
    for shard, record in committed(paths).items():
        fragment = paths.root / record.fragment.path
        frame = pd.read_parquet(fragment).drop(columns="pixel_aspect").rename(columns={"clip_number": "clip"})
        frame.to_parquet(fragment)
        record = dataclasses.replace(record, fragment=stored_file(paths, fragment, fragment))
        paths.commit(shard).write_bytes(encode_record(record))
    document = json.loads(paths.run.read_text())
    del document["run"]["config"]["edges"]
    paths.run.write_text(json.dumps(document | {"format_version": 1}))
    run = read_run(paths)
    assert run.digest == "c5f219781ed9cf6a34cc3237d6df9bdbddb177087453c2b8b4ff6ff925c73158"
    assert run.config.edges is Edges.ZEROS
    with pytest.raises(ConfigurationError, match="format version 1, to which this program cannot add"):
        run.require_current(paths)
    with pytest.raises(ConfigurationError, match="format_version: expected 1, got 2"):
        write_run(paths, make_run())
    manifest = FeatureStore(paths.root).manifest
    assert manifest["pixel_aspect"].isna().all() and len(manifest) == 8
    assert manifest.clip_number.tolist() == [0, 1] * 4 and "clip" not in manifest.columns
    assert FeatureStore(paths.root).video("a.mp4")["frame"].shape == (16, 16)
