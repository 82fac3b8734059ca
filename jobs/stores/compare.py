"""Whether two stores hold the same features, regardless of their shards, devices and histories.

Ids, row counts, times and the geometry of videos must be equal. Tensors are compared clip by clip. If either store
keeps float16, every |a - b| is first reduced by the distance between neighbouring float16 numbers at max(|a|, |b|).
The norm of the difference over the clip may be 1e-4 of the larger norm of the two clips. Displacement of cells whose
correlation is tied in either store is left out and counted: rounding decides the match of such a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.store.reader import FeatureStore
from schemas.config import StorageFloat
from schemas.tensors import TENSORS

Array = npt.NDArray[Any]

RELATIVE_NORM = 1e-4
_MAX_DIFFERENCES = 20
_SMALLEST = 2.0**-24  # of float16, above zero
_BLOCK_VALUES = 1024 * 1024
_EXACT = ("time_seconds", "index", "valid", "frame_member", "pair_member")
_RANGES = ("frame_start", "frame_stop", "pair_start", "pair_stop")  # counted from the video's first row
_SAME_ROWS = ("clip_number", *_RANGES)
_MANIFEST_EXACT = (
    *_SAME_ROWS,
    "start_seconds",
    "end_seconds",
    "num_valid_frames",
    "fps",
    "video_start_seconds",
    "video_end_seconds",
    "width",
    "height",
    "pixel_aspect",
    "scale_x",
    "scale_y",
    "offset_x",
    "offset_y",
    "rate_capped",
    "times_made_up",
)


@dataclass
class _Tally:
    differences: list[str] = field(default_factory=list)
    more: int = 0
    clips: int = 0
    tied_cells: int = 0
    worst: dict[str, float] = field(default_factory=dict)

    def differ(self, sentence: str) -> None:
        if len(self.differences) < _MAX_DIFFERENCES:
            self.differences.append(sentence)
        else:
            self.more += 1


@dataclass(frozen=True)
class _Pair:
    """Both stores, their manifests' columns, the tensors to compare, and whether either keeps float16."""

    stores: tuple[FeatureStore, FeatureStore]
    tables: tuple[dict[str, Array], dict[str, Array]]
    tensors: tuple[str, ...]
    half: bool


@dataclass(frozen=True)
class CompareReport:
    """What differs between two stores.

    differences: the first twenty, as sentences. more: how many others there are. clips: number of compared clips.
    tied_cells: number of displacement cells left out. worst: by tensor, the largest difference beyond a float16 step as
    a share of a clip's norm. configurations: both values of every field that differs, which is no difference of
    features.
    """

    differences: tuple[str, ...]
    more: int
    clips: int
    tied_cells: int
    worst: dict[str, float]
    configurations: dict[str, tuple[Any, Any]]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def compare_stores(a: Path, b: Path, *, progress: Callable[[int, int], None] | None = None) -> CompareReport:
    """Compare the content of two stores, a block of rows at a time. Raises StoreError if one cannot be read.

    `progress(done, total)` is called after every video.
    """
    tally = _Tally()
    first, second = FeatureStore(a), FeatureStore(b)
    _compare_names(first, second, tally)
    _compare_failures(first, second, tally)
    pair = _pair_of(first, second, tally)
    others = set(second.video_ids)
    for done, video_id in enumerate(first.video_ids, start=1):
        if video_id in others:
            _compare_video(pair, video_id, tally)
        if progress is not None:
            progress(done, len(first.video_ids))
    first.close()
    second.close()
    made = first.config.differences(second.config)
    return CompareReport(tuple(tally.differences), tally.more, tally.clips, tally.tied_cells, tally.worst, made)


def _pair_of(a: FeatureStore, b: FeatureStore, tally: _Tally) -> _Pair:
    names = [name for name in a.tensors if name in b.tensors]
    shapes = {name: [store.row_shape(name) for store in (a, b)] for name in names}
    for name, (mine, theirs) in shapes.items():
        if mine != theirs:
            tally.differ(f"{name} has rows of {mine} in the first store, of {theirs} in the second")
    return _Pair(
        stores=(a, b),
        tables=(_columns(a), _columns(b)),
        tensors=tuple(name for name in names if shapes[name][0] == shapes[name][1]),
        half=StorageFloat.FLOAT16 in (a.config.store_dtype, b.config.store_dtype),
    )


def _columns(store: FeatureStore) -> dict[str, Array]:
    """Columns of the manifest that must be equal."""
    table = store.manifest
    firsts = table.groupby("video_id", sort=False)[["frame_start", "pair_start"]].transform("first")
    columns = {name: table[name].to_numpy() for name in _MANIFEST_EXACT}
    return columns | {name: (table[name] - firsts[f"{name.split('_')[0]}_start"]).to_numpy() for name in _RANGES}


def _compare_names(a: FeatureStore, b: FeatureStore, tally: _Tally) -> None:
    for what, mine, theirs in (("tensor", a.tensors, b.tensors), ("video", a.video_ids, b.video_ids)):
        for name in sorted(set(mine) ^ set(theirs)):
            where = "first" if name in mine else "second"
            tally.differ(f"{what} {name!r} is in the {where} store only")


def _compare_failures(a: FeatureStore, b: FeatureStore, tally: _Tally) -> None:
    mine, theirs = (dict(zip(s.failures["video_id"], s.failures["failure"], strict=True)) for s in (a, b))
    for video_id in sorted(mine.keys() | theirs.keys()):
        classes = mine.get(video_id), theirs.get(video_id)
        if classes[0] != classes[1]:
            fates = [f"failed as {failure}" if failure else "did not fail" for failure in classes]
            tally.differ(f"{video_id!r} {fates[0]} in the first store and {fates[1]} in the second")


def _compare_video(pair: _Pair, video_id: str, tally: _Tally) -> None:
    mine, theirs = (store.video_clips(video_id) for store in pair.stores)
    left, right = (
        {name: column[clips.start : clips.stop] for name, column in table.items()}
        for table, clips in zip(pair.tables, (mine, theirs), strict=True)
    )
    differing = [name for name in _MANIFEST_EXACT if not _equal(left[name], right[name])]
    rows = [name for name in differing if name in _SAME_ROWS]
    if differing:  # with other clips no other column can be equal
        tally.differ(f"{video_id!r} {'is cut into other clips' if rows else 'differs in ' + ', '.join(differing)}")
    if rows:
        return
    tally.clips += len(mine)
    for name in pair.tensors:
        level = TENSORS[name].level
        if name in _EXACT:
            if not all(np.array_equal(x, y) for x, y in _blocks(pair, name, mine, theirs)):
                tally.differ(f"{video_id!r}: {name} differs")
        elif name != "tied":
            if level == "clips":
                starts, stops = np.arange(len(mine)), np.arange(1, len(mine) + 1)
            else:
                starts, stops = left[f"{level[:-1]}_start"], left[f"{level[:-1]}_stop"]
            shares = _excess(pair, name, mine, theirs, (starts, stops), tally)
            tally.worst[name] = max(tally.worst.get(name, 0.0), float(shares.max()))
            beyond = np.flatnonzero(~(shares <= RELATIVE_NORM))
            if len(beyond):
                first = left["clip_number"][beyond[0]]
                which = f"clip {first}" if len(beyond) == 1 else f"{len(beyond)} of {len(mine)} clips"
                tally.differ(
                    f"{video_id!r}: {name} differs in {which}, by {'up to ' * (len(beyond) > 1)}"
                    f"{shares[beyond].max():.2g} of its norm beyond a float16 step"
                )


def _equal(x: Array, y: Array) -> bool:
    return np.array_equal(x, y, equal_nan=x.dtype.kind == "f")


def _blocks(pair: _Pair, name: str, mine: range, theirs: range, like: str = "") -> Iterator[tuple[Array, Array]]:
    """Blocks of equally many rows of both stores, as large as those of the tensor `like` (default: `name`)."""
    a, b = pair.stores
    inner = int(np.prod(a.shape(like or name, mine)[1:], dtype=np.int64))
    rows = max(1, _BLOCK_VALUES // inner)
    return zip(a.blocks(name, mine, rows), b.blocks(name, theirs, rows), strict=True)


def _excess(pair: _Pair, name: str, mine: range, theirs: range, ranges: tuple[Array, Array], tally: _Tally) -> Array:
    """Norm of |a - b| beyond a float16 step, as a share of the larger norm, for each clip with rows `ranges`."""
    squares: list[Array] = []  # (3, rows): of the gap, of a, of b
    leave_out = name == "displacement"
    ties = _blocks(pair, "tied", mine, theirs, like=name) if leave_out else repeat((None, None))
    for (x, y), (tied, also_tied) in zip(_blocks(pair, name, mine, theirs), ties, strict=leave_out):
        x, y = x.astype(np.float64), y.astype(np.float64)
        if tied is not None and also_tied is not None:
            keep = ~(tied | also_tied)[:, None]  # (k, 1, h, w) against (k, 2, h, w)
            tally.tied_cells += int(np.count_nonzero(~keep))
            x, y = x * keep, y * keep
        gap = np.abs(x - y)
        if pair.half:
            gap = np.maximum(0.0, gap - float16_step(np.maximum(np.abs(x), np.abs(y))))
        flat = [values.reshape(len(values), -1) for values in (gap, x, y)]
        squares.append(np.stack([np.einsum("ij,ij->i", values, values) for values in flat]))
    edges = np.stack(ranges, axis=1).ravel()  # every second sum is of a clip, the others of gaps or overlaps
    sums = np.add.reduceat(np.concatenate([*squares, np.zeros((3, 1))], axis=1), edges, axis=1)[:, ::2]
    norms = np.maximum(sums[1], sums[2])
    shares: Array = np.sqrt(np.divide(sums[0], norms, out=np.zeros_like(norms), where=norms > 0))
    return shares


def float16_step(magnitude: Array) -> Array:
    """Distance between neighbouring float16 numbers at a magnitude: 2^-10 of its power of two, at least 2^-24."""
    _, exponent = np.frexp(np.maximum(magnitude, _SMALLEST))  # the exponent of 0 would be 0
    return np.asarray(np.ldexp(1.0, np.maximum(exponent - 11, -24)))
