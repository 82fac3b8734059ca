"""Frames in memory: those of an extraction, of a segment, and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extractor.video import frames as module, list_videos
from extractor.video.frames import frames_at, read_frames
from schemas.config import ExtractionConfig, Sampling
from schemas.errors import VideoError
from schemas.records import FileJob, Item
from tests.videos import write_video


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> FileJob:
    """A video of 60 frames at 30 a second."""
    path = tmp_path_factory.mktemp("frames") / "a.mp4"
    write_video(path, frames=60, size=(64, 48), fps=30)
    return list_videos(path).jobs[0]


def test_read_frames_samples_at_the_rate(job: FileJob) -> None:
    found = read_frames(job, rate_hz=10, size=32)
    assert found.pixels.shape == (20, 32, 32, 3) and found.pixels.dtype == np.uint8
    np.testing.assert_allclose(found.time_seconds, np.arange(20) / 10, atol=1e-6)
    assert (found.grid.scale_x, found.grid.scale_y) == (48 / 32, 64 / 32)


def test_read_frames_of_a_segment_are_those_of_the_whole(job: FileJob) -> None:
    whole = read_frames(job, rate_hz=10, size=32)
    part = read_frames(job, start_seconds=0.5, end_seconds=1.2, rate_hz=10, size=32)
    np.testing.assert_allclose(part.time_seconds, whole.time_seconds[5:12])
    np.testing.assert_array_equal(part.pixels, whole.pixels[5:12])


def test_frames_at_are_the_nearest_that_an_extraction_samples(job: FileJob) -> None:
    config = ExtractionConfig(model="none", weights="none", sampling=Sampling.DENSE, rate_hz=10, size=32)
    whole = read_frames(job, rate_hz=10, size=32)
    found, times = frames_at(job, config, np.array([1.21, 0.5, 0.54, -3.0, 99.0]))
    np.testing.assert_allclose(times, whole.time_seconds[[12, 5, 5, 0, 19]])
    np.testing.assert_array_equal(found, whole.pixels[[12, 5, 5, 0, 19]])


def test_frames_at_say_why_an_item_has_none(job: FileJob) -> None:
    config = ExtractionConfig(model="none", weights="none", sampling=Sampling.DENSE, rate_hz=10, size=32)
    late = replace(job, items=(Item("late", 50.0, 60.0),))
    with pytest.raises(VideoError, match=r"^late: expected at least two frames"):
        frames_at(late, config, np.array([50.0]))


def test_read_frames_starts_over_where_the_decoder_does(job: FileJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before a restart is void, or it would be there twice."""
    from extractor.video import decode
    from schemas.records import FrameChunk, Restart

    def restarting(*arguments: object, **options: object) -> object:
        events = list(decode(*arguments, **options))  # type: ignore[arg-type]
        chunks = [event for event in events if isinstance(event, FrameChunk)]
        return iter([events[0], *chunks, Restart("a try"), *events[1:]])

    whole = read_frames(job, size=32)
    monkeypatch.setattr(module, "decode", restarting)
    np.testing.assert_array_equal(read_frames(job, size=32).pixels, whole.pixels)


def test_read_frames_refuses_what_is_too_short_or_too_much(
    job: FileJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VideoError, match="at least two frames"):
        read_frames(job, start_seconds=5, end_seconds=6)
    monkeypatch.setattr(module, "_MOST_BYTES", 10_000)
    with pytest.raises(VideoError, match=r"at most 10000 bytes .* 20 frames\. Ask for a shorter segment"):
        read_frames(job, size=32)
    (tmp_path / "b.mp4").write_text("no video")
    with pytest.raises(VideoError):
        read_frames(list_videos(tmp_path / "b.mp4").jobs[0])
