"""What demuxing says about a file: times, rotation, flags, and failures by class."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from extractor.video.containers import preflight
from extractor.video.containers.preflight import inspect_video
from schemas.errors import FailureClass, VideoError
from tests.extractor.video.truth import true_times
from tests.videos import write_images, write_video


def failure_of(path: Path, **options: object) -> FailureClass:
    with pytest.raises(VideoError) as caught:
        inspect_video(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value.failure


def test_inspect_video_returns_the_sorted_stamps_of_every_kind_of_file(valid: dict[str, Path]) -> None:
    for name, path in valid.items():
        found = inspect_video(path)
        if found.info.times_made_up:
            assert found.times_seconds.tolist() == pytest.approx(true_times(path), abs=1e-9), name
        else:
            assert found.times_seconds.tolist() == true_times(path), name
        assert found.info.num_frames == len(found.times_seconds), name
        assert found.info.end_seconds > found.times_seconds[-1], name


@pytest.mark.parametrize(
    ("name", "rotation"), [("h264.mp4", 0), ("rotated_90.mp4", 90), ("rotated_180.mp4", 180), ("rotated_270.mov", 270)]
)
def test_inspect_video_reads_the_rotation_without_decoding(valid: dict[str, Path], name: str, rotation: int) -> None:
    assert inspect_video(valid[name]).info.rotation == rotation


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("h264.mp4", ()),
        ("h264.mkv", ()),
        ("open_gop.mp4", ()),
        ("variable_rate.mp4", ()),
        ("vp9_altref.webm", ()),
        ("av1.mp4", ()),
        ("full_range.mp4", ()),
        ("chroma_444_odd.mp4", ()),
        ("cut.mp4", ("discarded_packets",)),
        ("transport.ts", ("container:mpegts",)),
        ("program.mpg", ("container:mpeg", "codec:mpeg2video")),
        ("raw.h264", ("container:h264", "missing_stamps")),
        ("two_sizes.mp4", ("several_resolutions",)),
        ("interlaced.mp4", ("maybe_interlaced",)),
        ("bframes.avi", ("container:avi", "maybe_interlaced")),
        ("bframes.mp4", ("maybe_interlaced",)),
        ("ten_bit.mp4", ("more_than_8_bits", "maybe_interlaced")),
        ("flash.flv", ("container:flv", "codec:flv1")),
    ],
)
def test_inspect_video_flags_what_decord_gets_wrong(valid: dict[str, Path], name: str, flags: tuple[str, ...]) -> None:
    assert inspect_video(valid[name]).info.flags == flags


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("empty.mp4", FailureClass.CANNOT_OPEN),
        ("text.mp4", FailureClass.CANNOT_OPEN),
        ("audio_only.mp4", FailureClass.NO_VIDEO_STREAM),
        ("no_index.mp4", FailureClass.TRUNCATED),
        ("half.mp4", FailureClass.TRUNCATED),
        ("half.mkv", FailureClass.TRUNCATED),
        ("half.avi", FailureClass.TRUNCATED),
    ],
)
def test_inspect_video_names_what_is_broken(broken: dict[str, Path], name: str, failure: FailureClass) -> None:
    assert failure_of(broken[name]) is failure


def test_inspect_video_calls_a_file_truncated_that_kept_nothing_to_open(broken: dict[str, Path]) -> None:
    """An MP4 whose index was at its lost end: there is nothing to keep, and the class does not change."""
    with pytest.raises(VideoError, match=r"is cut off and its rest does not open: expected .* bytes; got") as caught:
        inspect_video(broken["no_index.mp4"], keep_corrupt=True)
    assert caught.value.failure is FailureClass.TRUNCATED


def test_inspect_video_reads_a_cut_off_file_on_request_and_flags_it(broken: dict[str, Path]) -> None:
    info = inspect_video(broken["half.mkv"], keep_corrupt=True).info
    assert "cut_off" in info.flags
    assert 0 < info.num_frames < 60


def test_inspect_video_takes_no_special_files_and_no_lists_of_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert failure_of(tmp_path / "pipe.mp4") is FailureClass.CANNOT_OPEN
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    assert failure_of(tmp_path / "list.mp4") is FailureClass.CANNOT_OPEN
    assert failure_of(tmp_path / "gone.mp4") is FailureClass.MISSING
    assert failure_of(tmp_path) is FailureClass.CANNOT_OPEN


@pytest.mark.parametrize(
    ("bound", "value"), [("MAX_PIXELS", 96 * 127), ("MAX_FRAMES", 39), ("MAX_DURATION_SECONDS", 1.5)]
)
def test_inspect_video_bounds_what_a_file_claims(
    valid: dict[str, Path], monkeypatch: pytest.MonkeyPatch, bound: str, value: float
) -> None:
    monkeypatch.setattr(preflight, bound, value)
    assert failure_of(valid["h264.mp4"]) is FailureClass.TOO_LARGE


def test_inspect_video_reads_names_that_look_like_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_video(tmp_path / "plain.mp4", frames=5)
    for name in ("concat:a|b.mp4", "http:x.mp4", "100%d.mp4", "a b'\".mp4"):
        source = source.rename(tmp_path / name)
        assert inspect_video(source).info.num_frames == 5
    monkeypatch.chdir(tmp_path)
    assert inspect_video(source.name).info.num_frames == 5


@pytest.mark.parametrize("name", ["h264.mkv", "h264.mp4", "bframes.avi", "transport.ts", "program.mpg", "flash.flv"])
def test_inspect_video_cannot_open_a_stub(valid: dict[str, Path], tmp_path: Path, name: str) -> None:
    for length in (1, 3, 4, 5, 8, 11, 12, 16):
        (tmp_path / name).write_bytes(valid[name].read_bytes()[:length])
        assert failure_of(tmp_path / name) in (FailureClass.CANNOT_OPEN, FailureClass.TRUNCATED), length


@pytest.mark.parametrize("unit", [b"\1", b"", b"\1\1\1", b"\0\1"])
def test_inspect_video_cannot_open_a_stream_of_empty_units(tmp_path: Path, unit: bytes) -> None:
    for name in ("a.h264", "a.hevc"):
        (tmp_path / name).write_bytes((b"\0\0\0\1" + unit) * 200)
        assert failure_of(tmp_path / name) is FailureClass.CANNOT_OPEN


def test_inspect_video_of_a_folder_of_images(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", frames=12)
    found = inspect_video(folder, fps=8.0)
    assert found.times_seconds.tolist() == [number / 8 for number in range(12)]
    assert (found.info.width, found.info.height, found.info.container) == (128, 96, "images")
    assert [image.name for image in found.images][-1] == "frame_12.png"
    assert failure_of(folder) is FailureClass.CANNOT_OPEN
    (tmp_path / "none").mkdir()
    assert failure_of(tmp_path / "none", fps=5.0) is FailureClass.NO_VIDEO_STREAM


def test_inspect_video_tells_what_is_gone_from_what_cannot_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert failure_of(tmp_path / "file" / "a.mp4") is FailureClass.MISSING
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    with pytest.raises(VideoError, match="symbolic links") as caught:
        inspect_video(tmp_path / "loop.mp4")
    assert caught.value.failure is FailureClass.CANNOT_OPEN
    folder = write_images(tmp_path / "frames", frames=2)

    def stale(folder: Path) -> list[Path]:
        raise OSError(errno.ESTALE, "Stale file handle", str(folder))

    monkeypatch.setattr(preflight, "numbered_images", stale)
    assert failure_of(folder, fps=5.0) is FailureClass.CANNOT_OPEN


def test_folder_of_images_that_lacks_one_is_corrupt(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", frames=6)
    sorted(folder.iterdir())[2].unlink()
    with pytest.raises(VideoError, match="lacks the images") as raised:
        inspect_video(folder, fps=25.0)
    assert raised.value.failure is FailureClass.CORRUPT
