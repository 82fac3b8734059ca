"""Reads a store as docs/format.md says, without our own readers."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers zstd)
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from extractor.store import FeatureStore, commit_shard, new_attempt, read_inventory, write_inventory
from schemas.config import FORMAT_VERSION
from schemas.errors import FailureClass
from schemas.manifest import FAILURE_COLUMNS, INVENTORY_COLUMNS, MANIFEST_COLUMNS
from schemas.table_columns import COLUMN_TYPES, MOST_COLUMNS, TABLE_PREFIX
from schemas.tensors import TENSORS
from tests.extractor.store.making import fail, item_arrays, make_store, stage

DOCUMENT = (Path(__file__).parents[3] / "docs" / "format.md").read_text()


def canonical_sha256(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_by_the_document(root: Path):
    """(run, records by shard, manifest) of a store."""
    run = json.loads((root / "run.json").read_text())
    assert run["format_version"] == 2
    assert run["digest"] == canonical_sha256(run["run"]["config"])
    records = {}
    for path in (root / "commits").iterdir():
        if re.fullmatch(r"shard-\d{5,}\.json", path.name):
            document = json.loads(path.read_text())
            assert document["record_sha256"] == canonical_sha256(document["record"])
            records[path.stem] = document["record"]
    ordered = sorted(records, key=lambda shard: int(shard.split("-")[1]))
    frames = [pd.read_parquet(root / records[shard]["fragment"]["path"]) for shard in ordered]
    manifest = pd.concat(frames, ignore_index=True)
    last = manifest.groupby("video_id")["shard"].transform("last")
    manifest = manifest[manifest["shard"] == last].reset_index(drop=True)
    inventory = pd.read_parquet(root / "inventory.parquet").groupby("video_id").tail(1)
    own = inventory.drop(columns=[name for name in INVENTORY_COLUMNS if name != "video_id"])
    return run, records, manifest.merge(own, on="video_id", how="left")


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_store_can_be_read_by_the_document_alone(tmp_path, compression):
    paths = make_store(tmp_path / "store", compression=compression)
    run = FeatureStore(paths.root).run
    inventory = read_inventory(paths)
    inventory = pd.concat([inventory, inventory[inventory["video_id"] == "bad.mp4"]])
    table = {"label": pd.array([3, None, 4, 5, 6, 7], "Int64"), "code": ["007", "NA", "", "x", "y", "z"]}
    write_inventory(paths, inventory.assign(**table), replace=True)
    late = new_attempt(paths, run, "shard-00002", "token")
    stage(late, "bad.mp4", clips=3)
    commit_shard(late, ["bad.mp4"])
    (paths.commits / ".shard-00009.json.abc.tmp").write_text("half")
    (paths.shards / "shard-00009.abc.h5").write_bytes(b"of an attempt that died")

    document, records, manifest = read_by_the_document(paths.root)
    ours = FeatureStore(paths.root)
    assert manifest.equals(ours.manifest)
    assert manifest["label"].tolist() == [3, 3, pd.NA, pd.NA, 5, 5, 6, 6, 7, 7, 7]
    names = {stored.path: name for name, stored in TENSORS.items()}
    for record in records.values():
        assert (paths.root / record["data"]["path"]).stat().st_size == record["data"]["bytes"]
        for stored in (record["data"], record["fragment"]):
            assert hashlib.sha256((paths.root / stored["path"]).read_bytes()).hexdigest() == stored["sha256"]
    for i, row in manifest.iterrows():
        mine = ours.clip(i)
        ranges = {
            "clips": slice(row["clip_row"], row["clip_row"] + 1),
            "frames": slice(row["frame_start"], row["frame_stop"]),
            "pairs": slice(row["pair_start"], row["pair_stop"]),
        }
        with h5py.File(paths.root / row["file"]) as file:
            assert file.attrs["digest"] == document["digest"]
            for spec in document["datasets"]:
                dataset = file[f"{spec['level']}/{spec['name']}"]
                assert (list(dataset.shape[1:]), str(dataset.dtype)) == (spec["shape"], spec["dtype"])
                assert dataset.fletcher32
                assert len(dataset) == records[row["shard"]]["rows"][spec["level"]]
                checksum = records[row["shard"]]["checksums"][dataset.name[1:]]
                assert zlib.crc32(dataset[:].astype(dataset.dtype.newbyteorder("<")).tobytes()) == checksum
                rows = dataset[ranges[spec["level"]]]
                if dataset.name == "/pairs/tied":
                    rows = np.unpackbits(rows, axis=-1, count=document["run"]["shape"]["cells"][1])
                np.testing.assert_array_equal(rows, mine[names[dataset.name[1:]]])


def test_staging_can_be_read_by_the_document_alone(store):
    run = json.loads((store.root / "run.json").read_text())
    attempt = new_attempt(store, FeatureStore(store.root).run, "shard-00007", "token")
    stage(attempt, "new.mp4", clips=3, seed=5)
    fail(attempt, "bad.mp4")
    records, wanted = {}, item_arrays(attempt.run, 3, 5)
    for path in (store.root / "staging" / "shard-00007").glob("*/*.items"):
        for line in path.read_text().splitlines():
            if line:
                seal, _, text = line.partition(" ")
                assert hashlib.sha256(text.encode()).hexdigest() == seal
                records[path.with_suffix(".rows")] = json.loads(text)
    assert {record["digest"] for record in records.values()} == {run["digest"]}
    assert {r["failure"]["video_id"] for r in records.values() if "failure" in r} == {"bad.mp4"}
    ((path, record),) = ((path, record) for path, record in records.items() if "video_id" in record)
    assert record["video_id"] == "new.mp4" and record["columns"]["listed"]["clip_number"] == [0, 1, 2]
    ((offset, rows, checksums),) = record["parts"]
    data, counts = path.read_bytes(), dict(zip(("clips", "frames", "pairs"), rows, strict=True))
    for spec, checksum in zip(run["datasets"], checksums, strict=True):
        dtype = np.dtype(spec["dtype"]).newbyteorder("<")
        count = counts[spec["level"]] * int(np.prod(spec["shape"], dtype=int))
        values = np.frombuffer(data, dtype, count, offset)
        assert zlib.crc32(values.tobytes()) == checksum
        expected = wanted[f"{spec['level']}/{spec['name']}"].astype(spec["dtype"])
        np.testing.assert_array_equal(values.reshape(expected.shape), expected)
        offset += values.nbytes


def test_cached_manifest_says_what_it_was_made_from(store):
    _, records, manifest = read_by_the_document(store.root)
    lines = [f"{shard} {r['attempt']} {r['fragment']['sha256']}" for shard, r in sorted(records.items())]
    expected = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert pq.read_schema(store.manifest).metadata[b"msnet_commits"].decode() == expected
    assert pd.read_parquet(store.manifest).equals(manifest)
    failed = [dict(failure, shard=shard) for shard, r in records.items() for failure in r["failures"]]
    assert pd.read_parquet(store.failures).to_dict("records") == failed


def test_document_names_everything_there_is():
    assert f"# Store format, version {FORMAT_VERSION}" in DOCUMENT
    paths = [stored.path for stored in TENSORS.values()]
    for names in (TENSORS, paths, MANIFEST_COLUMNS, FAILURE_COLUMNS, INVENTORY_COLUMNS, FailureClass):
        missing = [name for name in names if f"`{name}`" not in DOCUMENT]
        assert not missing


def test_document_tells_of_the_columns_of_a_table():
    section = DOCUMENT.partition("### Columns of your table\n")[2].partition("\n## ")[0]
    assert all(f"`{name}`" in section for name in (*COLUMN_TYPES, TABLE_PREFIX))
    assert f"more than {MOST_COLUMNS}" in section
