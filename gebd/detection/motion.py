"""Change of motion between neighbouring frames: of velocity along tracks, and of the confidence of matches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Maps = npt.NDArray[np.floating]

SIDE = 14  # cells of a coarse map; lengths are in these, so that they do not depend on the network's input
_STILL_CELLS = 0.15  # speeds below this are noise: of still pictures, 99 % of the cells move less than 0.1
_LEAST_CONFIDENCE = 0.02  # a change of confidence counts relative to its level, but not to less than this
_SEEN = 2  # pairs in which a track must be seen on either side, if the reach allows
_BLOCK = 600  # gaps whose tracks are in memory at a time


def coarse_maps(displacement: Maps, confidence: Maps, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return (K, 3, h, w) maps of at most about `SIDE` cells a side: displacement x and y, and confidence.

    displacement (K, 2, H, W) in cells of the network, confidence (K, 1, H, W), valid (K,): without a pair all is 0.
    Displacement becomes 1 / `SIDE` of the frame; cells are merged by mean, of displacement weighted by confidence.
    """
    height, width = displacement.shape[2:]
    rows, columns = max(1, height // SIDE), max(1, width // SIDE)
    scale = np.array([SIDE / width, SIDE / height], np.float32)[:, None, None]
    weight = confidence.astype(np.float32) * valid[:, None, None, None]
    weights = _merged(weight, rows, columns)
    weighted = _merged(displacement.astype(np.float32) * scale * weight, rows, columns)
    motion = np.divide(weighted, weights, out=np.zeros_like(weighted), where=weights > 0)
    return np.concatenate([motion, weights], axis=1)


def _merged(maps: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Average (K, C, H, W) over blocks of rows x columns; what is left over at the lower and right edge is dropped."""
    count, channels, height, width = maps.shape
    kept = maps[:, :, : height // rows * rows, : width // columns * columns]
    blocks = kept.reshape(count, channels, height // rows, rows, width // columns, columns)
    merged: npt.NDArray[np.float32] = blocks.mean(axis=(3, 5), dtype=np.float32)
    return merged


def velocity_change(maps: npt.NDArray[np.float32], reach: int) -> Float64Array:
    """Return (K,) how much the velocity along tracks changes at each pair, from 0 (not at all) to 1 (reverses).

    maps: as `coarse_maps` returns them. Tracks begin at every cell `reach` pairs before and follow the displacement
    until `reach` pairs after. Of each, the squared difference of the mean velocities before and after is divided by
    the square of their summed speeds; the result is the mean over tracks, weighted by the lower of the confidences on
    either side. The pair itself counts for neither side: it may lead across the change.
    """
    found = np.zeros(len(maps))
    for first in range(0, len(maps), _BLOCK):
        stop = min(first + _BLOCK, len(maps))
        found[first:stop] = _change(_tracked(maps, np.arange(first, stop), reach), reach)
    return found


def _tracked(maps: npt.NDArray[np.float32], pairs: npt.NDArray[np.int64], reach: int) -> npt.NDArray[np.float64]:
    """Return (2 reach + 1, 3, n, N): velocity x and y, and confidence (0 outside frame and video), of all N tracks."""
    height, width = maps.shape[2:]
    y, x = (np.tile(grid.ravel(), (len(pairs), 1)).astype(np.float64) for grid in np.mgrid[:height, :width])
    found = np.zeros((2 * reach + 1, 3, *y.shape))
    for step in range(2 * reach + 1):
        at = pairs - reach + step
        there = ((at >= 0) & (at < len(maps)))[:, None]
        inside = there & (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
        found[step] = np.where(inside, _sampled(maps, at.clip(0, len(maps) - 1), y, x), 0)
        x, y = x + found[step, 0], y + found[step, 1]
    return found


def _sampled(
    maps: npt.NDArray[np.float32], at: npt.NDArray[np.int64], y: Float64Array, x: Float64Array
) -> Float64Array:
    """Interpolate maps (K, 3, h, w) of the pairs `at` (n,) at points (n, N): (3, n, N)."""
    height, width = maps.shape[2:]
    y, x = y.clip(0, height - 1), x.clip(0, width - 1)
    top, left = y.astype(np.int64), x.astype(np.int64)
    low, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, along, rows = y - top, x - left, at[:, None]
    channels = maps.transpose(1, 0, 2, 3)
    upper = channels[:, rows, top, left] * (1 - along) + channels[:, rows, top, right] * along
    lower = channels[:, rows, low, left] * (1 - along) + channels[:, rows, low, right] * along
    found: Float64Array = upper * (1 - down) + lower * down
    return found


def _change(tracks: Float64Array, reach: int) -> Float64Array:
    """Return (n,) mean relative change of velocity, from what `_tracked` returns."""
    (before, trust_before), (after, trust_after) = (_side(part) for part in (tracks[:reach], tracks[reach + 1 :]))
    speeds = np.linalg.norm(before, axis=0) + np.linalg.norm(after, axis=0)
    change = np.sum((after - before) ** 2, axis=0) / (speeds**2 + _STILL_CELLS**2)
    weight = np.minimum(trust_before, trust_after)
    total = weight.sum(axis=1)
    mean: Float64Array = np.divide((weight * change).sum(axis=1), total, out=np.zeros(len(total)), where=total > 0)
    return mean


def _side(tracks: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the mean velocity (2, n, N) and the mean confidence (n, N), 0 where a track is seen too rarely."""
    confidence = tracks[:, 2]
    total, seen = confidence.sum(axis=0), (confidence > 0).sum(axis=0)
    velocity = (tracks[:, :2] * confidence[:, None]).sum(axis=0) / np.maximum(total, 1e-9)
    return velocity, np.where(seen >= min(_SEEN, len(tracks)), total / np.maximum(seen, 1), 0)


def confidence_change(maps: npt.NDArray[np.float32], reach: int) -> Float64Array:
    """Return (K,) the mean relative difference of confidence after and before each pair.

    Confidence is averaged over 3 x 3 cells, and over the up to `reach` pairs of either side by the median, so that a
    single pair without a match does not count; the pair itself counts for neither.
    """
    level = np.pad(maps[:, 2], ((0, 0), (1, 1), (1, 1)), mode="edge").astype(np.float64)
    height, width = maps.shape[2:]
    level = np.sum([level[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0) / 9
    found = np.zeros(len(maps))
    for pair, before, after in _sides(level, reach):
        found[pair] = np.mean(np.abs(after - before) / ((before + after) / 2 + _LEAST_CONFIDENCE))
    return found


def match_loss(maps: npt.NDArray[np.float32], reach: int) -> Float64Array:
    """Return (K,) the share of the frame's mean confidence that a pair lacks beside the up to `reach` on either side.

    Only a pair that matches worse than both sides loses: the frames of a cut do not match, those around it do.
    """
    level = maps[:, 2].mean(axis=(1, 2), dtype=np.float64)
    found = np.zeros(len(maps))
    for pair, before, after in _sides(level, reach):
        usual = float(min(before, after))
        found[pair] = max(usual - float(level[pair]), 0.0) / (usual + _LEAST_CONFIDENCE)
    return found


def _sides(values: Float64Array, reach: int) -> Iterator[tuple[int, Float64Array, Float64Array]]:
    """Yield each row that has some on both sides, with the medians of up to `reach` rows before it and after it."""
    for row in range(1, len(values) - 1):
        before, after = values[max(0, row - reach) : row], values[row + 1 : row + 1 + reach]
        yield row, np.median(before, axis=0), np.median(after, axis=0)
