from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from extractor.store.disk.shard import ShardReader, ShardWriter
from schemas.errors import ConfigurationError, DamagedShardError, StorageError, StoreError
from schemas.layout import DatasetSpec

SPECS = (
    DatasetSpec("clips", "feature", (3,), "float16", 4),
    DatasetSpec("frames", "feature", (5,), "float32", 4),
    DatasetSpec("frames", "index", (), "int64", 8),
)


def write(path: Path, blocks=((2, 3), (1, 6)), compression="none") -> dict[str, np.ndarray]:
    """Write a file of blocks of (clips, frames); returns its content."""
    rng = np.random.default_rng(0)
    writer = ShardWriter(path, SPECS, compression)
    kept = {spec.path: [] for spec in SPECS}
    for clips, frames in blocks:
        block = {
            "clips/feature": rng.standard_normal((clips, 3)).astype(np.float16),
            "frames/feature": rng.standard_normal((frames, 5)).astype(np.float32),
            "frames/index": np.arange(frames),
        }
        writer.append(block)
        for name, rows in block.items():
            kept[name].append(rows)
    writer.close({"shard": "x"})
    return {name: np.concatenate(rows) for name, rows in kept.items()}


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_rows_come_back_as_written(tmp_path, compression):
    written = write(tmp_path / "x.h5", compression=compression)
    with ShardReader(tmp_path / "x.h5", SPECS) as reader:
        assert reader.rows == {"clips": 3, "frames": 9, "pairs": 0}
        for name, rows in written.items():
            np.testing.assert_array_equal(reader.read(name, 0, len(rows)), rows)
            np.testing.assert_array_equal(reader.read(name, 1, 3), rows[1:3])
            np.testing.assert_array_equal(np.concatenate(list(reader.blocks(name, 16))), rows)
            assert reader.checksum(name) == zlib.crc32(rows.tobytes())
        assert reader.attributes["shard"] == "x"


def test_every_dataset_has_a_checksum_and_the_file_is_of_an_old_format(tmp_path):
    write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        for spec in SPECS:
            assert file[spec.path].fletcher32
            assert file[spec.path].chunks == (spec.chunk_rows, *spec.shape)
    assert (tmp_path / "x.h5").read_bytes()[8] == 3  # superblock of HDF5 1.10: checksums on all metadata


def test_writer_without_rows_makes_a_readable_file(tmp_path):
    write(tmp_path / "x.h5", blocks=((0, 0),))
    with ShardReader(tmp_path / "x.h5", SPECS) as reader:
        assert reader.rows == {"clips": 0, "frames": 0, "pairs": 0}
        assert list(reader.blocks("frames/index")) == []


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"frames/feature": np.zeros((2, 5), np.float32)}, "equally many rows"),
        ({"frames/feature": np.zeros((2, 5), np.float32), "frames/index": np.arange(3)}, "equally many rows"),
        ({"clips/feature": np.zeros((2, 4), np.float16)}, r"shape \(3,\)"),
        ({"clips/feature": np.zeros((2, 3), np.float32)}, "expected float16 rows"),
        ({"clips/other": np.zeros((2, 3))}, "clips/other"),
    ],
)
def test_writer_refuses_what_does_not_fit(tmp_path, arrays, match):
    writer = ShardWriter(tmp_path / "x.h5", SPECS)
    with pytest.raises(StoreError, match=match):
        writer.append(arrays)
    writer.discard()
    assert not (tmp_path / "x.h5").exists()


def test_full_disk_is_one_sentence_and_harms_nothing(tmp_path, monkeypatch):
    writer = ShardWriter(tmp_path / "x.h5", SPECS)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match="is full"):
        for _ in range(1000):
            writer.append({"clips/feature": np.ones((1000, 3), np.float16)})
        writer.close({})
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_full_disk_does_not_kill_the_process(crashing):
    found = crashing("fill_disk")
    assert [said.split(":")[0] for said in found["said"]] == ["StorageError", "StorageError"]
    assert (found["left"], found["status"], found["digest"]) == ([], "won", True)


def test_unknown_compression_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="lzma"):
        ShardWriter(tmp_path / "x.h5", SPECS, "lzma")
    assert list(tmp_path.iterdir()) == []


def test_reader_tells_a_missing_file_from_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        ShardReader(tmp_path / "x.h5", SPECS)
    (tmp_path / "x.h5").write_bytes(b"junk" * 1000)
    with pytest.raises(DamagedShardError) as caught:
        ShardReader(tmp_path / "x.h5", SPECS, shard="shard-00001")
    assert caught.value.shard == "shard-00001"


def test_reader_refuses_rows_that_are_not_there(tmp_path):
    write(tmp_path / "x.h5")
    with ShardReader(tmp_path / "x.h5", SPECS) as reader:
        for start, stop in ((0, 10), (-1, 2), (3, 2)):
            with pytest.raises(DamagedShardError):
                reader.read("frames/index", start, stop)


def hostile(path: Path, **changes) -> None:
    """A file like ours, but with another `frames/index`."""
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.create_dataset("clips/feature", (0, 3), "f2", maxshape=(None, 3), chunks=(4, 3), fletcher32=True)
        rows = file.create_dataset("frames/feature", (4, 5), "f4", maxshape=(None, 5), chunks=(4, 5), fletcher32=True)
        rows[:] = 1
        if "link" in changes:
            file["frames/index"] = changes["link"]
            return
        options = {"shape": (4,), "dtype": "i8", "maxshape": (None,), "chunks": (8,), "fletcher32": True} | changes
        dataset = file.create_dataset("frames/index", **options)
        if dataset.size < 10**6:
            dataset[...] = np.ones((), dataset.dtype)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"shape": (10**15,)}, "claims"),
        ({"shape": (2**27,), "chunks": (2**27,)}, "chunks of"),
        ({"maxshape": None, "chunks": None, "fletcher32": False}, "in chunks"),
        ({"fletcher32": False}, "filters that no store uses \\(none\\)"),
        ({"compression": "lzf"}, "filters that no store uses \\(32000, 3\\)"),
        ({"compression": "gzip"}, "filters that no store uses \\(1, 3\\)"),
        ({"dtype": "f8"}, "float64"),
        ({"dtype": "S8"}, "expected int64"),
        ({"shape": (5,)}, "5 rows where its level has 4"),
        ({"shape": (4, 2), "maxshape": (None, 2), "chunks": (4, 1)}, "across its rows"),
        ({"link": h5py.ExternalLink("/etc/passwd", "/x")}, "missing"),
        ({"link": h5py.SoftLink("/frames/index")}, "missing"),
    ],
)
def test_reader_refuses_a_hostile_file(tmp_path, changes, match):
    hostile(tmp_path / "x.h5", **changes)
    with pytest.raises(DamagedShardError, match=match) as caught:
        ShardReader(tmp_path / "x.h5", SPECS)
    assert caught.value.dataset == "frames/index"


def bomb(packing: str, unpacked_bytes: int) -> bytes:
    if packing == "gzip":
        return zlib.compress(bytes(unpacked_bytes))
    # a zstd frame of one segment that says how much it unpacks to, with one empty block: RFC 8878
    return b"\x28\xb5\x2f\xfd\xe0" + unpacked_bytes.to_bytes(8, "little") + b"\x01\x00\x00"


@pytest.mark.parametrize(
    ("packing", "unpacked_bytes"), [("gzip", 10**7), ("gzip", 800_000), ("zstd", 10**10), ("zstd", 81)]
)
def test_chunk_that_unpacks_to_more_than_its_rows_is_refused_before_it_does(tmp_path, packing, unpacked_bytes):
    path = tmp_path / "x.h5"
    write(path, compression=packing)
    with h5py.File(path, "r+") as file:
        dataset = file["frames/feature"]
        dataset.id.write_direct_chunk((0, 0), bomb(packing, unpacked_bytes) + bytes(4))
    with ShardReader(path, SPECS) as reader, pytest.raises(DamagedShardError, match=r"unpack|has .* bytes"):
        reader.read("frames/feature", 0, 1)


def test_chunk_that_skips_its_checksum_is_refused(tmp_path):
    write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        dataset = file["frames/index"]
        dataset.id.write_direct_chunk((0,), dataset.id.read_direct_chunk((0,))[1][:-4], filter_mask=1)
    with ShardReader(tmp_path / "x.h5", SPECS) as reader, pytest.raises(DamagedShardError, match="skips its checksum"):
        reader.read("frames/index", 0, 1)


def test_errors_of_the_machine_are_not_blamed_on_the_file(tmp_path, monkeypatch):
    write(tmp_path / "x.h5")

    def too_many(*args, **kwargs):
        raise OSError(errno.EMFILE, "Unable to open file (errno = 24)")

    monkeypatch.setattr(h5py, "File", too_many)
    with pytest.raises(StorageError, match="Too many open files"):
        ShardReader(tmp_path / "x.h5", SPECS)
