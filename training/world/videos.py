"""Short procedural video files for demos and tests: moving things whose motion changes at known times."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extractor.store.disk.atomic import write_bytes
from extractor.video.encoding import encode_video
from training.world.config import WorldConfig
from training.world.scene import Clips, World

TRUTH_NAME = "boundaries.json"
"""The file that lists the boundaries of videos; beside them, unless told otherwise."""

_HEADER = {"format": "gebd-annotations", "version": 1}  # as gebd.annotations.formats, not to be imported here


@dataclass(frozen=True)
class DemoBoundary:
    """A boundary: first frame of the new stretch, its time, and what changes ("direction", "cut", ...)."""

    frame: int
    seconds: float
    kind: str


@dataclass(frozen=True)
class DemoVideo:
    """A video written to disk."""

    path: Path
    fps: int
    frames: int
    boundaries: tuple[DemoBoundary, ...]

    @property
    def duration_seconds(self) -> float:
        """Number of frames divided by the frame rate."""
        return self.frames / self.fps


def write_demo_videos(
    folder: Path | str,
    count: int = 6,
    seed: int = 0,
    *,
    height: int = 240,
    width: int = 320,
    fps: int = 25,
    seconds: tuple[float, float] = (4.0, 6.0),
    truth: Path | str | None = None,
) -> list[DemoVideo]:
    """Write `count` H.264 videos (MPEG-4 where there is no H.264 encoder) and `boundaries.json` into `folder`.

    truth: the path of the JSON file, where it is to be elsewhere: a folder of nothing but videos is a dataset.
    The JSON file is an annotation file that gebd can read (docs/gebd.md, plain JSON), by file name, which also has the
    kinds of the boundaries ("boundaries_kinds"). The folder is created where it does not exist, and files of the same
    names are replaced. The same arguments give the same frames.
    """
    if count < 1 or seconds[0] <= 0 or seconds[1] < seconds[0]:
        raise ValueError(f"expected at least one video and a range of seconds above 0; got {count = }, {seconds = }")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    world = World(_demo_config(height, width, fps), seed=seed)
    videos: list[DemoVideo] = []
    for index in range(count):
        share = (index * 0.618 + 0.2) % 1.0  # the golden ratio spreads durations evenly over the range
        frames = max(2, round(fps * (seconds[0] + share * (seconds[1] - seconds[0]))))
        shortest = max(1, min(fps * 4 // 5, frames // 6))
        clip = world.variant(num_frames=frames, min_stretch_frames=shortest).sample(index, 1)
        videos.append(_write(clip, folder / f"demo_{index:02d}.mp4", fps))
    content = {**_HEADER, "videos": {video.path.name: _annotation(video) for video in videos}}
    path = folder / TRUTH_NAME if truth is None else Path(truth)
    write_bytes(path, json.dumps(content, indent=2).encode() + b"\n")  # last: the videos are complete
    return videos


def _annotation(video: DemoVideo) -> dict[str, Any]:
    """The annotations of one video, by one rater."""
    return {
        "duration_seconds": video.duration_seconds,
        "fps": video.fps,
        "num_frames": video.frames,
        "boundaries_seconds": [[boundary.seconds for boundary in video.boundaries]],
        "boundaries_frames": [[boundary.frame for boundary in video.boundaries]],
        "boundaries_kinds": [[boundary.kind for boundary in video.boundaries]],
    }


def read_demo_videos(folder: Path, truth: Path | None = None) -> list[DemoVideo]:
    """Read what `write_demo_videos` wrote into `folder`, and its `truth`; empty where it did not finish."""
    try:
        content = json.loads((truth or folder / TRUTH_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [_video(folder / name, entry) for name, entry in content["videos"].items()]


def _video(path: Path, entry: dict[str, Any]) -> DemoVideo:
    parts = (entry[f"boundaries_{part}"][0] for part in ("frames", "seconds", "kinds"))
    boundaries = tuple(DemoBoundary(*boundary) for boundary in zip(*parts, strict=True))
    return DemoVideo(path, entry["fps"], entry["num_frames"], boundaries)


def _demo_config(height: int, width: int, fps: int) -> WorldConfig:
    """A world of small things that move most of the time, seen by a camera that is often still."""
    return WorldConfig(
        height=height,
        width=width,
        rate_hz=fps,
        sprites=(2, 4),
        boundaries=(2, 4),
        still_camera=0.6,
        still_sprite=0.1,
        nuisances=0.3,
        textures=24,
        shapes=32,
    )


def _write(clip: Clips, path: Path, fps: int) -> DemoVideo:
    """Encode the only clip of a batch."""
    pictures = ((frame * 255).round().byte().permute(1, 2, 0).cpu().numpy() for frame in clip.frames[0])
    frames = encode_video(path, pictures, fps=fps)
    boundaries = tuple(DemoBoundary(frame, frame / fps, kind.name.lower()) for frame, kind in clip.boundaries(0))
    return DemoVideo(path, fps, frames, boundaries)
