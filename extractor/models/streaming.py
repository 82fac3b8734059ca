"""Features of one long sequence that comes in pieces; each frame is computed once.

Cutting a sequence into overlapping chunks would recompute the network's temporal reach at every cut. Instead each
layer that looks forward holds one frame back until its successor comes. Pieces may have any size, and the result is
that of one uncut pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extractor.models.backbones.timeline import StreamTimeline
from extractor.models.msnet import MSNet

Int64Array = npt.NDArray[np.int64]

_WHOLE = np.array([[0, np.iinfo(np.int64).max]])  # one clip of all frames


@dataclass(frozen=True, slots=True)
class StreamOutput:
    """What one push completed: consecutive frames, pairs and clips, each exactly once and in order.

    `frame_features` (n, D) are those of frames `first_frame`, ...; `motion` (m, C, h, w) that of frames
    `first_motion`, ... (known earlier). `displacement` (k, 2, h, w) in cells, `confidence` (k, 1, h, w) and `tied`
    (k, h, w) are those of pairs `first_pair`, ...; pair i is frames i and i + 1. Without an MS module these four are
    None. `clip_features` (c, D) and `logits` (c, classes) are those of clips `first_clip`, ...; logits are None
    without a classifier. n, m, k and c may be 0.
    """

    first_frame: int
    first_motion: int
    first_pair: int
    first_clip: int
    frame_features: Tensor
    motion: Tensor | None
    displacement: Tensor | None
    confidence: Tensor | None
    tied: Tensor | None
    clip_features: Tensor
    logits: Tensor | None


class DenseStream:
    """Runs one sequence through `network` as it comes; create one per sequence.

    `clips` (c, 2) holds each clip's first frame and the one past its last. Both columns ascend, and clips may overlap;
    None makes the whole sequence one clip. A clip's feature is the mean of its frame features, summed in float64. The
    network must be in evaluation mode: in training, batch norm would depend on how the sequence was cut.
    """

    def __init__(self, network: MSNet, clips: Int64Array | None = None) -> None:
        if network.training:
            raise ValueError("expected a network in evaluation mode; got one in training mode. Call .eval() first")
        self._network = network
        self._timeline = StreamTimeline(network.spec.edges)
        self._size: tuple[int, int] | None = None
        self._frames = self._pushed = self._motion = self._pairs = 0
        self._clips = _ClipMeans(_WHOLE if clips is None else clips)

    @torch.no_grad()
    def push(self, frames: Tensor) -> StreamOutput:
        """Take the next n >= 1 frames (n, 3, H, W), float and normalised; return what is known now."""
        self._take(frames)
        return self._advance(frames)

    @torch.no_grad()
    def finish(self, frames: Tensor | None = None) -> StreamOutput:
        """End the sequence, optionally with its last frames; return the rest. A sequence has at least 2 frames."""
        if frames is not None:
            self._take(frames)
        if self._timeline.ended or self._size is None or self._pushed < 2:
            got = "a finished one" if self._timeline.ended else self._pushed
            raise ValueError(f"expected an unfinished sequence of at least 2 frames; got {got}")
        self._timeline.ended = True
        return self._advance(torch.empty(0, 3, *self._size) if frames is None else frames)

    def _take(self, frames: Tensor) -> None:
        if self._timeline.ended:
            raise ValueError("expected an unfinished stream; got frames after its end. Create one stream per sequence")
        if frames.ndim != 4 or len(frames) < 1 or frames.shape[1] != 3 or not frames.is_floating_point():
            raise ValueError(f"expected float frames (n, 3, H, W), n >= 1; got {frames.dtype} {tuple(frames.shape)}")
        size = (frames.shape[2], frames.shape[3])
        if self._size not in (None, size):
            raise ValueError(
                f"expected frames of {self._size} like those before; got {size}. Create one stream per size"
            )
        self._size = size
        self._pushed += len(frames)

    def _advance(self, frames: Tensor) -> StreamOutput:
        features, motion = self._network.run(frames, self._timeline)
        first_clip = self._clips.done
        clip_features = self._clips.add(features, ended=self._timeline.ended)
        classifier = self._network.classifier
        output = StreamOutput(
            self._frames,
            self._motion,
            self._pairs,
            first_clip,
            features,
            None if motion is None else motion.features.float(),
            None if motion is None else motion.displacement,
            None if motion is None else motion.confidence,
            None if motion is None else motion.tied,
            clip_features,
            None if classifier is None else classifier(clip_features),
        )
        self._frames += len(features)
        self._motion += 0 if motion is None else len(motion.features)
        self._pairs += 0 if motion is None else len(motion.tied)
        return output


class _ClipMeans:
    """Means of frame features over ranges of frames, as the frames come."""

    def __init__(self, clips: Int64Array) -> None:
        self._starts, self._stops = clips[:, 0], clips[:, 1]
        self._sums: Tensor | None = None  # (open clips, D), float64, of the clips from `done` on
        self._frames = 0
        self.done = 0

    def add(self, features: Tensor, *, ended: bool) -> Tensor:
        """Take the next frames' features (n, D); return the means (c, D), float32, of the clips they complete."""
        first, stop = self._frames, self._frames + len(features)
        self._frames = stop
        begun = int(np.searchsorted(self._starts, stop))
        of_clip = np.arange(first, stop) >= self._starts[self.done : begun, None]
        of_clip &= np.arange(first, stop) < self._stops[self.done : begun, None]
        # All sums at once: hundreds of clips may be open, and a float64 sum of float32 values is exact in any order
        # unless values are 2^20 times apart.
        sums = torch.from_numpy(of_clip).to(features.device, torch.float64) @ features.double()
        if self._sums is not None:
            sums[: len(self._sums)] += self._sums
        ends = len(self._starts) if ended else int(np.searchsorted(self._stops, stop, side="right"))
        count = max(0, min(ends, begun) - self.done)
        self._sums = sums[count:].clone()
        lengths = np.minimum(self._stops, stop)[self.done : self.done + count] - self._starts[self.done :][:count]
        self.done += count
        return (sums[:count] / torch.from_numpy(lengths).to(features.device)[:, None]).float()
