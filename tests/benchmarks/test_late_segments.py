"""The films that late segments are measured in."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.decoding.late_segments import measure, write_film
from extractor.video.containers.preflight import inspect_video
from schemas.config import DecoderPolicy


@pytest.mark.parametrize(("codec", "opens"), [("libx264", False), ("libx265", True)])
def test_a_film_repeats_its_part_and_a_late_segment_has_the_same_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, opens: bool
) -> None:
    path = write_film(tmp_path / "film.mp4", codec, seconds=9, repetitions=6, size=(96, 128))
    found = inspect_video(path)
    assert (found.info.num_frames, found.info.end_seconds, found.order) == (6 * 270, 54.0, None)
    assert [point.opens for point in found.entry_points] == [False, opens] * 6
    monkeypatch.setattr("extractor.video.decoding.HELD_BYTES", 0)
    seconds, frames, remark = measure(path, 43.0, DecoderPolicy.AUTO)
    assert seconds > 0
    assert "jumps" in remark
    assert frames == measure(path, 43.0, DecoderPolicy.PYAV)[1]
