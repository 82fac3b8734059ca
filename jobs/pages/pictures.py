"""Pictures of a stored video: its frames, and their displacement and confidence, each as one sheet of many."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from extractor.video.frames import frames_at
from extractor.video.objects.addresses import Place, joined
from jobs.pages.scripts import data_uri, numbers, shown
from jobs.pages.tracks import TrackReader, VideoTracks
from schemas.errors import InventoryError, MSNetError, UsageError
from schemas.records import FileJob, Item, is_address
from training.evaluation.picture import direction_colours, round_up

MOST_FRAMES = 100
"""Frames shown of a video, spread evenly over those that are stored."""

_SIDE_PX = 160
_COLUMNS = 10  # of a sheet
_JPEG_QUALITY = 78
_WHEEL_PX = 161
_FARTHEST_PX = 1e5  # of a displacement that no damage has touched
_EXPONENT = 0.5  # of saturation: most motion of a video is a tenth of its fastest, and would be nearly white


def require_pictures() -> None:
    """Raise UsageError where the libraries for pictures are missing."""
    try:
        import matplotlib  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "expected matplotlib and Pillow for pictures; got neither or one. Run pip install 'msnet-features[plot]'"
        ) from error


class PictureMaker:
    """Makes the pictures of videos of a store. inventory: rows by video_id. root: where the dataset is now."""

    def __init__(self, tracks: TrackReader, inventory: pd.DataFrame, root: Place) -> None:
        self._tracks = tracks
        self._inventory = inventory
        self._root = root

    def pictures(self, number: int, video_id: str, found: VideoTracks) -> dict[str, Any]:
        """Pictures of a video as the page takes them; where it cannot be decoded, no frames but the reason."""
        chosen = _spread(len(found.frame_seconds), MOST_FRAMES)
        pairs, times = found.pair_row[chosen], found.frame_seconds[chosen]
        first = self._tracks.store.manifest_rows(self._tracks.store.video_clips(video_id)[:1]).iloc[0]
        aspect = float(first["scale_x"] / first["scale_y"])
        if math.isfinite(float(first["pixel_aspect"])):
            aspect *= float(first["pixel_aspect"])
        content: dict[str, Any] = {
            "times": numbers(times - self._tracks.videos.start_seconds[number], 3),
            "columns": _COLUMNS,
            "aspect": round(min(max(aspect, 0.1), 10.0), 4) if math.isfinite(aspect) else 1,
            "side": _SIDE_PX,
            "frames": None,
            "missing": None,
            "pairs": [bool(pair >= 0) for pair in pairs],
        }
        try:
            content["frames"] = self._frames(video_id, times)
        except (MSNetError, OSError) as error:
            content["missing"] = shown(error)
        if self._tracks.has_motion and (pairs >= 0).any():
            scale = np.array([first["scale_x"], first["scale_y"]]) * FEATURE_STRIDE_PX
            content.update(self._maps(number, pairs, scale if np.isfinite(scale).all() else np.ones(2)))
        return content

    def _frames(self, video_id: str, times: npt.NDArray[np.float64]) -> str:
        if video_id not in self._inventory.index:
            raise InventoryError(f"expected the path of {video_id}; this store was copied without its inventory")
        row = self._inventory.loc[video_id]
        path = joined(self._root, str(row["path"]))
        if not is_address(path) and not Path(path).exists():
            raise InventoryError(f"expected {video_id} at {path}; it is missing. Give --videos")
        start, end, fps = (_known(row[name]) for name in ("start_seconds", "end_seconds", "fps"))
        if end is not None and end <= (start or 0.0):  # as the store itself reads it: no end
            end = None
        size = (
            int(_known(row["bytes"]) or 0) or None
        )  # a file of another size was replaced; times are often lost in copies
        job = FileJob(path, (Item(video_id, start, end),), size, fps=fps)
        config = self._tracks.store.config.model_copy(update={"size": _SIDE_PX})
        return _jpeg(sheet(frames_at(job, config, times)[0]))

    def _maps(self, number: int, pairs: npt.NDArray[np.int64], scale: npt.NDArray[np.float64]) -> dict[str, Any]:
        """Sheets of displacement and confidence. scale: (2,) pixels of the original to a cell, along x and y."""
        there = pairs >= 0
        unique, back = np.unique(pairs[there], return_inverse=True)
        displacement, confidence = (maps[back] for maps in self._tracks.maps(number, unique))
        moved = np.nan_to_num(displacement * scale.reshape(1, 2, 1, 1)).clip(-_FARTHEST_PX, _FARTHEST_PX)
        confidence = np.nan_to_num(confidence)
        usual = np.quantile(np.hypot(moved[:, 0], moved[:, 1]), 0.95, axis=(1, 2))  # without cells that match nothing
        largest = round_up(max(1.0, float(np.quantile(usual, 0.75))))  # cuts, where all is random, set no scale
        lowest, highest = (float(np.quantile(confidence, share)) for share in (0.01, 0.99))
        colours = direction_colours(np.moveaxis(moved, 1, 0), largest, _EXPONENT)
        cells = confidence.shape[1:]
        blank = np.full((len(pairs), *cells, 3), 255, np.uint8)
        sheets = {}
        for name, pictures in (("displacement", colours), ("confidence", _viridis(confidence, lowest, highest))):
            full = blank.copy()
            full[there] = np.round(255 * pictures)
            sheets[name] = _png(sheet(full))
        return {**sheets, "cells": list(cells), "largest_px": largest, "trust": numbers([lowest, highest], 3)}


def legends() -> dict[str, str]:
    """The colour wheel of displacement, and the colours of confidence from low to high, as images."""
    side = np.linspace(-1, 1, _WHEEL_PX)
    x, y = np.meshgrid(side, side)
    colours = direction_colours(np.stack((x, y)), 1.0, _EXPONENT)
    disc = np.dstack((colours, np.clip((1 - np.hypot(x, y)) * _WHEEL_PX / 2, 0, 1)))
    strip = _viridis(np.linspace(0, 1, 64)[None], 0, 1)
    return {"wheel": _png(np.round(255 * disc).astype(np.uint8)), "trust": _png(np.round(255 * strip).astype(np.uint8))}


def sheet(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pictures (n, h, w, 3) as one (rows h, _COLUMNS w, 3), line by line; the rest of the last line is white."""
    count, height, width, channels = pictures.shape
    lines = max(1, -(-count // _COLUMNS))
    full = np.full((lines * _COLUMNS, height, width, channels), 255, np.uint8)
    full[:count] = pictures
    whole: npt.NDArray[np.uint8] = (
        full.reshape(lines, _COLUMNS, height, width, channels)
        .transpose(0, 2, 1, 3, 4)
        .reshape(lines * height, _COLUMNS * width, channels)
    )
    return whole


def without_old_copies(inventory: pd.DataFrame) -> pd.DataFrame:
    """Rows of the inventory by video_id; of a video that was planned again, the last one."""
    return inventory.drop_duplicates("video_id", keep="last").set_index("video_id")


def _known(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most so many of the numbers below `count`, evenly spaced, the first and the last among them."""
    if count <= most:
        return np.arange(count)
    return np.round(np.linspace(0, count - 1, most)).astype(np.int64)


def _viridis(values: npt.NDArray[Any], lowest: float, highest: float) -> npt.NDArray[Any]:
    from matplotlib import colormaps

    colours: npt.NDArray[Any] = colormaps["viridis"]((values - lowest) / max(highest - lowest, 1e-6))[..., :3]
    return colours


def _jpeg(pixels: npt.NDArray[np.uint8]) -> str:
    return _encoded(pixels, "jpeg", quality=_JPEG_QUALITY)


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    return _encoded(pixels, "png", optimize=True)


def _encoded(pixels: npt.NDArray[np.uint8], kind: str, **options: Any) -> str:
    from PIL import Image

    data = BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data_uri(kind, data.getvalue())
