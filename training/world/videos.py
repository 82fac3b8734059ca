"""Short procedural videos in files, for demonstrations and tests: moving things whose motion changes at known times."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from extractor.video.encoding import encode_video
from training.world.config import WorldConfig
from training.world.scene import Clips, World

__all__ = ["TRUTH_NAME", "DemoBoundary", "DemoVideo", "read_demo_videos", "write_demo_videos"]

TRUTH_NAME = "boundaries.json"
"""The file beside the videos that says what happens in them, and when."""


@dataclass(frozen=True)
class DemoBoundary:
    """One boundary: the first frame of the new stretch, its time, and what changes ("direction", "cut", ...)."""

    frame: int
    seconds: float
    kind: str


@dataclass(frozen=True)
class DemoVideo:
    """One video that was written."""

    path: Path
    fps: int
    frames: int
    boundaries: tuple[DemoBoundary, ...]

    @property
    def duration_seconds(self) -> float:
        """Frames over frames a second."""
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
) -> list[DemoVideo]:
    """Write `count` H.264 videos (MPEG-4 where there is no encoder for it) and `boundaries.json` into `folder`.

    The JSON holds {"fps", "videos": [{"path", "frames", "duration_seconds", "boundaries": [{"frame", "seconds",
    "kind"}]}]}, paths relative to the folder. The folder is made where there is none; files of the same names are
    replaced. The same arguments give the same frames.
    """
    if count < 1 or seconds[0] <= 0 or seconds[1] < seconds[0]:
        raise ValueError(f"expected at least one video and a range of seconds above 0, got {count = }, {seconds = }")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    world = World(_demo_config(height, width, fps), seed=seed)
    videos: list[DemoVideo] = []
    for index in range(count):
        share = (index * 0.618 + 0.2) % 1.0  # the golden section spreads durations evenly over the range
        frames = max(2, round(fps * (seconds[0] + share * (seconds[1] - seconds[0]))))
        shortest = max(1, min(fps * 4 // 5, frames // 6))
        clip = world.variant(num_frames=frames, min_stretch_frames=shortest).sample(index, 1)
        videos.append(_write(clip, folder / f"demo_{index:02d}.mp4", fps))
    truth = {
        "fps": fps,
        "videos": [
            {
                "path": video.path.name,
                "frames": video.frames,
                "duration_seconds": video.duration_seconds,
                "boundaries": [vars(boundary) for boundary in video.boundaries],
            }
            for video in videos
        ],
    }
    (folder / TRUTH_NAME).write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return videos


def read_demo_videos(folder: Path) -> list[DemoVideo]:
    """What `write_demo_videos` wrote into `folder` before; nothing where it did not finish."""
    try:
        truth = json.loads((folder / TRUTH_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [
        DemoVideo(
            folder / video["path"],
            truth["fps"],
            video["frames"],
            tuple(DemoBoundary(**boundary) for boundary in video["boundaries"]),
        )
        for video in truth["videos"]
    ]


def _demo_config(height: int, width: int, fps: int) -> WorldConfig:
    """A world of small things that move most of the time, by a camera that often stands."""
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
    """Encode the one clip of a batch."""
    pictures = ((frame * 255).round().byte().permute(1, 2, 0).cpu().numpy() for frame in clip.frames[0])
    frames = encode_video(path, pictures, fps=fps)
    boundaries = tuple(DemoBoundary(frame, frame / fps, kind.name.lower()) for frame, kind in clip.boundaries(0))
    return DemoVideo(path, fps, frames, boundaries)
