"""Thumbnails of a stored video for timelines, decoded again from the folder of its dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extractor.store import FeatureStore, read_inventory
from extractor.video.frames import read_frames
from extractor.video.objects.addresses import joined, place
from gebd.pictures.plots import thumbnail_times
from schemas.errors import InventoryError
from schemas.records import FileJob, Item, is_address

_SIDE_PX = 160
_FINER = 4  # frames decoded per thumbnail, so that one is near its time


@dataclass(frozen=True)
class Thumbnails:
    """frames: (seconds from the video's start, picture (160, 160, 3) uint8). aspect: width over height to draw them."""

    frames: tuple[tuple[float, npt.NDArray[np.uint8]], ...] = ()
    aspect: float = 1.0


def thumbnails(store: FeatureStore, video_id: str, videos: Path | str) -> Thumbnails:
    """Thumbnails of a stored video, evenly spaced, as many as fit into a timeline.

    videos: folder or address of the dataset, or its table. Raises InventoryError if the file is missing, VideoError if
    it cannot be decoded.
    """
    rows = read_inventory(store.paths).set_index("video_id")
    row = rows.loc[[video_id]].iloc[-1]
    root = place(videos)
    if isinstance(root, Path) and not root.is_dir():
        root = root.parent
    path = joined(root, str(row["path"]))
    if not is_address(path) and not Path(path).exists():
        raise InventoryError(f"expected {video_id} at {path}; it is missing. Give --videos the dataset's folder")
    first = store.manifest_rows(store.video_clips(video_id)[:1]).iloc[0]
    start, end = (
        float(first[f"video_{name}_seconds"] if np.isnan(row[f"{name}_seconds"]) else row[f"{name}_seconds"])
        for name in ("start", "end")
    )
    aspect = float(first["width"]) * float(first["pixel_aspect"]) / float(first["height"])
    times = np.array(thumbnail_times(end - start, aspect))
    fps = float(row["fps"])
    found = read_frames(
        FileJob(path, (Item(video_id),), fps=None if np.isnan(fps) else fps),
        start_seconds=start,
        end_seconds=end,
        rate_hz=_FINER * len(times) / (end - start),
        size=_SIDE_PX,
    )
    shown = found.time_seconds - start
    nearest = [int(np.argmin(np.abs(shown - time))) for time in times]
    frames = ((float(time), found.pixels[n]) for time, n in zip(times, nearest, strict=True))
    return Thumbnails(tuple(frames), aspect)
