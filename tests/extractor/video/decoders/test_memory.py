"""Memory of decoding does not grow with the length of a video, measured in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.videos import write_video

SCRIPT = """
import resource, sys, time
from extractor.video.decoding import decode
from schemas.config import ExtractionConfig
from schemas.records import Decoded, FileJob, Item

config = ExtractionConfig(model="m", weights="random", seed=0, sampling="dense", rate_hz=10.0, size=64)
decoder = ""
for event in decode(FileJob(sys.argv[1], (Item("v"),)), config, chunk_bytes=1 << 20):
    if isinstance(event, Decoded):
        decoder = event.decoder
    time.sleep(float(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, decoder)
"""


def peak_mib(path: Path, pause_seconds: float = 0.0) -> tuple[float, str]:
    command = [sys.executable, "-c", SCRIPT, str(path), str(pause_seconds)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, decoder = result.stdout.split()
    return float(peak), decoder


@pytest.mark.slow
def test_memory_of_decoding_is_the_same_for_a_long_video(tmp_path: Path) -> None:
    size, options = (240, 320), {"preset": "ultrafast", "threads": "1"}
    short = write_video(tmp_path / "short.mp4", frames=250, size=size, options=options)
    long = write_video(tmp_path / "long.mp4", frames=7500, size=size, options=options)
    (short_mib, _), (long_mib, decoder) = peak_mib(short), peak_mib(long, 0.02)
    assert decoder == "av"  # decord would hold 1.6 GiB of frames
    assert long_mib < short_mib * 1.1 + 5
