from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from extractor.store.index import blocks
from extractor.store.index.blocks import BlockFile, BlockWriter, DamagedIndexError, is_sound_index

ARRAYS = {
    "wide": np.arange(300, dtype=np.int32).reshape(100, 3),
    "long": np.arange(77, dtype=np.int64) ** 3,
    "text": np.frombuffer("é".encode() * 40, np.uint8),
    "none": np.zeros(0, np.uint64),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 100)


def write(path: Path, scale: int = 1) -> Path:
    writer = BlockWriter(path)
    for name, array in ARRAYS.items():
        for start in range(0, max(1, len(array)), 7):  # in pieces that fit no block
            writer.write(name, array[start : start + 7] * array.dtype.type(scale))
    writer.close({"note": scale})
    return path


def test_arrays_come_back_whole_and_in_parts(tmp_path: Path) -> None:
    file = BlockFile(write(tmp_path / "x"))
    assert file.document["note"] == 1
    for name, array in ARRAYS.items():
        rows = file.rows(name)
        assert len(rows) == len(array)
        if len(array):
            places = np.array([len(array) - 1, 0, 40, 40])
            np.testing.assert_array_equal(rows[places], array[places])
        for part in (slice(3, 9), slice(50, 50), slice(None), slice(-5, None)):
            found = rows[part]
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array[part])
    with pytest.raises(DamagedIndexError, match="lacks other"):
        file.rows("other")


def test_only_blocks_that_are_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = BlockFile(write(tmp_path / "x")).rows("wide")
    read: list[int] = []
    block = BlockFile.block
    monkeypatch.setattr(BlockFile, "block", lambda self, of, number: read.append(number) or block(self, of, number))
    for _ in range(2):
        _ = rows[np.array([0, 99])], rows[10:20]
    assert read == [0, 12, 1, 2]  # of 8 rows


def test_every_changed_bit_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "x")
    assert is_sound_index(path)
    data, rng = path.read_bytes(), random.Random(0)
    for bit in rng.sample(range(8 * len(data)), 400):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert not is_sound_index(path), bit
        try:
            file = BlockFile(path)
            for name, array in ARRAYS.items():
                np.testing.assert_array_equal(file.rows(name)[:], array)
        except DamagedIndexError:
            continue
        assert bit < 8 * len(blocks._MAGIC)  # no reader needs it


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "x")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedIndexError):
        BlockFile(path)
    assert not is_sound_index(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DamagedIndexError):
            BlockFile(path)


def test_an_open_file_stays_the_one_that_was_opened(tmp_path: Path) -> None:
    file = BlockFile(write(tmp_path / "x"))
    write(tmp_path / "y", scale=2).replace(tmp_path / "x")
    np.testing.assert_array_equal(file.rows("long")[:], ARRAYS["long"])
    child = os.fork()
    if child == 0:
        os._exit(int(not np.array_equal(file.rows("wide")[:], ARRAYS["wide"])))
    assert os.waitpid(child, 0)[1] == 0


def test_files_are_closed_with_their_readers(tmp_path: Path) -> None:
    path = write(tmp_path / "x")
    held = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        _ = BlockFile(path).rows("long")[:3]
    assert len(list(Path("/proc/self/fd").iterdir())) == held
