"""Small boundary videos made for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from extractor.video.encoding import encode_video
from gebd.annotations.records import VideoAnnotation
from jobs.finetuning.videos import BoundaryVideo, BoundaryVideos
from training.clips.records import Example

FPS = 20


def write_video(path: Path, seed: int, seconds: float = 3.0) -> VideoAnnotation:
    """A video of noise whose brightness changes at one time, which is its boundary."""
    generator = np.random.default_rng(seed)
    count = round(seconds * FPS)
    change = int(generator.integers(count // 3, 2 * count // 3))
    frames = generator.integers(0, 90, (count, 48, 64, 3), dtype=np.uint8)
    frames[change:] += 130
    encode_video(path, iter(frames), fps=FPS)
    return VideoAnnotation(path.name, seconds, ((change / FPS,),), fps=float(FPS), num_frames=count)


def boundary_video(path: Path, seed: int, *, until_seconds: float | None = None) -> BoundaryVideo:
    annotation = write_video(path, seed)
    return BoundaryVideo(Example(path.name, str(path)), 0.0, until_seconds, annotation)


def boundary_videos(folder: Path) -> BoundaryVideos:
    """Four videos to learn from, one of which is broken, and two for validation."""
    found = [boundary_video(folder / f"{number}.mp4", number) for number in range(6)]
    Path(found[3].example.path).write_bytes(b"no video")
    return BoundaryVideos(tuple(found[:4]), tuple(found[4:]), (0.6, 3.0))
