"""Scores of whole videos while backbone and head learn, as prediction from a store would find them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gebd.annotations.records import VideoAnnotation
from gebd.dataset.index import Boundaries, SampledVideo
from gebd.dataset.samples import Sample, collate
from gebd.dataset.stitching import stitch
from gebd.heads.config import HeadConfig
from gebd.heads.loss import balanced_loss
from gebd.heads.networks.base import Head
from gebd.metric.tracks import Track
from jobs.finetuning.stretches import played_samples

_PAIRS = ("displacement", "confidence")


def score_video(
    head: Head,
    rows: Mapping[str, Tensor],
    own_seconds: npt.NDArray[np.float64],
    annotation: VideoAnnotation,
    config: HeadConfig,
    class_weights: Tensor,
) -> tuple[Track, Tensor]:
    """Probabilities over time of one video, and (sum of losses, number of samples) over its windows.

    rows: what the head takes, by frame (n, ...) or pair (n - 1, ...). own_seconds: (n,) of the frames.
    """
    samples = played_samples(own_seconds, config.rate_hz, config.window_seconds, config.hop_seconds)
    boundaries = Boundaries([annotation], config.label_sigma_seconds, config.raters)
    windows = [_window(number, samples, rows, annotation, boundaries) for number in range(len(samples.slices[0]))]
    scored, totals = [], torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(windows), config.batch_windows):
        batch = collate(windows[start : start + config.batch_windows])
        on_device = batch.to(head.device)
        with torch.no_grad():
            logits = head(on_device.tensors, on_device.valid).cpu()
        assert batch.target_soft is not None
        loss, count = balanced_loss(logits, batch.target_soft, batch.valid, class_weights)
        totals += torch.stack([loss.double(), count.double()])
        scored.append((batch, logits.sigmoid()))
    return stitch(scored)[annotation.video_id], totals


def _window(
    number: int,
    samples: SampledVideo,
    rows: Mapping[str, Tensor],
    annotation: VideoAnnotation,
    boundaries: Boundaries,
) -> Sample:
    start, first, stop = (part[number] for part in samples.slices)
    part = slice(int(first), int(stop))
    times = samples.time_seconds[part]
    pairs = samples.pair_row[part]
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, values in rows.items():
        array = values.numpy()
        tensors[name] = array[np.maximum(pairs, 0)] if name in _PAIRS else array[samples.frame_row[part]]
        if name in _PAIRS:
            tensors[name][pairs < 0] = 0
    soft, hard, of_raters = boundaries.targets(0, times)
    return Sample(
        tensors=tensors,
        valid=samples.valid[part],
        time_seconds=times,
        pair_valid=samples.pair_valid[part],
        target_hard=hard,
        target_soft=soft,
        rater_targets=of_raters,
        rater_times=None,
        duration_seconds=annotation.duration_seconds,
        fps=np.nan,
        video_id=annotation.video_id,
        slice_start_seconds=float(start),
    )
