"""Pictures: the timeline of a video, and F1 against tolerance. Requires matplotlib, the extra `plot`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gebd.annotations.files import replace_file
from gebd.annotations.records import PerRater
from gebd.metric.baselines import Comparison
from gebd.metric.tracks import Track
from schemas.errors import UsageError
from schemas.escaping import as_title
from schemas.seals import sealed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIMELINE, COMPARISON = "timeline", "comparison"
"""The seals (schemas.seals) of the two pictures."""

# Okabe and Ito's colours, distinguishable for the colour-blind; styles and marks differ as well.
_BLACK, _ORANGE, _SKY, _GREEN, _BLUE, _RED, _PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
_BASELINES = ((_ORANGE, "--"), (_RED, "--"), (_SKY, "-."), (_PURPLE, ":"), (_GREEN, ":"))
_METHODS = ((_RED, "o"), (_GREEN, "s"), (_PURPLE, "^"), (_ORANGE, "D"))
_WIDTH_INCHES = 11.0
_FRAMES_INCHES = 1.1


@dataclass(frozen=True)
class VideoTimeline:
    """The content of a timeline of one video; empty parts are not drawn.

    `frames`: (time in seconds, picture (H, W, 3) uint8), drawn at `frame_aspect` (width / height), None for their own.
    `motion`: mean speed over time in cells a second. `rater_seconds`: boundaries of every rater.
    """

    video_id: str
    duration_seconds: float
    score: Track
    motion: Track | None = None
    predicted_seconds: Sequence[float] = ()
    rater_seconds: PerRater = ()
    frames: Sequence[tuple[float, npt.NDArray[np.uint8]]] = ()
    frame_aspect: float | None = None
    score_name: str = "boundary score"


def plot_timeline(timeline: VideoTimeline, path: str | os.PathLike[str]) -> Path:
    """Draw a timeline as PNG, PDF or SVG, by the suffix: frames, motion, score, predictions, raters.

    Raises UsageError if matplotlib is missing, the suffix is another, or the folder does not exist.
    """
    path = _checked(path)
    figure = _figure(1.0)
    heights = [1.0] * bool(timeline.frames) + [1.0] * (timeline.motion is not None) + [1.4]
    marks = 0.28 * (1 + len(timeline.rater_seconds)) + 0.1
    grid = figure.subplots(len(heights) + 1, 1, sharex=True, squeeze=False, height_ratios=[*heights, marks])[:, 0]
    figure.set_figheight(1.15 * (sum(heights) + marks) + 0.6)
    axes = iter(grid.tolist()[bool(timeline.frames) :])
    if timeline.motion is not None:
        _draw_track(next(axes), timeline.motion, _GREEN, "motion\n(cells/s)")
    score = next(axes)
    _draw_track(score, timeline.score, _BLUE, timeline.score_name.replace(" ", "\n", 1))
    for time in timeline.predicted_seconds:
        score.axvline(time, color=_RED, linewidth=0.9)
    _draw_marks(next(axes), timeline)
    grid[0].set_title(as_title(timeline.video_id), loc="left", fontsize=10)
    grid[0].set_xlim(0, timeline.duration_seconds)
    if timeline.frames:
        figure.draw_without_rendering()  # fixes the layout, so that pictures keep their aspect
        _draw_frames(grid[0], timeline)
    return _write(figure, path, TIMELINE)


def thumbnail_times(duration_seconds: float, aspect: float) -> list[float]:
    """Return times for as many pictures of an aspect (width / height) as fit side by side into a timeline."""
    count = max(1, int(_WIDTH_INCHES * 0.93 / (_FRAMES_INCHES * aspect)))
    return [duration_seconds * (n + 0.5) / count for n in range(count)]


def _draw_frames(axes: Axes, timeline: VideoTimeline) -> None:
    """Draw pictures side by side, each centred on its time."""
    box = axes.get_window_extent()
    for time, picture in timeline.frames:
        aspect = timeline.frame_aspect or picture.shape[1] / picture.shape[0]
        half = aspect * box.height / box.width * timeline.duration_seconds / 2
        axes.imshow(picture, extent=(time - half, time + half, 0, 1), aspect="auto", zorder=2)
    axes.set_xlim(0, timeline.duration_seconds)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_ylabel("frames", fontsize=9)
    _quiet(axes)


def _draw_track(axes: Axes, track: Track, colour: str, label: str) -> None:
    axes.fill_between(track.time_seconds, track.scores, color=colour, alpha=0.15, linewidth=0)
    axes.plot(track.time_seconds, track.scores, color=colour, linewidth=1.4)
    axes.set_ylim(bottom=min(0.0, float(np.min(track.scores, initial=0.0))))
    axes.set_ylabel(label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    _quiet(axes)


def _draw_marks(axes: Axes, timeline: VideoTimeline) -> None:
    """Draw one row of marks for the predictions and one for each rater."""
    rows: list[tuple[str, Sequence[float], str, str]] = [("predicted", timeline.predicted_seconds, _RED, "v")]
    rows += [(f"rater {n + 1}", times, _BLACK, "|") for n, times in enumerate(timeline.rater_seconds)]
    for n, (_, times, colour, mark) in enumerate(rows):
        axes.axhline(-n, color="#DDDDDD", linewidth=0.6, zorder=1)
        axes.plot(times, [-n] * len(times), mark, color=colour, markersize=9, markeredgewidth=1.8, zorder=2)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_yticks([-n for n in range(len(rows))], [name for name, *_ in rows], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("seconds", fontsize=9)
    _quiet(axes)


def plot_comparison(comparison: Comparison, path: str | os.PathLike[str]) -> Path:
    """Draw F1 against tolerance of a method and its baselines, with intervals; files and errors as `plot_timeline`."""
    path = _checked(path)
    figure = _figure(5.2)
    axes = figure.subplots()
    baselines, methods = cycle(_BASELINES), cycle(_METHODS)
    for n, (name, found) in enumerate(comparison.evaluations.items()):
        colour, style, mark, width = _BLUE, "-", "", 2.6
        if name == "human":
            colour, width = _BLACK, 1.4
        elif name.startswith(("uniform-", "random-")):
            (colour, style), width = next(baselines), 1.4
        elif n > 0:
            (colour, mark), width = next(methods), 1.6
        table = found.table
        at = table.index.to_numpy()
        axes.fill_between(at, table["f1_low"], table["f1_high"], color=colour, alpha=0.1, linewidth=0)
        axes.plot(
            at,
            table["f1"],
            color=colour,
            linestyle=style,
            marker=mark,
            markersize=5,
            linewidth=width,
            label=as_title(name),
            zorder=3 - min(n, 1),
        )
    method = next(iter(comparison.evaluations.values()))
    axes.set_title(
        f"{method.num_predicted} of {method.num_annotated} annotated videos predicted "
        f"(coverage {method.coverage:.3f}); {method.definition.name} F1; bands: {method.confidence:.0%} intervals",
        loc="left",
        fontsize=10,
    )
    axes.set_xlabel(f"tolerance ({'seconds' if method.definition.absolute else 'part of the duration'})")
    axes.set_ylabel("F1")
    axes.set_ylim(0, 1)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    _quiet(axes)
    return _write(figure, path, COMPARISON)


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _checked(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"{path}: expected a name ending in .png, .pdf or .svg; got {path.suffix!r}. Rename it")
    return path


def _figure(height_inches: float) -> Figure:
    try:
        from matplotlib.figure import Figure  # not pyplot, which looks for a display
    except ImportError as error:
        raise UsageError(
            "expected matplotlib for pictures; it is not installed. Run pip install 'msnet-features[plot]'"
        ) from error
    return Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")


def _write(figure: Figure, path: Path, kind: str) -> Path:
    data = BytesIO()
    figure.savefig(data, format=path.suffix[1:], dpi=110)
    replace_file(path, sealed(data.getvalue(), kind))
    return path
