from __future__ import annotations

from pathlib import Path

import pytest

from schemas.layout import StorePaths
from tests.jobs.conftest import Call, refused


@pytest.mark.parametrize(("format", "files"), [("webdataset", "2 files"), ("parquet", "6 files"), ("zarr", "4 groups")])
def test_formats_say_what_they_wrote_and_then_that_it_is_there(
    call: Call, store: StorePaths, tmp_path: Path, format: str, files: str
) -> None:
    arguments = ("export", store.root, "--out", tmp_path / "out", "--format", format)
    size = () if format == "zarr" else ("--shard-bytes", "8kB")
    code, out, _ = call(*arguments, *size)
    assert (code, out.splitlines()[1]) == (0, f"index of files and videos: {tmp_path / 'out' / 'index.json'}")
    assert out.startswith(f"{files}, ") and " of 4 videos in " in out and out.splitlines()[0].endswith("there: 0)")
    again = call(*arguments, *size)[1]
    number, noun = files.split()
    assert again.startswith(f"0 {noun}, 0 B, of 4 videos in ") and f"(already there: {number})" in again


def test_a_size_of_parts_means_nothing_for_files_of_videos(call: Call, store: StorePaths, tmp_path: Path) -> None:
    line = refused(call, tmp_path, "export", store.root, "--out", tmp_path / "out", "--shard-bytes", "1GB")
    assert "expected --shard-bytes with --format webdataset or parquet; got npy" in line
    line = refused(
        call, tmp_path, "export", store.root, "--out", tmp_path / "out", "--format", "parquet", "--shard-bytes", "big"
    )
    assert "expected a size; got 'big'" in line
