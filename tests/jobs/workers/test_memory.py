"""The memory of an extraction depends neither on the number of videos nor on their length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.running import SMALL, peak_memory_bytes
from tests.videos import write_video

OPTIONS = (*SMALL, "--sampling", "dense", "--rate-hz", "10", "--extractors", "1", "--decoders", "1")
BOUND = 1.1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_videos(tmp_path: Path) -> None:
    video = write_video(tmp_path / "one.mp4", frames=25, fps=25, size=(96, 128), seed=0)
    peaks = []
    for count in (100, 400):
        folder = tmp_path / str(count)
        folder.mkdir()
        for i in range(count):
            (folder / f"{i:03d}.mp4").symlink_to(video)
        peaks.append(peak_memory_bytes("extract", folder, "--out", tmp_path / f"store_{count}", *OPTIONS))
    print(f"100 videos {peaks[0] / 1e6:.0f} MB, 400 videos {peaks[1] / 1e6:.0f} MB")
    assert peaks[1] <= BOUND * peaks[0]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    peaks = []
    for minutes in (1, 30):
        folder = tmp_path / str(minutes)
        write_video(folder / "video.mp4", frames=minutes * 60 * 12, fps=12, size=(96, 128), seed=0)
        peaks.append(peak_memory_bytes("extract", folder, "--out", tmp_path / f"store_{minutes}", *OPTIONS))
    print(f"1 minute {peaks[0] / 1e6:.0f} MB, 30 minutes {peaks[1] / 1e6:.0f} MB")
    assert peaks[1] <= BOUND * peaks[0]
