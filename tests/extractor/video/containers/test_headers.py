"""Lengths by the headers of files that FFmpeg wrote, and of files that lie."""

from __future__ import annotations

import io
import os
import random
import struct
from pathlib import Path

import pytest

from extractor.video import headers
from extractor.video.containers.boxes import mp4_length
from extractor.video.headers import Length, header_length
from tests.videos import write_images

UNSTATED = {"transport.ts", "program.mpg", "raw.h264"}  # estimated by their size
FRAMES = {"cut.mp4": 30, "one_frame.mp4": 1, "two_frames.mp4": 2}


def test_length_is_that_of_the_video_wherever_a_header_states_it(valid: dict[str, Path]) -> None:
    for name, path in valid.items():
        found = header_length(str(path))
        if name in UNSTATED:
            assert found is None, name
            continue
        if name == "fragmented.mp4":  # its index was written before its frames
            assert found is None
            continue
        frames = FRAMES.get(name, 40)
        assert found is not None, name
        if name not in ("variable_rate.mp4", "late_start.mkv", "late_start.mp4", "cut.mp4"):
            assert found.seconds == pytest.approx(frames / 25, abs=0.1), name
        assert frames / 25 - 0.1 < found.seconds < 3.0, name
        if name not in ("flash.flv", "cut.mp4", "late_start.mkv", "two_streams.mp4"):
            assert abs(found.frames - frames) <= 1 + (name == "vp8_altref.webm"), name


def test_fragmented_file_is_as_long_as_its_segment_index_says() -> None:
    segments = b"".join(struct.pack(">III", 1000, 2000, 1 << 31) for _ in range(5))
    sidx = struct.pack(">IIIIIHH", 0, 1, 1000, 0, 0, 0, 5) + segments
    data = box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", bytes(100))) + box(b"sidx", sidx) + box(b"moof", b"")
    assert mp4_length(io.BytesIO(data), len(data)) == (10.0, 0)


def test_fragmented_file_is_as_long_as_its_extent_says() -> None:
    mvhd = struct.pack(">IIIII", 0, 0, 0, 600, 0) + bytes(80)
    extent = box(b"mvex", box(b"mehd", struct.pack(">II", 0, 1500)))
    data = box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", mvhd) + extent)
    assert mp4_length(io.BytesIO(data), len(data)) == (2.5, 0)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def test_large_avi_counts_the_chunks_that_its_header_does_not(valid: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(valid["bframes.avi"].read_bytes())
    data[4:8] = ((len(data) - 8) // 4).to_bytes(4, "little")
    (tmp_path / "long.avi").write_bytes(data)
    found = header_length(str(tmp_path / "long.avi"))
    assert found is not None and found.frames == pytest.approx(160, rel=0.05)


def test_folder_of_images_is_as_long_as_it_has_images(tmp_path: Path) -> None:
    write_images(tmp_path / "images", frames=20)
    assert header_length(str(tmp_path / "images"), 10.0) == Length(2.0, 20)
    assert header_length(str(tmp_path / "images")) is None


def test_what_is_no_video_or_not_there_has_no_length(tmp_path: Path, broken: dict[str, Path]) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait forever
    for path in (
        tmp_path / "pipe.mp4",
        tmp_path / "none.mp4",
        tmp_path / "a\0b",
        broken["text.mp4"],
        broken["empty.mp4"],
    ):
        assert header_length(str(path)) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_impossible_length_is_none(seconds: float, tmp_path: Path, valid: dict[str, Path]) -> None:
    data = valid["flash.flv"].read_bytes()
    at = data.index(b"\x00\x08duration\x00") + 11
    (tmp_path / "x.flv").write_bytes(data[:at] + struct.pack(">d", seconds) + data[at + 8 :])
    assert header_length(str(tmp_path / "x.flv")) is None


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "bframes.avi", "flash.flv", "fragmented.mp4"])
def test_damaged_headers_raise_nothing_and_little_is_read(
    name: str, valid: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = random.Random(name)
    whole = valid[name].read_bytes()
    index = whole.find(b"moov")
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(state.randint(1, 20)):
            at = state.randrange(max(index, 0), min(len(data), max(index, 0) + 600))
            data[at] = state.choice([0, 1, 255, state.randrange(256)])
        file = Counting(bytes(data[: state.randint(0, len(data))] if state.random() < 0.3 else data))
        headers._file_length(file, len(file.getvalue()))
        assert file.count < 10_000


def test_little_of_a_small_file_is_read(valid: dict[str, Path]) -> None:
    for name in ("h264.mp4", "h264.mkv", "vp9_altref.webm", "bframes.avi", "flash.flv"):
        file = Counting(valid[name].read_bytes())
        assert headers._file_length(file, len(file.getvalue())) is not None
        assert file.count < 1000, name


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data
