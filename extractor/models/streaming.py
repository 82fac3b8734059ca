"""Features of one long sequence that comes in pieces, each frame computed once.

Cutting a sequence into overlapping chunks would recompute the network's temporal reach at every cut. Instead each
layer that looks forward holds one frame back until its successor is there, so the pieces may be of any size and the
result is that of one uncut pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from extractor.models.msnet import MSNet
from extractor.models.timeline import StreamTimeline

__all__ = ["DenseStream", "StreamOutput"]


@dataclass(frozen=True, slots=True)
class StreamOutput:
    """What became known with a push: consecutive frames and pairs of the sequence, each exactly once and in order.

    `frame_features` (n, D) are those of frames `first_frame`, ...; `motion` (m, C, h, w) of frames `first_motion`,
    ... (known earlier); `displacement` (k, 2, h, w) in cells, `confidence` (k, 1, h, w) and `tied` (k, h, w) of the
    pairs `first_pair`, ... (frame i and i + 1). n, m and k may be 0. Without an MS module the last four are None.
    `clip_features` (D,) and `logits` (classes,) are those of the whole sequence, given by `DenseStream.finish` only.
    """

    first_frame: int
    first_motion: int
    first_pair: int
    frame_features: Tensor
    motion: Tensor | None
    displacement: Tensor | None
    confidence: Tensor | None
    tied: Tensor | None
    clip_features: Tensor | None = None
    logits: Tensor | None = None


class DenseStream:
    """One sequence through `network` as it comes; make one for each sequence.

    The clip feature is the mean of all frame features, summed in float64. The network must be in evaluation mode: in
    training, batch norm would depend on how the sequence was cut.
    """

    def __init__(self, network: MSNet) -> None:
        if network.training:
            raise ValueError("expected a network in evaluation mode; call .eval() first")
        self._network = network
        self._timeline = StreamTimeline()
        self._size: tuple[int, int] | None = None
        self._frames = self._pushed = self._motion = self._pairs = 0
        self._sum: Tensor | None = None

    @torch.no_grad()
    def push(self, frames: Tensor) -> StreamOutput:
        """Take the next n >= 1 frames, (n, 3, H, W) float, normalised; return what is known now."""
        if self._timeline.ended:
            raise ValueError("this stream is finished; make another for another sequence")
        if frames.ndim != 4 or len(frames) < 1 or frames.shape[1] != 3 or not frames.is_floating_point():
            raise ValueError(f"expected float frames (n, 3, H, W), n >= 1; got {frames.dtype} {tuple(frames.shape)}")
        size = (frames.shape[2], frames.shape[3])
        if self._size not in (None, size):
            raise ValueError(f"expected frames of {self._size} like those before; got {size}")
        self._size = size
        self._pushed += len(frames)
        return self._advance(frames)

    @torch.no_grad()
    def finish(self) -> StreamOutput:
        """End the sequence, which must have had at least 2 frames; return the rest and the clip feature."""
        if self._timeline.ended or self._size is None or self._pushed < 2:
            raise ValueError(f"expected an unfinished sequence of at least 2 frames; got {self._pushed}")
        self._timeline.ended = True
        return self._advance(torch.empty(0, 3, *self._size))

    def _advance(self, frames: Tensor) -> StreamOutput:
        features, motion = self._network.run(frames, self._timeline)
        total = features.sum(0, dtype=torch.float64)
        self._sum = total if self._sum is None else self._sum + total
        clip_features = logits = None
        if self._timeline.ended:
            clip_features = (self._sum / self._pushed).float()
            classifier = self._network.classifier
            logits = None if classifier is None else classifier(clip_features)
        output = StreamOutput(
            self._frames,
            self._motion,
            self._pairs,
            features,
            None if motion is None else motion.features.float(),
            None if motion is None else motion.displacement,
            None if motion is None else motion.confidence,
            None if motion is None else motion.tied,
            clip_features,
            logits,
        )
        self._frames += len(features)
        self._motion += 0 if motion is None else len(motion.features)
        self._pairs += 0 if motion is None else len(motion.tied)
        return output
