"""Where files end by their own headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractor.video.containers.structure import claimed_bytes


@pytest.mark.parametrize("name", ["h264.mkv", "bframes.avi", "vp9_altref.webm"])
def test_claimed_bytes_is_the_size_of_a_whole_file(valid: dict[str, Path], name: str) -> None:
    claimed, size = claimed_bytes(valid[name]), valid[name].stat().st_size
    assert claimed is not None
    assert abs(claimed - size) <= 16


@pytest.mark.parametrize("name", ["transport.ts", "program.mpg", "raw.h264"])
def test_claimed_bytes_of_an_open_ended_file_is_none(valid: dict[str, Path], name: str) -> None:
    assert claimed_bytes(valid[name]) is None


@pytest.mark.parametrize("keep", [0, 1, 5, 11, 40, 47, 48, 49])
@pytest.mark.parametrize("name", ["h264.mkv", "bframes.avi"])
def test_claimed_bytes_of_a_stump_does_not_raise(valid: dict[str, Path], tmp_path: Path, name: str, keep: int) -> None:
    (tmp_path / name).write_bytes(valid[name].read_bytes()[:keep])
    claimed = claimed_bytes(tmp_path / name)
    assert claimed is None or claimed >= 0
