"""Predicted boundaries and boundary scores: in memory, as JSON, and as the pickles that the official code takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gebd.annotations.files import read_content, write_json, write_pickle
from gebd.annotations.values import mapping, numbers, sequence, shown
from schemas.errors import UsageError

__all__ = ["Predictions", "ScoreTrack", "checked_predictions", "load_predictions", "load_scores", "write_predictions"]

Predictions = Mapping[str, Sequence[float] | npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ScoreTrack:
    """Boundary scores of one video: `frame_index` (n,) int64, as the file counts, and `scores` (n,) float64."""

    frame_index: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


def checked_predictions(predictions: Predictions | str | os.PathLike[str]) -> dict[str, list[float]]:
    """Predictions as lists of float64 by video id, in stored order; a path is loaded.

    Raises UsageError, naming the video, where boundaries are not a flat list of numbers.
    """
    if not isinstance(predictions, Mapping):
        return load_predictions(predictions)
    return _checked(predictions, "the predictions")


def load_predictions(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    """`{video id: [boundary, ...]}` of a JSON file or a submission pickle, in the unit of the file (seconds, usually).

    Raises UsageError where the file cannot be read or holds something else.
    """
    return _checked(read_content(path, tables=False), str(path))


def _checked(content: Any, source: str) -> dict[str, list[float]]:
    found = mapping(content, source)
    if any(isinstance(times, Mapping) for times in found.values()):
        raise UsageError(
            f"{source} was expected to hold predictions, a list of boundaries for every video, and has more, as "
            "annotations have: give the predictions (the order is `msnet gebd evaluate PREDICTIONS ANNOTATIONS`)"
        )
    return {video_id: numbers(times, f"{source}: {shown(video_id)}") for video_id, times in found.items()}


def write_predictions(predictions: Predictions, path: str | os.PathLike[str]) -> None:
    """Write `{video id: [boundary, ...]}` as JSON (`.json`) or as the official submission pickle (`.pkl`).

    Plain lists of Python numbers either way. Raises UsageError for another suffix, boundaries that are no numbers, or
    a folder that does not exist.
    """
    path = Path(path)
    content = checked_predictions(predictions)
    for video_id, times in content.items():
        if not np.isfinite(times).all():
            raise UsageError(f"the predictions of {shown(video_id)} were expected to be finite, and are not all")
    if path.suffix == ".json":
        write_json(path, content)
    elif path.suffix in (".pkl", ".pickle"):
        write_pickle(path, content)
    else:
        raise UsageError(f"{path} was expected to end in .json or .pkl: the ending says which of the two to write")


def load_scores(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, ScoreTrack]:
    """A score file, pickle or JSON: `{video id: {"frame_idx": [...], "scores": [...]}}`.

    One list of scores a video; a list that holds one list is taken as that one. Raises UsageError where a video has
    several lists, the two lengths differ, or a frame number is not whole.
    """
    name = "the scores" if isinstance(source, Mapping) else str(source)
    content = mapping(source if isinstance(source, Mapping) else read_content(source, tables=False), name)
    return {video_id: _track(entry, f"{name}: {shown(video_id)}") for video_id, entry in content.items()}


def _track(entry: Any, what: str) -> ScoreTrack:
    found = mapping(entry, what)
    frames = np.array(numbers(found.get("frame_idx"), f"{what}: frame_idx"))
    listed: Any = sequence(found.get("scores"), f"{what}: scores")
    if len(listed) and isinstance(listed[0], list | tuple | np.ndarray):
        if len(listed) > 1:
            raise UsageError(f"{what} was expected to have one list of scores and has {len(listed)}: choose one")
        listed = listed[0]
    scores = np.array(numbers(listed, f"{what}: scores"))
    if len(frames) != len(scores):
        raise UsageError(f"{what} was expected to have a score a frame and has {len(scores)} for {len(frames)}")
    if not np.isfinite(frames).all() or not np.array_equal(frames, np.floor(frames)):
        raise UsageError(f"{what}: frame_idx was expected to be whole numbers and is not")
    return ScoreTrack(frames.astype(np.int64), scores)
