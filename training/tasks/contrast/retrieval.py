"""How well features tell held-out videos apart: whether the end of a video is found by its beginning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet
from schemas.records import Failure
from training.clips.config import ClipSampling, ClipSettings
from training.clips.loader import evaluation_clips
from training.clips.records import Example
from training.config import TrainingPrecision
from training.evaluation.passes import evaluating
from training.precision import autocast
from training.tasks.contrast.config import ViewSettings
from training.tasks.contrast.queue import spread


def ends_of_videos(
    network: MSNet,
    examples: Sequence[Example],
    views: ViewSettings,
    *,
    num_frames: int,
    precision: TrainingPrecision,
    videos_at_a_time: int,
    workers: int,
) -> dict[str, Tensor | Failure]:
    """By id the clip features (2, D), float32 on the CPU, of the first and the last stretch of each video, or why none.

    A stretch has `num_frames` frames at the stride of the views; the two overlap where the video is too short.
    """
    settings = ClipSettings(
        sampling=ClipSampling.DENSE, size_px=views.size_px, dense_span=num_frames * views.frame_stride
    )
    found: dict[str, Tensor | Failure] = {}
    waiting: dict[str, Tensor] = {}

    def embed() -> None:
        with torch.no_grad(), evaluating(network), autocast(precision, network.device):
            frames = normalize(torch.cat(list(waiting.values())).to(network.device))
            features = network(frames).clip_features.float().cpu()
        found.update(zip(waiting, torch.split(features, 2), strict=True))
        waiting.clear()

    for number, clips in evaluation_clips(examples, settings, num_frames=num_frames, clips=2, workers=workers):
        if isinstance(clips, Failure):
            found[examples[number].video_id] = clips
            continue
        waiting[examples[number].video_id] = clips
        if len(waiting) >= videos_at_a_time:
            embed()
    if waiting:
        embed()
    return found


def judge(ends: Tensor) -> dict[str, float]:
    """Of features (N, 2, D) of N videos: per cent whose end is nearest to their own beginning by cosine; by chance;
    and the spread of the features of beginnings.
    """
    first, last = F.normalize(ends.double(), dim=2).unbind(1)
    nearest = (first @ last.T).argmax(1)
    right = float((nearest == torch.arange(len(ends))).double().mean())
    return {"retrieval": 100 * right, "retrieval_chance": 100 / len(ends), "spread": spread(first)}
