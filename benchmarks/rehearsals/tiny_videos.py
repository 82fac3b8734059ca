"""Ten thousand tiny videos through the whole of an extraction: does memory stay flat, and where does the time go?

    python -m benchmarks.rehearsals.tiny_videos [--videos 10000] [--size 64] [--seconds 0.4]

The files are links to twenty small videos. Private memory of every kind of process is read after each thousand videos
that are settled. The device's time is what the network took: wall time over it says what the rest costs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from extractor.extraction.request import Request
from extractor.video.encoding import encode_video
from jobs.cluster.machine import private_memory_bytes
from jobs.cluster.options import Options
from jobs.run.extraction import extract
from jobs.run.outcome import Outcome
from jobs.run.watcher import Watcher
from schemas.config import Sampling

__all__ = ["main"]

_KINDS = 20
_PROCESSES = ("Extractor", "Writer", "Decoder")


class _MemoryWatcher(Watcher):
    """Reads the memory of all processes now and then. taken: MB by process, by thousands of settled videos."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.taken: dict[int, dict[str, float]] = {}

    def update(self, outcome: Outcome) -> None:
        reached = outcome.settled // self.step * self.step
        if reached and reached not in self.taken:
            self.taken[reached] = _memory()
            row = ", ".join(f"{name} {megabytes:.0f}" for name, megabytes in self.taken[reached].items())
            print(f"{reached} videos: MB of {row}", flush=True)


def _memory() -> dict[str, float]:
    """MB of private memory of the largest process of each kind."""
    found: defaultdict[str, float] = defaultdict(float)
    found["driver"] = (private_memory_bytes(os.getpid()) or 0) / 1e6
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        for name in _PROCESSES:
            if title.startswith(f"ray::{name}".encode()):
                found[name] = max(found[name], (private_memory_bytes(int(folder.name)) or 0) / 1e6)
    return dict(found)


def _link_videos(folder: Path, count: int, size: int, seconds: float) -> None:
    folder.mkdir()
    kinds = []
    for kind in range(_KINDS):
        noise = np.random.default_rng(kind).integers(0, 255, (size // 8, size // 8, 3))
        picture = noise.repeat(8, 0).repeat(8, 1).astype(np.uint8)
        kinds.append(folder / f"kind_{kind:02d}.mp4")
        encode_video(kinds[-1], (np.roll(picture, 2 * k, axis=1) for k in range(round(25 * seconds))), fps=25)
    for number in range(_KINDS, count):
        os.link(kinds[number % _KINDS], folder / f"video_{number:06d}.mp4")


def main() -> None:
    """Run the rehearsal and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rehearsals.tiny_videos", description=__doc__)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=64, help="of the videos and of the network's frames, in pixels")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a video")
    options = parser.parse_args()
    request = Request("tsn_resnet18", "random", sampling=Sampling.DENSE, rate_hz=0, size=options.size)
    watcher = _MemoryWatcher(max(1, options.videos // 10))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _link_videos(folder / "videos", options.videos, options.size, options.seconds)
        outcome = extract(folder / "videos", folder / "store", request, Options(device="cpu"), watcher)
    seconds, wall = outcome.seconds, outcome.wall_seconds
    decoding = seconds.decode + seconds.transform
    print(f"{outcome.done} videos, {outcome.frames} frames in {wall:.0f} s")
    print(f"  of the device {seconds.network:.0f} s: the wall time is {wall / seconds.network:.2f} of it")
    print(f"  of the writer {seconds.write:.0f} s, of the decoders {decoding:.0f} s, waiting {seconds.waiting:.0f} s")
    first, last = (watcher.taken[reached] for reached in (min(watcher.taken), max(watcher.taken)))
    for name in first.keys() & last.keys():
        print(f"  {name}: {last[name] / first[name]:.2f} of its memory after the first tenth")


if __name__ == "__main__":
    main()
