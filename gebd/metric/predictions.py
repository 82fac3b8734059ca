"""Predicted boundaries and boundary scores: in memory, as JSON, and as pickles for the official code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gebd.annotations.files import read_content, write_json, write_pickle
from gebd.annotations.formats import is_geb_plus
from gebd.annotations.values import mapping, numbers, sequence, shown
from schemas.errors import UsageError

Predictions = Mapping[str, Sequence[float] | npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ScoreTrack:
    """Boundary scores of one video: `frame_index` (n,) int64, as in the file, and `scores` (n,) float64."""

    frame_index: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


def checked_predictions(predictions: Predictions | str | os.PathLike[str]) -> dict[str, list[float]]:
    """Return predictions as lists of float64 by video id, in stored order; a path is loaded.

    Raises UsageError that names the video if its boundaries are not a flat list of numbers.
    """
    if not isinstance(predictions, Mapping):
        return load_predictions(predictions)
    return _checked(predictions, "the predictions")


def load_predictions(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    """Load `{video id: [boundary, ...]}` from a JSON file or a submission pickle, in the unit of the file.

    The unit is usually seconds. Raises UsageError if the file cannot be read or holds anything else.
    """
    return _checked(read_content(path, tables=False), str(path))


def _checked(content: Any, source: str) -> dict[str, list[float]]:
    found = mapping(content, source)
    if is_geb_plus(found):
        raise UsageError(
            f"{source}: expected predictions, numbers for every video; got boundaries with captions, as annotations of "
            "GEB+ have. Give the predictions (the order is `msnet gebd evaluate PREDICTIONS ANNOTATIONS`)"
        )
    if any(isinstance(times, Mapping) for times in found.values()):
        raise UsageError(
            f"{source}: expected predictions, a list of boundaries for every video; got dictionaries, as annotations "
            "have. Give the predictions (the order is `msnet gebd evaluate PREDICTIONS ANNOTATIONS`)"
        )
    return {video_id: numbers(times, f"{source}: {shown(video_id)}") for video_id, times in found.items()}


def write_predictions(predictions: Predictions, path: str | os.PathLike[str]) -> None:
    """Write `{video id: [boundary, ...]}` as JSON (`.json`) or as the official submission pickle (`.pkl`).

    Both hold plain lists of Python numbers. Raises UsageError for another suffix, boundaries that are not finite
    numbers, or a folder that does not exist.
    """
    path = Path(path)
    content = checked_predictions(predictions)
    for video_id, times in content.items():
        if not np.isfinite(times).all():
            raise UsageError(f"predictions of {shown(video_id)}: expected finite numbers; got NaN or infinity. Drop it")
    if path.suffix == ".json":
        write_json(path, content)
    elif path.suffix in (".pkl", ".pickle"):
        write_pickle(path, content)
    else:
        raise UsageError(f"{path}: expected a name ending in .json or .pkl; got {path.suffix!r}. Choose one of the two")


def load_scores(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, ScoreTrack]:
    """Load a score file, pickle or JSON: `{video id: {"frame_idx": [...], "scores": [...]}}`.

    One list of scores per video; a list that holds a single list is unwrapped. Raises UsageError if a video has several
    lists, the two lengths differ, or a frame number is not whole.
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
            raise UsageError(f"{what}: expected one list of scores; got {len(listed)}. Choose one")
        listed = listed[0]
    scores = np.array(numbers(listed, f"{what}: scores"))
    if len(frames) != len(scores):
        raise UsageError(f"{what}: expected a score per frame; got {len(scores)} for {len(frames)}. Correct the file")
    if not np.isfinite(frames).all() or not np.array_equal(frames, np.floor(frames)):
        raise UsageError(f"{what}: frame_idx: expected whole numbers; got fractions, NaN or infinity. Correct the file")
    return ScoreTrack(frames.astype(np.int64), scores)
