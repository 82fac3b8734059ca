"""Tracks of boundary scores over time, as heads and the detector return them, and their files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gebd.annotations.files import read_content, write_json
from gebd.annotations.values import mapping, numbers, shown
from schemas.errors import UsageError


@dataclass(frozen=True, eq=False)
class Track:
    """Boundary scores of one video: `time_seconds` (T,) ascending and `scores` (T,), both float64."""

    time_seconds: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


def write_tracks(tracks: Mapping[str, Track], path: str | os.PathLike[str]) -> None:
    """Write `{video id: {"time_seconds": [...], "scores": [...]}}` as JSON, both rounded to six decimal places."""
    write_json(Path(path), tracks_content(tracks))


def tracks_content(tracks: Mapping[str, Track]) -> dict[str, dict[str, list[float]]]:
    """Return the content that `write_tracks` writes."""
    return {
        video_id: {"time_seconds": track.time_seconds.round(6).tolist(), "scores": track.scores.round(6).tolist()}
        for video_id, track in tracks.items()
    }


def load_tracks(path: str | os.PathLike[str]) -> dict[str, Track]:
    """Load tracks from a file of `write_tracks`; raises UsageError if it is anything else."""
    return checked_tracks(read_content(path), str(path))


def checked_tracks(content: object, source: str) -> dict[str, Track]:
    """Return tracks from the content of such a file, which messages call `source`; raises UsageError likewise."""
    found = {}
    for video_id, entry in mapping(content, source).items():
        what = f"{source}: {shown(video_id)}"
        fields = mapping(entry, what)
        times = np.array(numbers(fields.get("time_seconds"), f"{what}: time_seconds"))
        scores = np.array(numbers(fields.get("scores"), f"{what}: scores"))
        if len(times) != len(scores) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            got = f"{len(scores)} scores for {len(times)} times, or times out of order"
            raise UsageError(f"{what}: expected one score per ascending time; got {got}. Correct the file")
        found[video_id] = Track(times, scores)
    return found
