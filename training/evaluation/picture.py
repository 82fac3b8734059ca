"""Pictures of a network's output: frames with displacement and confidence beside them. Requires matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from extractor.store.disk.atomic import write_bytes
from schemas.errors import UsageError
from schemas.escaping import as_title
from schemas.records import PixelGrid
from schemas.seals import sealed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOMENTS = "moments"
"""The seal (schemas.seals) of a picture."""

_WIDTH_INCHES = 9.6
_LEGEND = 0.26  # height of the last row, in widths of a column
_WHEEL_PX = 161

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame (size, size, 3) uint8 with its displacement (2, h, w) to the next frame, in cells, and confidence (h, w).

    `grid` maps them to the original video; `interval_seconds` is the time from this frame to the next.
    """

    title: str
    frame: npt.NDArray[np.uint8]
    displacement: FloatArray
    confidence: FloatArray
    grid: PixelGrid
    interval_seconds: float

    @property
    def width(self) -> float:
        """Width of the visible area, in pixels of the original."""
        return float(self.frame.shape[1] * self.grid.scale_x)

    @property
    def height(self) -> float:
        """Height of the visible area, in pixels of the original."""
        return float(self.frame.shape[0] * self.grid.scale_y)

    @property
    def displacement_px(self) -> FloatArray:
        """Displacement (2, h, w) in pixels of the original."""
        scale = np.array([self.grid.scale_x, self.grid.scale_y]).reshape(2, 1, 1)
        moved: FloatArray = self.displacement * FEATURE_STRIDE_PX * scale
        return moved


def direction_colours(displacement: FloatArray, largest: float, exponent: float = 1.0) -> FloatArray:
    """(2, ...) to RGB (..., 3) in [0, 1]: hue shows the direction, saturation the length; no motion is white.

    Right is red and hues continue clockwise, as on the wheel in the picture. Lengths from `largest` on are saturated;
    shorter ones as a power of their share of it, so that an exponent below 1 shows small motions beside large ones.
    """
    from matplotlib.colors import hsv_to_rgb

    x, y = displacement
    hue = (np.arctan2(y, x) / (2 * math.pi)) % 1.0
    saturation = np.clip(np.hypot(x, y) / largest, 0, 1) ** exponent
    colours: FloatArray = hsv_to_rgb(np.stack((hue, saturation, np.ones_like(hue)), -1))
    return colours


def round_up(value: float) -> float:
    """Round up to one of ..., 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, ...: the maximum of a legend.

    >>> [round_up(value) for value in (0.6, 1.0, 12.5)]
    [0.7, 1.0, 15.0]
    """
    power = 10.0 ** math.floor(math.log10(value))
    return next(round(step * power, 9) for step in (1, 1.5, 2, 3, 5, 7, 10) if value <= step * power * (1 + 1e-9))


def draw_moments(moments: Sequence[Moment], path: Path, caption: str = "") -> None:
    """Draw a PNG with one row per moment: frame, displacement by the colour wheel, confidence. All rows share a scale.

    `caption` stands below the frames. Raises UsageError where matplotlib is missing, the name does not end in .png, or
    the folder does not exist.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"expected a name that ends in .png; got {path.name}. Change the ending")
    figure = new_figure()
    largest = round_up(max(1.0, *(float(np.quantile(np.hypot(*m.displacement_px), 0.99)) for m in moments)))
    trust = np.concatenate([m.confidence.ravel() for m in moments])
    lowest, highest = math.floor(20 * np.quantile(trust, 0.01)) / 20, math.ceil(20 * np.quantile(trust, 0.99)) / 20
    ratios = [moment.height / moment.width for moment in moments]
    column = _WIDTH_INCHES / 3
    figure.set_figheight(column * (sum(ratios) + _LEGEND) + 0.25 * (len(moments) + 1))
    axes = figure.subplots(len(moments) + 1, 3, squeeze=False, height_ratios=[*ratios, _LEGEND])
    for row, moment in zip(axes, moments, strict=False):
        shown = (moment.frame, direction_colours(moment.displacement_px, largest), moment.confidence)
        titles = (as_title(moment.title), f"displacement in {moment.interval_seconds:.2f} s", "confidence")
        for axis, picture, title in zip(row, shown, titles, strict=True):
            _show(axis, picture, moment, (lowest, highest))
            axis.set_title(title, loc="left", fontsize=9)
    below, wheel, bar = axes[-1]
    below.text(
        0, 1, "\n".join(map(as_title, caption.split("\n"))), transform=below.transAxes, fontsize=8, va="top", wrap=True
    )
    below.set_axis_off()
    _draw_wheel(wheel, largest)
    bar.set_axis_off()
    scale = figure.colorbar(axes[0, 2].images[0], cax=bar.inset_axes((0, 0.72, 1, 0.18)), orientation="horizontal")
    scale.ax.tick_params(labelsize=8)
    write_figure(figure, path, MOMENTS)


def _show(axis: Axes, picture: npt.NDArray[Any], moment: Moment, trust: tuple[float, float]) -> None:
    """Show a picture in the original's aspect ratio, cells without smoothing, confidence on the range `trust`."""
    extent = (0.0, moment.width, moment.height, 0.0)
    limits = {"vmin": trust[0], "vmax": trust[1], "cmap": "viridis"} if picture.ndim == 2 else {}
    smooth = "antialiased" if picture.dtype == np.uint8 else "nearest"
    axis.imshow(picture, extent=extent, interpolation=smooth, **limits)  # type: ignore[arg-type]
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(color="#BBBBBB", linewidth=0.6)  # no motion is white, as the page is


def _draw_wheel(axis: Axes, largest: float) -> None:
    side = np.linspace(-1, 1, _WHEEL_PX)
    x, y = np.meshgrid(side, side)
    colours = direction_colours(np.stack((x, y)), 1.0)
    disc = np.dstack((colours, np.clip((1 - np.hypot(x, y)) * _WHEEL_PX / 2, 0, 1)))  # with an antialiased edge
    axis.imshow(disc, extent=(-1, 1, 1, -1))
    axis.text(1.25, 0, f"edge: {largest:g} px", fontsize=8, va="center")
    axis.set_axis_off()


def new_figure() -> Figure:
    """An empty figure. Raises UsageError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure  # not pyplot, which would look for a display
    except ImportError as error:
        raise UsageError(
            "expected matplotlib for pictures; it is not installed. Run pip install 'msnet-features[plot]'"
        ) from error
    return Figure(figsize=(_WIDTH_INCHES, 1), layout="constrained")


def write_figure(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as a sealed PNG. Raises UsageError where the folder does not exist."""
    data = BytesIO()
    figure.savefig(data, format="png", dpi=110)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"expected an existing folder; got {path.parent}, which does not exist. Create it first")
    write_bytes(path, sealed(data.getvalue(), kind))
