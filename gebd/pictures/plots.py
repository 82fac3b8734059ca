"""Pictures: the timeline of a video, and F1 against tolerance. Requires matplotlib, the extra `plot`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gebd.annotations.files import replace_file
from gebd.annotations.records import PerRater
from gebd.metric.baselines import Comparison
from gebd.metric.evaluation import Evaluation
from gebd.metric.tracks import Track
from schemas.errors import UsageError
from schemas.escaping import as_title
from schemas.intervals import Interval
from schemas.seals import sealed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIMELINE, COMPARISON = "timeline", "comparison"
"""The seals (schemas.seals) of the two pictures."""

# Okabe and Ito's colours, distinguishable for the colour-blind; styles and marks differ as well.
_BLACK, _GREY, _ORANGE, _SKY, _GREEN, _BLUE, _RED, _PURPLE = (
    "#000000",
    "#777777",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
_BASELINES = (
    (_ORANGE, "--"),
    (_RED, "--"),
    (_SKY, "--"),
    (_PURPLE, "-."),
    (_GREEN, ":"),
    (_BLACK, ":"),
    (_GREY, "-."),
    (_ORANGE, ":"),
)
_METHODS = ((_RED, "o"), (_GREEN, "s"), (_PURPLE, "^"), (_ORANGE, "D"))
_WIDTH_INCHES = 11.0
_FRAMES_INCHES = 1.1


@dataclass(frozen=True)
class VideoTimeline:
    """The content of a timeline of one video; empty parts are not drawn.

    `frames`: (time in seconds, picture (H, W, 3) uint8), drawn at `frame_aspect` (width / height), None for their own.
    `motion`: mean speed over time in cells a second. `threshold`: of the score. `rater_seconds`: boundaries of every
    rater.
    """

    video_id: str
    duration_seconds: float
    score: Track
    motion: Track | None = None
    threshold: float | None = None
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
    if timeline.threshold is not None and len(timeline.score.scores):
        _draw_threshold(score, timeline.threshold)
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


def _draw_threshold(axes: Axes, threshold: float) -> None:
    axes.axhline(threshold, color=_BLACK, linewidth=1.0, linestyle="--")
    axes.set_ylim(top=max(axes.get_ylim()[1], threshold * 1.1))
    axes.annotate(f"threshold {threshold:g}", (1.0, 1.0), xycoords="axes fraction", ha="right", va="bottom", fontsize=8)


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
    """Draw F1 of a method and its baselines: against tolerance, and with intervals at the smallest and on average.

    Files and errors as `plot_timeline`.
    """
    path = _checked(path)
    figure = _figure(1.6 + 0.3 * max(12, len(comparison.evaluations)))
    curves, smallest, average = figure.subplots(1, 3, width_ratios=[2.4, 1, 1])
    method = next(iter(comparison.evaluations.values()))
    first = method.definition.tolerances[0]
    unit = " s" if method.definition.absolute else ""
    rows: list[_Row] = []
    for n, (style, (name, found)) in enumerate(zip(_styles(comparison), comparison.evaluations.items(), strict=True)):
        label, order = as_title(name), 3 - min(n, 1)
        curves.plot(found.table.index, found.table["f1"], label=label, zorder=order, markersize=5, **style)
        rows.append((style, found))
    _draw_intervals(smallest, rows, [(found.f1[first], found.f1_interval[first]) for _, found in rows])
    _draw_intervals(average, rows, [(found.average_f1, found.average_f1_interval) for _, found in rows])
    smallest.set_yticks(range(len(rows)), [as_title(name) for name in comparison.evaluations], fontsize=9)
    average.set_yticks(range(len(rows)), [""] * len(rows))
    curves.set_title(
        f"{method.num_predicted} of {method.num_annotated} annotated videos predicted (coverage {method.coverage:.3f})",
        loc="left",
        fontsize=10,
    )
    smallest.set_title(f"F1 at {first:g}{unit}", loc="left", fontsize=10)
    average.set_title("average F1", loc="left", fontsize=10)
    bars = f"bars: {method.confidence:.0%} intervals over videos; " if method.average_f1_interval.exists else ""
    figure.supxlabel(
        f"{method.definition.name} F1; {bars}{method.boundaries_per_video:.1f} boundaries a video, a rater marks "
        f"{method.marks_per_video:.1f}",
        fontsize=9,
    )
    curves.set_xlabel(f"tolerance ({'seconds' if method.definition.absolute else 'part of the duration'})")
    curves.set_ylabel("F1")
    curves.set_ylim(0, 1)
    curves.grid(color="#DDDDDD", linewidth=0.6)
    curves.legend(loc="lower right", ncols=2, fontsize=8, framealpha=0.85, edgecolor="none")
    _quiet(curves)
    return _write(figure, path, COMPARISON)


_Row = tuple[dict[str, Any], Evaluation]


def _styles(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield colour, line and mark of every method: the first stands out, baselines are broken lines without marks."""
    baselines, methods = cycle(_BASELINES), cycle(_METHODS)
    for n, name in enumerate(comparison.evaluations):
        colour, line, mark, width = _BLUE, "-", "", 2.6
        if name == "human":
            colour, width = _BLACK, 1.4
        elif name == "clock" or name.startswith(("uniform-", "random-")):
            (colour, line), width = next(baselines), 1.4
        elif n > 0:
            (colour, mark), width = next(methods), 1.6
        yield {"color": colour, "linestyle": line, "marker": mark, "linewidth": width}


def _draw_intervals(axes: Axes, rows: Sequence[_Row], scores: Sequence[tuple[float, Interval]]) -> None:
    """Draw a row for every method, from the top: its score on its interval, in the colour of its curve."""
    for n, ((style, _), (score, interval)) in enumerate(zip(rows, scores, strict=True)):
        if interval.exists:
            axes.plot([interval.low, interval.high], [n, n], marker="|", color=style["color"], linewidth=2.0)
        broken = style["linestyle"] != "-"
        face = "white" if broken else style["color"]
        axes.plot([score], [n], style["marker"] or "o", color=style["color"], markerfacecolor=face, markersize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="both", labelsize=9)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    _quiet(axes)


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
