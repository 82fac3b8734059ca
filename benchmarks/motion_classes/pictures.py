"""The two pictures: accuracy against the speed of motion, and against clips a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure  # not pyplot, which looks for a display

from benchmarks.motion_classes.motions import CLASSES
from benchmarks.motion_classes.results import Accuracy, SpeedBin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, distinguishable for the colour-blind; marks and lines differ as well.
_STYLES = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#777777", "^", ":"),
    ("#009E73", "D", "--"),
    ("#CC79A7", "v", "-."),
    ("#000000", "P", ":"),
)
_CHANCE = 1 / len(CLASSES)


def draw_speed_of_motion(bins: Sequence[SpeedBin], methods: Sequence[str], path: Path) -> None:
    """Draw top-1 against the speed of motion, with 95 % intervals over videos, as PNG."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for n, (name, (colour, mark, line)) in enumerate(zip(methods, cycle(_STYLES), strict=False)):
        shift = 0.06 * (n - (len(methods) - 1) / 2)  # beside one another, or the intervals hide each other
        places = [place + shift for place in range(len(bins))]
        top1 = [found.top1[name][0] for found in bins]
        ends = [found.top1[name][1] for found in bins]
        below = [max(0.0, value - end.low) if end.exists else 0.0 for value, end in zip(top1, ends, strict=True)]
        above = [max(0.0, end.high - value) if end.exists else 0.0 for value, end in zip(top1, ends, strict=True)]
        axes.errorbar(
            places, top1, yerr=[below, above], color=colour, marker=mark, linestyle=line, label=name, capsize=2
        )
    labels = [f"{found.low:g} to {found.high:g}\n{found.videos} videos" for found in bins]
    axes.set_xticks(range(len(bins)), labels, fontsize=8)
    axes.set_xlabel("speed: cells of 8 px from one sampled frame to the next", fontsize=9)
    _finish(axes)
    figure.legend(loc="outside upper center", ncols=len(methods), fontsize=8, edgecolor="none")
    figure.savefig(path, format="png", dpi=110)


def draw_clips_a_second(methods: Mapping[str, Accuracy], clips_a_second: Mapping[str, float], path: Path) -> None:
    """Draw top-1 against clips a second, with 95 % intervals over videos, as PNG."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, found), (colour, mark, _) in zip(methods.items(), cycle(_STYLES), strict=False):
        rate = clips_a_second[name]
        if found.interval.exists:
            axes.plot([rate, rate], [found.interval.low, found.interval.high], color=colour, linewidth=1.6)
        axes.plot([rate], [found.mean], mark, color=colour, markersize=8, label=name)
    axes.set_xlim(0, 1.3 * max(clips_a_second[name] for name in methods))
    axes.set_xlabel("clips a second on the CPU, optical flow included, decoding not", fontsize=9)
    _finish(axes)
    figure.legend(loc="outside upper center", ncols=len(methods), fontsize=8, edgecolor="none")
    figure.savefig(path, format="png", dpi=110)


def _finish(axes: Axes) -> None:
    axes.axhline(_CHANCE, color="#777777", linewidth=0.8, linestyle=(0, (1, 2)))
    axes.annotate("chance", (1.0, _CHANCE), xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="bottom")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("top-1 accuracy", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
