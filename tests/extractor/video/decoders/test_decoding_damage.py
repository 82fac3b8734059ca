"""Decoding of files that are damaged, or are written to while they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from extractor.video import decoding
from extractor.video.decoders import pyav_backend
from extractor.video.decoders.backends import DecodingRequest
from extractor.video.decoding import decode
from extractor.video.transforms import Resizer
from schemas.config import Resize
from schemas.errors import FailureClass, VideoError
from schemas.records import Decoded, FileJob, FrameChunk, Item
from tests.extractor.video.truth import config, events, failure_of, kept, true_frames
from tests.videos import moving_frames, write_images, write_video


def test_decode_of_a_segment_does_not_go_to_the_end(tmp_path: Path) -> None:
    """Damage behind the last sampled frame does not affect a segment, and is not detected."""
    path = write_video(tmp_path / "a.mkv", frames=120, options={"g": "10", "bf": "0"})
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4 : len(content) * 3 // 4 + 600] = bytes(600)
    path.write_bytes(bytes(content))
    kept(events(path, Item("a", 0.0, 1.0), decoder="pyav"))
    assert failure_of(path, decoder="pyav").failure in (FailureClass.CORRUPT, FailureClass.TRUNCATED)


@pytest.mark.parametrize("decoder", ["auto", "pyav", "decord", "sparse"])
def test_decode_of_broken_files_fails_by_class_or_is_what_pyav_returns(
    broken: dict[str, Path], decoder: str, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = {
        "empty.mp4": {FailureClass.CANNOT_OPEN},
        "text.mp4": {FailureClass.CANNOT_OPEN},
        "audio_only.mp4": {FailureClass.NO_VIDEO_STREAM},
        "no_index.mp4": {FailureClass.TRUNCATED},
        "half.mp4": {FailureClass.TRUNCATED},
        "half.mkv": {FailureClass.TRUNCATED},
        "half.avi": {FailureClass.TRUNCATED},
        "flipped.mp4": {FailureClass.CORRUPT},
        "flipped.avi": {FailureClass.CORRUPT, FailureClass.CANNOT_OPEN},
        "hole.mp4": {FailureClass.CORRUPT},
    }
    for name, path in broken.items():
        if name in expected:
            assert failure_of(path, decoder=decoder).failure in expected[name], name
        elif decoder != "decord":  # HEVC conceals flipped bits without a sign; the frames are PyAV's
            truth = true_frames(path)
            resizer = Resizer(Resize.STRETCH, 32)
            for chunk in kept(events(path, decoder=decoder))[1]:
                for number, frame in zip(chunk.index, chunk.frames, strict=True):
                    assert np.array_equal(frame, resizer(truth[number])), name
    assert capfd.readouterr().err == ""


def test_decode_keeps_damaged_frames_on_request_and_marks_them(broken: dict[str, Path], tmp_path: Path) -> None:
    clean = true_frames(write_video(tmp_path / "clean.mp4", frames=60, seed=0))
    for name in ("hole.mp4", "half.mp4"):  # single flipped bits may leave no sign
        header, chunks, end = kept(events(broken[name], keep_corrupt=True, rate_hz=50.0))
        index = np.concatenate([chunk.index for chunk in chunks])
        valid = np.concatenate([chunk.valid for chunk in chunks])
        frames = np.concatenate([chunk.frames for chunk in chunks])
        assert index.tolist() == list(range(header.info.num_frames))
        assert not valid.all(), name
        assert valid.any(), name
        assert end.bad_frames >= np.count_nonzero(~valid)
        resizer = Resizer(Resize.STRETCH, 32)
        for number in np.flatnonzero(valid):
            assert np.array_equal(frames[number], resizer(clean[number])), (name, number)


def test_decode_keeps_the_order_of_an_avi_by_counting(broken: dict[str, Path]) -> None:
    _, chunks, _ = kept(events(broken["flipped.avi"], keep_corrupt=True, rate_hz=50.0))
    valid = np.concatenate([chunk.valid for chunk in chunks])
    assert valid.any()
    first = int(np.argmin(valid))
    assert not valid[first:].any()  # behind the first complaint no frame's time is certain


def test_decode_refuses_a_file_that_changed_or_went(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4)
    with pytest.raises(VideoError) as caught:
        list(decode(FileJob(str(path), (Item("v"),), size_bytes=1), config()))
    assert caught.value.failure is FailureClass.CHANGED
    path.unlink()
    with pytest.raises(VideoError) as caught:
        list(decode(FileJob(str(path), (Item("v"),)), config()))
    assert caught.value.failure is FailureClass.MISSING


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_decode_notices_that_a_file_is_written_to_meanwhile(tmp_path: Path, decoder: str) -> None:
    path = write_video(tmp_path / "a.mp4", frames=8)
    found: list[object] = []
    with pytest.raises(VideoError) as caught:
        for event in decode(FileJob(str(path), (Item("v"),)), config(decoder=decoder), chunk_bytes=1):
            found.append(event)
            os.utime(path, ns=(len(found), len(found)))
    assert caught.value.failure is FailureClass.CHANGED
    assert any(isinstance(event, FrameChunk) for event in found)
    assert not any(isinstance(event, Decoded) for event in found)


def test_decode_blames_no_damage_on_a_file_that_is_written_to_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4)

    def disturbed(wanted: DecodingRequest) -> Iterator[object]:
        path.write_bytes(b"another")
        raise VideoError(FailureClass.CORRUPT, "broken")
        yield

    monkeypatch.setattr(decoding, "pyav_frames", disturbed)
    assert failure_of(path, decoder="pyav").failure is FailureClass.CHANGED


def test_decode_reads_a_folder_of_images(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", frames=12)
    header, chunks, end = kept(events(folder, fps=10.0))
    assert header.info.flags == ("images",)
    assert end.decoder == "av"
    frames = np.concatenate([chunk.frames for chunk in chunks])
    assert len(frames) == 12
    (folder / "frame_5.png").write_bytes((folder / "frame_5.png").read_bytes()[:300])
    with pytest.raises(VideoError) as caught:
        events(folder, fps=10.0)
    assert caught.value.failure is FailureClass.CORRUPT
    _, chunks, end = kept(events(folder, fps=10.0, keep_corrupt=True))
    valid = np.concatenate([chunk.valid for chunk in chunks])
    assert np.flatnonzero(~valid).tolist() == [4]
    assert end.bad_frames == 1


def test_decode_hears_a_message_that_the_last_file_gave_as_well(tmp_path: Path) -> None:
    """PyAV suppresses a message that equals the last: an image cut off like the one before it passed as sound."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, pixels in enumerate(moving_frames(8)):
        encoder = av.codec.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 128, 96, "yuvj420p", Fraction(1, 25)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
        image = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
        (folder / f"{number}.jpg").write_bytes(image[: len(image) // 2] if number in (3, 4, 5) else image)
    for _ in range(2):
        assert failure_of(folder, fps=10.0).failure is FailureClass.CORRUPT
    _, chunks, end = kept(events(folder, fps=10.0, keep_corrupt=True))
    assert np.flatnonzero(~np.concatenate([chunk.valid for chunk in chunks])).tolist() == [3, 4, 5]
    assert end.bad_frames == 3


def test_decode_fails_where_a_broken_length_of_matroska_loses_frames(tmp_path: Path) -> None:
    """The second cluster's time claims more bytes than a number has: FFmpeg skips the cluster and reports it."""
    path = write_video(tmp_path / "a.mkv", options={"g": "10"}, container_options={"cluster_time_limit": "400"})
    content = bytearray(path.read_bytes())
    cluster = content.index(b"\x1f\x43\xb6\x75", content.index(b"\x1f\x43\xb6\x75") + 4)
    at = content.index(b"\xe7", cluster + 4)
    assert content[at + 1] == 0x82  # two bytes
    content[at + 1] = 0xBF
    path.write_bytes(bytes(content))
    assert len(true_frames(path)) < 40
    assert failure_of(path).failure is FailureClass.CORRUPT


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx265"), ("ts", "mpeg2video")])
def test_decode_of_a_segment_fails_where_the_codec_silently_drops_a_frame(
    suffix: str, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FFmpeg does with damaged leading pictures: those behind it would come one place early."""
    path = write_video(tmp_path / f"a.{suffix}", codec=codec, frames=60, options={"bf": "2"})
    segment = Item("a", 0.0, 1.6)
    kept(events(path, segment, decoder="pyav"))
    whole = pyav_backend.decoded_frames

    def holed(*arguments: Any) -> Iterator[av.VideoFrame]:
        return (frame for number, frame in enumerate(whole(*arguments)) if number != 15)

    monkeypatch.setattr(pyav_backend, "decoded_frames", holed)
    with pytest.raises(VideoError) as raised:
        list(events(path, segment, decoder="pyav"))
    assert raised.value.failure is FailureClass.CORRUPT
