"""The videos to learn from, and what a dataset of their features knows of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pandas as pd

from extractor.store import read_inventory
from extractor.video.objects.addresses import Place, joined
from gebd.annotations.records import VideoAnnotation
from gebd.dataset.dataset import GEBDDataset
from gebd.heads.splitting import Parts
from schemas.errors import InventoryError, UsageError
from schemas.records import is_address
from training.clips.records import Example
from training.tasks.config import VideosDigest


@dataclass(frozen=True, slots=True)
class BoundaryVideo:
    """A video with its marks.

    example: the file, or the segment, that features are extracted from. start_seconds: zero of the video's own clock,
    on the clock of the container. until_seconds: on its own clock, the end of a stretch shorter than that; None if it
    ends with it.
    """

    example: Example
    start_seconds: float
    until_seconds: float | None
    annotation: VideoAnnotation

    @property
    def video_id(self) -> str:
        """The id in the annotations."""
        return self.annotation.video_id


@dataclass(frozen=True, slots=True)
class BoundaryVideos:
    """Both parts. class_weights: of samples that are no boundary and of those that are, which balance them."""

    training: tuple[BoundaryVideo, ...]
    validation: tuple[BoundaryVideo, ...]
    class_weights: tuple[float, float]

    def digest(self) -> VideosDigest:
        """What tells whether a training goes on with the same videos. Paths do not count: a folder may be moved."""
        content = hashlib.sha256()
        for part in (self.training, self.validation):
            content.update(b"|")
            for video in part:
                known = (
                    video.example.video_id,
                    video.start_seconds,
                    video.until_seconds,
                    video.annotation.rater_seconds,
                )
                content.update(repr((video.video_id, *known)).encode())
        return VideosDigest(training=len(self.training), validation=len(self.validation), sha256=content.hexdigest())


def boundary_videos(dataset: GEBDDataset, parts: Parts, root: Place) -> BoundaryVideos:
    """The videos of both parts of a dataset with annotations; those of `parts` that it lacks are left out.

    root: where the dataset of videos is. Raises InventoryError for videos at an address.
    """
    rows = read_inventory(dataset.store.paths).drop_duplicates("video_id", keep="last").set_index("video_id")
    here = set(dataset.video_ids)
    training, validation = (
        tuple(_video(dataset, rows, root, video_id) for video_id in part if video_id in here)
        for part in (parts.training, parts.validation)
    )
    for name, part, wanted in (("training", training, parts.training), ("validation", validation, parts.validation)):
        if not part:
            raise UsageError(
                f"expected videos of the {name} part ({len(wanted)}) among the {len(here)} with features and marks;"
                " got none. Use the annotations that the head was trained with, or no --head"
            )
    weights = dataset.subset([video.video_id for video in training]).class_weights()
    return BoundaryVideos(training, validation, (float(weights[0]), float(weights[1])))


def _video(dataset: GEBDDataset, rows: pd.DataFrame, root: Place, video_id: str) -> BoundaryVideo:
    item = dataset.items[video_id]
    row = rows.loc[item]
    path = joined(root, str(row["path"]))
    if is_address(path):
        raise InventoryError(
            f"expected videos in a folder, as their frames are read again and again; got {video_id} at an address."
            " Copy them to a disk"
        )
    start, end, fps = (_known(row[name]) for name in ("start_seconds", "end_seconds", "fps"))
    zero, until = dataset.stretch(video_id)
    return BoundaryVideo(Example(item, path, start, end, fps), zero, until, dataset.annotation(video_id))


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
