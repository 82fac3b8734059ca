"""Boundary scores over time, and boundaries: what heads and the detector hand out, and files of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gebd.files import read_content, write_json
from gebd.values import mapping, numbers, shown
from schemas.errors import UsageError

__all__ = ["Track", "load_tracks", "write_tracks"]


@dataclass(frozen=True, eq=False)
class Track:
    """Boundary scores of one video: `time_seconds` (T,) ascending and `scores` (T,), both float64."""

    time_seconds: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


def write_tracks(tracks: Mapping[str, Track], path: str | os.PathLike[str]) -> None:
    """Write `{video id: {"time_seconds": [...], "scores": [...]}}` as JSON, rounded to microseconds and six digits."""
    content = {
        video_id: {"time_seconds": track.time_seconds.round(6).tolist(), "scores": track.scores.round(6).tolist()}
        for video_id, track in tracks.items()
    }
    write_json(Path(path), content)


def load_tracks(path: str | os.PathLike[str]) -> dict[str, Track]:
    """Tracks of a file that `write_tracks` wrote; raises UsageError where it is something else."""
    found = {}
    for video_id, entry in mapping(read_content(path), str(path)).items():
        what = f"{path}: {shown(video_id)}"
        fields = mapping(entry, what)
        times = np.array(numbers(fields.get("time_seconds"), f"{what}: time_seconds"))
        scores = np.array(numbers(fields.get("scores"), f"{what}: scores"))
        if len(times) != len(scores) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise UsageError(f"{what} was expected to have a score at each of ascending times, and has not")
        found[video_id] = Track(times, scores)
    return found
