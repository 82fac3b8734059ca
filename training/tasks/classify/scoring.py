"""Scores of a network on videos: the mean of its logits over clips and crops, as the paper tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet
from schemas.records import Failure
from training.clips.config import ClipSettings
from training.clips.loader import evaluation_clips
from training.clips.records import Example
from training.config import TrainingPrecision
from training.evaluation.passes import evaluating
from training.precision import autocast


def score_videos(
    network: MSNet,
    examples: Sequence[Example],
    settings: ClipSettings,
    *,
    num_frames: int,
    clips: int = 1,
    crops: int = 1,
    precision: TrainingPrecision = TrainingPrecision.FLOAT32,
    videos_at_a_time: int = 8,
    workers: int = 0,
) -> Iterator[tuple[int, Tensor | Failure]]:
    """For each example its number and its logits (classes,), float32 on the CPU, or why it cannot be decoded.

    Logits are averaged over `clips` evenly spread clips and `crops` crops (1: the centre, 3: along the longer side) of
    each. videos_at_a_time: views in one pass of the network.
    """
    waiting: list[tuple[int, Tensor]] = []
    views = clips * crops
    least = max(1, videos_at_a_time // views)
    found = evaluation_clips(examples, settings, num_frames=num_frames, clips=clips, crops=crops, workers=workers)
    for number, frames in found:
        if isinstance(frames, Failure):
            yield number, frames
            continue
        waiting.append((number, frames))
        if len(waiting) >= least:
            yield from _scored(network, waiting, precision)
            waiting.clear()
    if waiting:
        yield from _scored(network, waiting, precision)


def _scored(
    network: MSNet, videos: Sequence[tuple[int, Tensor]], precision: TrainingPrecision
) -> Iterator[tuple[int, Tensor]]:
    frames = torch.cat([frames for _, frames in videos])  # (N * V, T, S, S, 3)
    with torch.no_grad(), evaluating(network), autocast(precision, network.device):
        logits = network(normalize(frames.to(network.device))).logits
    per_video = torch.unflatten(logits.float().cpu(), 0, (len(videos), -1)).mean(1)
    yield from ((number, scores) for (number, _), scores in zip(videos, per_video, strict=True))


def ranks(scores: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many other classes are at least as likely as the own one (N,), from scores (N, classes) and labels (N,).

    A network that says the same of all classes, or no number at all, is so right of none.
    """
    own = np.take_along_axis(scores, labels[:, None], 1)
    found: npt.NDArray[np.int64] = (~(scores < own)).sum(1) - 1
    return found
