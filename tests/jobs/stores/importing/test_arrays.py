from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from jobs.stores.importing import arrays
from jobs.stores.importing.arrays import open_matrix, read_list
from schemas.errors import FailureClass, VideoError


def npy(header: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def header(shape: str = "(2, 3)", descr: str = "<f8", fortran: str = "False") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}}}"


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<f2"])
def test_rows_come_in_blocks_as_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    rows = np.random.default_rng(0).standard_normal((50, 6)).astype(dtype)
    np.save(tmp_path / "a.npy", rows)
    monkeypatch.setattr(arrays, "_BLOCK_BYTES", 200)
    blocks = list(open_matrix(tmp_path / "a.npy").rows())
    assert len(blocks) > 2
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate(blocks), rows.astype(np.float32))


@pytest.mark.parametrize(
    ("content", "failure", "words"),
    [
        (b"", "cannot_open", "not an npy file"),
        (b"\x93NUMPY", "cannot_open", "not an npy file"),
        (b"MZ" * 100, "cannot_open", "not an npy file"),
        (npy(header(), bytes(48), b"\7\0"), "cannot_open", "not an npy file"),
        (npy("(" * 9000), "cannot_open", "not an npy file"),
        (npy(header() + " " * 20_000, bytes(48)), "cannot_open", "not an npy file"),
        (npy("__import__('os').system('true')"), "cannot_open", "not an npy file"),
        (npy(header("(-1, 3)"), bytes(48)), "cannot_open", "expected a shape"),
        (npy(header("(True, 3)"), bytes(24)), "cannot_open", "expected a shape"),
        (npy(header("('a', 3)"), bytes(24)), "cannot_open", "not an npy file"),
        (npy(header(descr="|O"), bytes(48)), "cannot_open", "expected numbers"),
        (npy(header(descr="<U1000000"), bytes(48)), "cannot_open", "expected numbers"),
        (npy(header(descr="<c16"), bytes(96)), "cannot_open", "expected numbers"),
        (npy(header(fortran="True"), bytes(48)), "cannot_open", "Fortran"),
        (npy(header("(1000000000000, 1000000)"), bytes(48)), "truncated", "behind its header; got 48"),
        (npy(header(), bytes(47)), "truncated", "expected 48 bytes behind its header; got 47"),
        (npy(header(), bytes(49)), "truncated", "got 49"),
        (npy(header("(6,)"), bytes(48)), "corrupt", "expected (rows, width)"),
        (npy(header("(1, 2, 3)"), bytes(48)), "corrupt", "expected (rows, width)"),
        (npy(header(descr="<i8"), bytes(48)), "corrupt", "of int64"),
        (npy(header("(0,)")), "too_short", "no rows"),
        (npy(header("(1, 65537)"), bytes(8 * 65537)), "too_large", "got (1, 65537)"),
    ],
)
def test_other_files_are_refused_before_anything_is_allocated(
    tmp_path: Path, content: bytes, failure: str, words: str
) -> None:
    path = tmp_path / "a_rgb.npy"
    path.write_bytes(content)
    with pytest.raises(VideoError) as refused:
        open_matrix(path)
    assert refused.value.failure == failure
    assert words in str(refused.value) and str(refused.value).startswith("a_rgb.npy")


def test_a_sparse_file_of_terabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a_rgb.npy"
    with path.open("wb") as file:
        file.write(npy(header("(9000000, 60000)")))
        file.truncate(file.tell() + 9_000_000 * 60_000 * 8)
    with pytest.raises(VideoError, match="expected at most") as refused:
        open_matrix(path)
    assert refused.value.failure == FailureClass.TOO_LARGE


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    rows = np.zeros((5, 2))
    rows[3, 1] = value
    np.save(tmp_path / "a_rgb.npy", rows)
    with pytest.raises(VideoError, match=r"a_rgb.npy: expected finite .* first in row 3"):
        list(open_matrix(tmp_path / "a_rgb.npy").rows())


def test_lists_and_scalars_are_read(tmp_path: Path) -> None:
    for name, value in {"a": np.array(25.0), "b": np.array([1, 2]), "c": np.array([])}.items():
        np.save(tmp_path / f"{name}.npy", value)
    assert read_list(tmp_path / "a.npy").tolist() == [25.0]
    assert read_list(tmp_path / "b.npy").tolist() == [1.0, 2.0]
    assert read_list(tmp_path / "c.npy").tolist() == []
    np.save(tmp_path / "d.npy", np.zeros((2, 2)))
    with pytest.raises(VideoError, match="one list of numbers"):
        read_list(tmp_path / "d.npy")


def test_a_file_that_is_gone_is_a_video_that_cannot_be_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    found = open_matrix(tmp_path / "a.npy")
    (tmp_path / "a.npy").unlink()
    with pytest.raises(VideoError, match="cannot be read"):
        list(found.rows())
    with pytest.raises(VideoError, match="has vanished"):
        open_matrix(tmp_path / "a.npy")
