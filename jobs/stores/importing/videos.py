"""One video of video_features: its files checked against one another, its rows and its times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.stores.importing.arrays import NpyFile, open_matrix, read_list
from jobs.stores.importing.naming import STACKS_OF_R21D, FoundFiles, Rows
from jobs.stores.importing.times import (
    RowTimes,
    Stacks,
    checked_fps,
    checked_stamps,
    is_rate,
    stacks_by_times,
    times_by_rate,
    times_of_frames,
    times_of_stacks,
)
from schemas.errors import ConfigurationError, FailureClass, VideoError
from schemas.manifest import MANIFEST_COLUMNS

TENSORS = ("frame", "motion")
"""Where streams go, in their order: rows of the first are features of frames; the second is I3D's of optical flow."""

_PATHS = {"frame": "frames/feature", "motion": "frames/motion"}
_SAMPLE = 1000  # videos by which stacks and widths are told


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says of features that do not say it themselves."""

    fps: float | None = None
    stack_frames: int | None = None
    step_frames: int | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not is_rate(self.fps):
            raise ConfigurationError(f"expected a frame rate above 0; got {self.fps:g}. Correct --fps")
        for name in ("stack_frames", "step_frames"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigurationError(f"expected at least 1; got {value}. Correct --{name.replace('_', '-')}")


@dataclass(frozen=True)
class Source:
    """What all videos of an import have in common.

    streams: keys of their files, in the order of TENSORS. widths: by stream. stacks: None where a row is a frame. fps:
    of all, where files do not say it.
    """

    found: FoundFiles
    streams: tuple[str, ...]
    widths: dict[str, int]
    stacks: Stacks | None
    stacks_are_given: bool
    fps: float | None

    @property
    def model(self) -> str:
        """The name in the configuration, the same for features that may be mixed: "imported:i3d-stack64-step64"."""
        parts = [self.found.feature.name, self.found.model_name]
        if self.stacks is not None:
            parts += [f"stack{self.stacks.stack_frames}", f"step{self.stacks.step_frames}"]
        if len(self.found.feature.keys) > len(self.streams):
            parts += self.streams
        return "-".join(part for part in parts if part)

    def tensors(self) -> dict[str, str]:
        """Streams by the tensor that they become."""
        return dict(zip(TENSORS, self.streams, strict=False))

    def open(self, stem: str) -> ImportedVideo:
        """A video whose files fit together; raises VideoError, with its class, if they do not."""
        files = self.found.videos[stem]
        matrices = {}
        for tensor, key in self.tensors().items():
            matrices[tensor] = matrix = open_matrix(_required(files, key, stem))
            if matrix.shape[1] != self.widths[key]:
                expected = f"expected {self.widths[key]} numbers a row, as most videos have"
                raise VideoError(FailureClass.CORRUPT, f"{matrix.path.name}: {expected}; got {matrix.shape[1]}")
        counts = {matrix.shape[0] for matrix in matrices.values()}
        if len(counts) > 1:
            raise VideoError(FailureClass.CORRUPT, f"expected equally many rows of each stream; got {sorted(counts)}")
        return ImportedVideo(stem, matrices, self._times(files, counts.pop(), stem))

    def _times(self, files: dict[str, Path], rows: int, stem: str) -> RowTimes:
        if self.found.feature.rows is Rows.STACK_WITHOUT_TIMES:
            assert self.fps is not None and self.stacks is not None
            return times_by_rate(rows, self.fps, self.stacks)
        stamps_file, fps_file = _required(files, "timestamps_ms", stem), _required(files, "fps", stem)
        fps = checked_fps(read_list(fps_file), fps_file.name)
        stamps = checked_stamps(read_list(stamps_file), rows, stamps_file.name)
        if self.stacks is None:
            return times_of_frames(stamps, fps)
        return times_of_stacks(stamps, fps, self.stacks, is_given=self.stacks_are_given)


def _required(files: dict[str, Path], key: str, stem: str) -> Path:
    if key not in files:
        raise VideoError(FailureClass.MISSING, f"{stem}_{key}.npy is not there")
    return files[key]


def describe_source(found: FoundFiles, given: Given) -> Source:
    """What the files of a folder have in common.

    Raises ConfigurationError if that takes options that were not given, or if no file can be read.
    """
    streams = found.streams
    stems = sorted(found.videos)[:_SAMPLE]
    widths = {}
    for key in streams:
        counts = Counter(_widths(found.videos[stem].get(key) for stem in stems))
        if not counts:
            raise ConfigurationError(f"expected features in the files *_{key}.npy of {found.folder}; none has any rows")
        widths[key] = max(counts, key=lambda width: (counts[width], width))
    fps, stacks = _rate_and_stacks(found, given, stems)
    return Source(found, streams, widths, stacks, given.stack_frames is not None, fps)


def _widths(files: Iterable[Path | None]) -> Iterator[int]:
    for file in files:
        if file is not None:
            with suppress(VideoError):
                yield open_matrix(file).shape[1]


def _rate_and_stacks(found: FoundFiles, given: Given, stems: list[str]) -> tuple[float | None, Stacks | None]:
    feature = found.feature
    if feature.rows is Rows.FRAME:
        _refuse(given, ("fps", "stack_frames", "step_frames"), f"rows of {feature.name} are frames and have times")
        return None, None
    if feature.rows is Rows.STACK:
        _refuse(given, ("fps",), f"{feature.name} says its own")
        told = stacks_by_times(_stamps(found, stems)) or Stacks(0, 0)
        stack = given.stack_frames or told.stack_frames
        stacks = Stacks(stack, given.step_frames or told.step_frames or stack)
        fps = None
    else:
        usual = STACKS_OF_R21D.get(found.model_name) if feature.name == "r21d" else feature.stack_frames
        stack = given.stack_frames or usual or 0
        stacks = Stacks(stack, given.step_frames or stack)
        fps = given.fps or feature.fps
        if fps is None:
            raise ConfigurationError(
                f"expected the videos' frame rate, which {feature.name} does not save; got none. Give --fps"
            )
    if not stacks.stack_frames:
        raise ConfigurationError(
            f"expected the number of frames in a stack of {feature.name}; the files do not tell it. Give --stack-frames"
        )
    return fps, stacks


def _refuse(given: Given, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if (value := getattr(given, name)) is not None:
            option = f"--{name.replace('_', '-')}"
            raise ConfigurationError(f"expected no {option}: {why}; got {value:g}. Leave it out")


def _stamps(found: FoundFiles, stems: list[str]) -> Iterator[tuple[npt.NDArray[np.float64], float]]:
    """Times in seconds and frame rates of the videos that have sound ones."""
    for stem in stems:
        files = found.videos[stem]
        with suppress(VideoError):
            values = read_list(_required(files, "timestamps_ms", stem))
            fps = checked_fps(read_list(_required(files, "fps", stem)), "")
            if len(values):
                yield checked_stamps(values, len(values), ""), fps


@dataclass(frozen=True)
class ImportedVideo:
    """A video that can be imported. matrices: its files by tensor, all with as many rows as `times`."""

    video_id: str
    matrices: dict[str, NpyFile]
    times: RowTimes

    def blocks(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Rows by dataset path, some at a time; raises VideoError (not_finite) for values that are none."""
        streams = {tensor: _Rows(matrix) for tensor, matrix in self.matrices.items()}
        first, count = 0, len(self.times.index)
        while first < count:
            step = min(max(1, stream.waiting()) for stream in streams.values())
            part = slice(first, first + step)
            yield {_PATHS[tensor]: stream.take(step) for tensor, stream in streams.items()} | {
                "frames/time_seconds": self.times.time_seconds[part],
                "frames/index": self.times.index[part],
                "frames/valid": np.ones(step, np.uint8),
            }
            first += step

    def clip(self, *, times_made_up: bool) -> dict[str, Any]:
        """The manifest row of its one clip. What nothing says is 0, "" or not a number."""
        times, count = self.times, len(self.times.index)
        unknown: dict[str, Any] = {"int64": 0, "float64": float("nan"), "str": "", "bool": False}
        row = {name: unknown[kind] for name, kind in MANIFEST_COLUMNS.items()}
        for name in ("video_id", "shard", "file", "clip_row"):
            del row[name]
        return row | {
            "frame_stop": count,
            "pair_stop": count - 1,
            "start_seconds": float(times.time_seconds[0]),
            "end_seconds": float(times.time_seconds[-1]),
            "num_valid_frames": count,
            "fps": times.fps,
            "video_start_seconds": 0.0,
            "pixel_aspect": 1.0,
            "video_end_seconds": times.end_seconds,
            "times_made_up": times_made_up,
            "decoder": "video_features",
        }


class _Rows:
    """Rows of a file, taken in other numbers than they are read in."""

    def __init__(self, matrix: NpyFile) -> None:
        self._blocks = matrix.rows()
        self._rest: npt.NDArray[np.float32] | None = None

    def waiting(self) -> int:
        """How many rows are in memory; reads a block if there are none."""
        if self._rest is None or not len(self._rest):
            self._rest = next(self._blocks)
        return len(self._rest)

    def take(self, count: int) -> npt.NDArray[np.float32]:
        """The next rows, of which `waiting` says how many there are."""
        assert self._rest is not None
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken
