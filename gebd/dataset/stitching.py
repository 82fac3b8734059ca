"""Combine the scores of slices into one track per video."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gebd.annotations.values import shown
from gebd.dataset.samples import Batch, Sample
from gebd.metric.tracks import Track
from schemas.errors import UsageError

Float64Array = npt.NDArray[np.float64]


def stitch(scored: Iterable[tuple[Batch | Sample, Tensor | npt.NDArray[np.floating]]]) -> dict[str, Track]:
    """Return one track per video from batches with scores (B, T), or samples with scores (T,), in any order.

    Where slices overlap, scores at the same time are averaged. Samples that are not valid (padding, damage, holes) have
    no score; a video without any valid sample has an empty track. Raises UsageError if shapes differ or a score is not
    finite.
    """
    parts: dict[str, list[tuple[Float64Array, Float64Array]]] = {}
    for slices, scores in scored:
        valid, times = np.atleast_2d(np.asarray(slices.valid)), np.atleast_2d(np.asarray(slices.time_seconds))
        values = scores.detach().cpu().double().numpy() if isinstance(scores, Tensor) else np.asarray(scores, float)
        values = np.atleast_2d(values)
        ids = slices.video_id if isinstance(slices.video_id, tuple) else (slices.video_id,)
        if values.shape != valid.shape:
            raise UsageError(f"expected scores of shape {valid.shape}; got {values.shape}. Score every sample")
        for name, there, at, value in zip(ids, valid, times, values, strict=True):
            if not np.isfinite(value[there]).all():
                raise UsageError(
                    f"scores of {shown(name)}: expected finite numbers; got NaN or infinity. Check the head"
                )
            parts.setdefault(name, []).append((at[there], value[there]))
    return {name: _averaged(found) for name, found in parts.items()}


def _averaged(parts: list[tuple[Float64Array, Float64Array]]) -> Track:
    times, inverse = np.unique(np.concatenate([at for at, _ in parts]), return_inverse=True)
    sums = np.bincount(inverse, np.concatenate([value for _, value in parts]), minlength=len(times))
    return Track(times, sums / np.bincount(inverse, minlength=len(times)))
