"""Features of sequences that come in pieces, many side by side; each frame is computed once.

Cutting a sequence into overlapping chunks would recompute the network's temporal reach at every cut. Instead each
layer that looks forward holds one frame back until its successor comes. Pieces may have any size and any neighbours in
their batch, and the result is that of one uncut pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extractor.models.backbones.timeline import Held, PieceTimeline
from extractor.models.motion_squeeze import MotionFeatures
from extractor.models.msnet import MSNet
from extractor.models.pieces import WHOLE, BatchPlan, Gather, OpenSequences, Piece
from schemas.records import Int64Array
from schemas.tensors import STAGES


@dataclass(frozen=True, slots=True)
class BatchOutput:
    """What a batch of pieces completed; the rows of each piece follow one another, as many as its plan says.

    `frame_features` (n, D) and `motion` (m, C, h, w) by frame, the latter known earlier; `displacement` (k, 2, h, w) in
    cells, `confidence` (k, 1, h, w) and `tied` (k, h, w) by pair; `clip_features` (c, D) and `logits` (c, classes) by
    clip. A clip's feature is the mean of its frame features, summed in float64. None without an MS module, or without
    a classifier. `stage2` (m, C, h, w), `stage3` and `stage4`: see `MSNetOutput`; by frame, known as early as the
    stage; None unless asked for. Float32 but `tied`, which is bool.
    """

    frame_features: Tensor
    motion: Tensor | None
    displacement: Tensor | None
    confidence: Tensor | None
    tied: Tensor | None
    clip_features: Tensor
    logits: Tensor | None
    stage2: Tensor | None
    stage3: Tensor | None
    stage4: Tensor | None


@dataclass(frozen=True, slots=True)
class Left:
    """What a batch leaves on the device for the next: by layer what it holds back, and the sums of open clips.

    held: None where a layer has met no frame. sums: (open clips, D), float64.
    """

    held: tuple[Held | None, ...]
    sums: Tensor | None


class SequenceStreams:
    """Runs batches of pieces through `network`, and keeps what its layers hold back of the open sequences.

    The network must be in evaluation mode: in training, batch norm would depend on what shares a batch. stages: of
    "stage2", "stage3" and "stage4", those that its outputs have.
    """

    def __init__(self, network: MSNet, stages: Collection[str] = ()) -> None:
        if network.training:
            raise ValueError("expected a network in evaluation mode; got one in training mode. Call .eval() first")
        self._network = network
        self._stages = stages
        layers = network.temporal_layers()
        self.open = OpenSequences(layers)
        self._left = Left((None,) * sum(map(len, layers)), None)

    def run(self, frames: Tensor, plan: BatchPlan) -> BatchOutput:
        """Run the frames (N, 3, H, W) of a planned batch, float and normalised, piece after piece.

        If it raises, nothing has changed, and the same pieces can be planned again in smaller batches.
        """
        output, left = self.compute(frames, plan)
        self.keep(plan, left)
        return output

    @torch.no_grad()
    def compute(self, frames: Tensor, plan: BatchPlan) -> tuple[BatchOutput, Left]:
        """`run` without a change: `keep` follows once the output is safe."""
        rows = _RowTable(plan, self._network.device)
        timeline = PieceTimeline(plan, rows, self._left.held, self._network.spec.edges)
        features, motion, maps = self._network.run(frames, timeline, self._stages)
        clip_features, sums = self._means(features, plan, rows)
        return self._output(features, motion, maps, clip_features), Left(tuple(timeline.kept), sums)

    def keep(self, plan: BatchPlan, left: Left | None) -> None:
        """Take note that a batch was computed. left: what `compute` left; None where no network ran."""
        if left is not None:
            self._left = left
        self.open.advance(plan)

    def _output(
        self, features: Tensor, motion: MotionFeatures | None, maps: Mapping[str, Tensor], clip_features: Tensor
    ) -> BatchOutput:
        classifier = self._network.classifier
        return BatchOutput(
            features,
            None if motion is None else motion.features.float(),
            None if motion is None else motion.displacement,
            None if motion is None else motion.confidence,
            None if motion is None else motion.tied,
            clip_features,
            None if classifier is None else classifier(clip_features),
            *(maps[name].float() if name in maps else None for name in STAGES),
        )

    def _means(self, features: Tensor, plan: BatchPlan, rows: _RowTable) -> tuple[Tensor, Tensor]:
        """Features of the clips that are complete, (c, D) float32, and the sums of those that are not."""
        means = plan.means
        # All sums at once: hundreds of clips may be open, and a float64 sum of float32 values is exact in any order
        # unless values are 2^20 times apart.
        of_clip = _upload(means.of_clip, features.device).double()
        lost = ~features.isfinite().all(1)  # its product with 0 would not be 0, and reach every clip of the batch
        sums = of_clip @ features.double().masked_fill(lost[:, None], 0)
        sums.masked_fill_((of_clip @ lost.double()[:, None]) > 0, torch.nan)
        before = self._left.sums
        if len(means.continued):
            assert before is not None
            sums.index_add_(0, rows(means.continued), before[rows(means.carried)])
        finished = (sums[rows(means.finished)] / rows(means.lengths)[:, None]).float()
        kept = sums if before is None else torch.cat((sums, before))
        return finished, kept[rows(means.kept)]


class _RowTable:
    """All row numbers of a plan, brought to the device at once."""

    def __init__(self, plan: BatchPlan, device: torch.device) -> None:
        arrays: dict[int, Int64Array] = {}
        for part in (*plan.layers, plan.means):
            for field in fields(part):
                value = getattr(part, field.name)
                for array in (value.index, value.places, value.replacements) if isinstance(value, Gather) else (value,):
                    if array.dtype == np.int64:
                        arrays[id(array)] = array
        table = _upload(np.concatenate([*arrays.values(), np.empty(0, np.int64)]), device)
        parts = torch.split(table, [len(array) for array in arrays.values()])
        self._tensors: dict[int, Tensor] = dict(zip(arrays, parts, strict=True))
        self._plan = plan  # its arrays must live, or their numbers could be taken by others

    def __call__(self, rows: Int64Array) -> Tensor:
        return self._tensors[id(rows)]


def _upload(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array on the device, without waiting for it."""
    host = torch.from_numpy(array)
    if device.type != "cpu":
        host = host.pin_memory()  # else the copy waits for the device
    return host.to(device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class StreamOutput(BatchOutput):
    """What one push of a `DenseStream` completed: consecutive frames, pairs and clips, each exactly once and in order.

    `first_frame` is the number of the first row of `frame_features`, `first_motion` that of `motion`, `first_pair`
    that of `displacement`, `confidence` and `tied` (pair i is frames i and i + 1), `first_clip` that of
    `clip_features` and `logits`.
    """

    first_frame: int
    first_motion: int
    first_pair: int
    first_clip: int


class DenseStream:
    """Runs one sequence through `network` as it comes; create one per sequence.

    `clips` (c, 2) holds each clip's first frame and the one past its last. Both columns ascend, and clips may overlap;
    None makes the whole sequence one clip.
    """

    def __init__(self, network: MSNet, clips: Int64Array | None = None) -> None:
        self._streams = SequenceStreams(network)
        self._clips = WHOLE if clips is None else clips
        self._size: tuple[int, int] | None = None
        self._pushed = 0
        self._ended = False
        self._first = np.zeros(4, np.int64)

    def push(self, frames: Tensor) -> StreamOutput:
        """Take the next n >= 1 frames (n, 3, H, W), float and normalised; return what is known now."""
        self._take(frames)
        return self._advance(frames)

    def finish(self, frames: Tensor | None = None) -> StreamOutput:
        """End the sequence, optionally with its last frames; return the rest. A sequence has at least 2 frames."""
        if frames is not None:
            self._take(frames)
        if self._ended or self._size is None or self._pushed < 2:
            got = "a finished one" if self._ended else self._pushed
            raise ValueError(f"expected an unfinished sequence of at least 2 frames; got {got}")
        self._ended = True
        return self._advance(torch.empty(0, 3, *self._size) if frames is None else frames)

    def _take(self, frames: Tensor) -> None:
        if self._ended:
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
        plan = self._streams.open.plan([Piece(0, len(frames), self._ended, self._clips)])
        output = self._streams.run(frames, plan)
        first = self._first.tolist()
        motion = np.array([0 if output.motion is None else len(output.motion)])
        self._first += np.concatenate([plan.frames, motion, plan.pairs, plan.clips])
        return StreamOutput(*(getattr(output, field.name) for field in fields(output)), *first)
