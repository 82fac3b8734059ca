"""Which stream is the video: covers, video that begins late, tracks that are encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extractor.video.containers import streams
from extractor.video.containers.ebml import has_encrypted_video
from extractor.video.containers.preflight import inspect_video
from schemas.errors import FailureClass, VideoError
from tests.containers import encrypted_matroska, write_encrypted, write_late_video, write_with_cover
from tests.extractor.video.truth import events, failure_of, kept
from tests.videos import frame_number, write_video

CONTAINERS = [(".mp4", "mjpeg"), (".mp4", "png"), (".mov", "mjpeg"), (".mkv", "mjpeg")]


@dataclass
class Rational:
    """Like PyAV 19's: false if the file states none, and products of two are not exact."""

    numerator: int
    denominator: int

    def __bool__(self) -> bool:
        return bool(self.numerator and self.denominator)


def test_exact_is_a_fraction_whatever_pyav_has() -> None:
    stated: Any = Rational(30_000, 1001)
    unset: Any = Rational(0, 1)
    infinite: Any = Rational(1, 0)
    for value, expected in [(stated, Fraction(30_000, 1001)), (Fraction(25), Fraction(25))]:
        assert (type(streams.exact(value)), streams.exact(value)) == (Fraction, expected)
    assert [streams.exact(value) for value in (None, unset, infinite)] == [0, 0, 0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_tags_that_are_not_utf8_do_not_hide_the_video(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", frames=4, metadata={"title": "M-nchen"})
    data = path.read_bytes()
    assert b"M-nchen" in data
    path.write_bytes(data.replace(b"M-nchen", "München".encode("latin-1")))
    assert inspect_video(path).info.num_frames == 4


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_cover_as_the_default_track_does_not_hide_the_video(
    tmp_path: Path, suffix: str, codec: str, images: int, first: bool
) -> None:
    path = write_with_cover(tmp_path / f"a{suffix}", codec=codec, first=first, images=images)
    found = inspect_video(path)
    assert (found.info.num_frames, found.info.codec, found.info.width) == (30, "h264", 128)
    assert found.info.flags == ("cover_picture",)
    assert found.stream_index == int(first)
    _, chunks, end = kept(events(path, size=96, rate_hz=25.0))
    assert end.decoder == "av"
    assert [frame_number(frame) for chunk in chunks for frame in chunk.frames] == list(range(30))


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
@pytest.mark.parametrize("marks", [{"default": False}, {"attached": True}])
def test_cover_that_ffmpeg_passes_over_is_no_flag(
    tmp_path: Path, suffix: str, codec: str, marks: dict[str, bool]
) -> None:
    path = write_with_cover(tmp_path / f"a{suffix}", codec=codec, **marks)
    assert inspect_video(path).info.flags == ()
    assert len(kept(events(path, rate_hz=25.0))[0].plans) == 1


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_cover_and_audio_are_no_video(tmp_path: Path, suffix: str, attached: bool) -> None:
    error = failure_of(write_with_cover(tmp_path / f"a{suffix}", frames=0, attached=attached))
    assert error.failure is FailureClass.NO_VIDEO_STREAM
    assert "expected a video stream; got only a cover picture" in str(error)


def test_one_picture_alone_is_a_short_video(tmp_path: Path) -> None:
    info = inspect_video(write_with_cover(tmp_path / "a.mkv", frames=0, audio=False)).info
    assert (info.num_frames, info.codec) == (1, "mjpeg")


def test_cover_that_cannot_be_read_does_not_hide_the_video(tmp_path: Path) -> None:
    path = write_with_cover(tmp_path / "a.mp4", codec="png")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x89PNG", b"\x89PNX"))
    assert inspect_video(path).info.num_frames == 30


def test_video_of_unknown_codec_is_not_replaced_by_another(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=10, extra_stream=(48, 64))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    assert failure_of(path).failure is FailureClass.CANNOT_OPEN


def test_images_that_move_are_the_video(tmp_path: Path) -> None:
    info = inspect_video(write_with_cover(tmp_path / "a.mkv", images=25, frames=10)).info
    assert (info.num_frames, info.codec) == (25, "mjpeg")


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".ts", "libx264"), (".ts", "mpeg2video"), (".ts", "libx265"), (".mpg", "mpeg2video")]
)
def test_video_that_begins_late_is_found_and_decoded(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_late_video(tmp_path / f"a{suffix}", codec=codec)
    found = inspect_video(path)
    assert "late_video" in found.info.flags
    assert found.info.num_frames == 20
    assert found.info.start_seconds == pytest.approx(20, abs=1)
    _, chunks, end = kept(events(path, size=96, rate_hz=25.0))
    assert end.decoder == "av"
    assert [frame_number(frame) for chunk in chunks for frame in chunk.frames] == list(range(20))


def test_file_of_audio_is_not_read_on_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_late_video(tmp_path / "a.ts", 20)
    monkeypatch.setattr(streams, "_FURTHER", {"probesize": "100000", "analyzeduration": "6000000"})
    assert failure_of(path).failure is FailureClass.CANNOT_OPEN


def test_video_that_begins_at_once_is_not_probed_further(valid: dict[str, Path]) -> None:
    for name in ("transport.ts", "program.mpg", "flash.flv", "h264.mp4"):
        assert not inspect_video(valid[name]).probed_further


@pytest.mark.parametrize("keep_corrupt", [False, True])
@pytest.mark.parametrize("fragmented", [False, True])
def test_encrypted_mp4_says_so(tmp_path: Path, fragmented: bool, keep_corrupt: bool) -> None:
    path = write_encrypted(tmp_path / "a.mp4", fragmented=fragmented)
    with pytest.raises(VideoError, match=r"is encrypted\. Decrypt it") as caught:
        inspect_video(path, keep_corrupt=keep_corrupt)
    assert caught.value.failure is FailureClass.CANNOT_OPEN


def test_encrypted_matroska_says_so_and_a_tag_does_not(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"is encrypted\. Decrypt it"):
        inspect_video(encrypted_matroska(tmp_path / "a.mkv"))
    tagged = write_video(tmp_path / "b.mkv", frames=5, metadata={"ENC_KEY_ID": "00"})
    assert inspect_video(tagged).info.num_frames == 5


def test_has_encrypted_video_never_raises(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    content = encrypted_matroska(tmp_path / "a.mkv").read_bytes()
    path = tmp_path / "b.mkv"
    for number in range(300):
        changed = bytearray(content)
        for at in random.integers(0, min(800, len(content)), 1 + number % 10):
            changed[at] = int(random.integers(256))
        path.write_bytes(changed[: int(random.integers(0, len(changed)))])
        has_encrypted_video(path)
        path.write_bytes(bytes.fromhex("1a45dfa3") + random.integers(0, 256, 40, dtype=np.uint8).tobytes())
        has_encrypted_video(path)
