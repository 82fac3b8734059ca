"""How fast clips for training are read, beside decord's and torchcodec's own random access, and whether they are right.

    python -m benchmarks.clips [FOLDER] [--epochs 5] [--videos 4] [--workers 2] [--seed 0]
    python -m benchmarks.clips FOLDER --check [--sets 40]

Without FOLDER it makes videos: ten seconds of H.264, 340 x 256, 30 frames a second, with a keyframe every 12, 50 and
250 frames. Each epoch takes a clip of 8 frames from every video, the same for all readers and in turns; CPU seconds
count, since decord decodes in a thread of its own. "decoding" is frames at native size, "whole clip" cropped and
resized.
The first epoch pays for the inspection of each file. torchcodec is no dependency of this project, and is left out where
it is missing. `--check` compares every frame of random sets with full decoding; the exit code is 1 if one differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.clips.exactness import print_exactness
from benchmarks.clips.memory import print_memory
from benchmarks.clips.readers import torchcodec_is_missing
from benchmarks.clips.speed import print_speed
from benchmarks.decoding.limit import SMALL, scene
from extractor.video import list_videos
from extractor.video.encoding import encode_video

__all__ = ["main"]

_FPS, _SECONDS = 30, 10
_KEYFRAME_EVERY = (12, 50, 250)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print the figures; 1 if `--check` finds a wrong frame."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clips", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="videos to read (made ones unless given)")
    parser.add_argument("--check", action="store_true", help="compare frames with full decoding, and measure nothing")
    parser.add_argument("--sets", type=int, default=40, help="sets of frames that are compared for each file")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--videos", type=int, default=4, help="made videos of each kind")
    parser.add_argument("--workers", type=int, default=2, help="of the loader whose memory is measured")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.check:
        if options.folder is None:
            parser.error("--check needs a FOLDER")
        return int(print_exactness(options.folder, options.sets, options.seed) > 0)
    if missing := torchcodec_is_missing():
        print(f"torchcodec is left out ({missing})")
    with tempfile.TemporaryDirectory() as place:
        groups = _made(Path(place), options.videos) if options.folder is None else _given(options.folder)
        for title, paths in groups.items():
            print_speed(paths, title, options.epochs, options.seed)
        print_memory([path for paths in groups.values() for path in paths], options.workers, options.epochs, 0)
    return 0


def _given(folder: Path) -> dict[str, list[str]]:
    return {folder.name: [job.path for job in list_videos(folder).jobs]}


def _made(folder: Path, count: int) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for every in _KEYFRAME_EVERY:
        paths = [folder / f"{every}_{number}.mp4" for number in range(count)]
        for number, path in enumerate(paths):
            encode_video(path, scene(SMALL, _SECONDS * _FPS, number), fps=_FPS, keyframe_every=every)
        groups[f"keyframe every {every}"] = [str(path) for path in paths]
    return groups


if __name__ == "__main__":
    sys.exit(main())
