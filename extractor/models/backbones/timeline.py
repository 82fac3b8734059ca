"""How frames meet their neighbours in time: within whole clips, or in batches of pieces of sequences.

A network is written once, against the two methods of `Timeline`. Every other layer treats frames separately, so these
two decide everything about time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from extractor.models.backbones.temporal_shift import future_slice, past_slice, temporal_shift
from extractor.models.motion_squeeze import MotionFeatures, MotionSqueeze
from extractor.models.pieces import BatchPlan, Gather, ShiftPlan, SqueezePlan
from schemas.config import Edges
from schemas.records import Int64Array


class Timeline(Protocol):
    """How the temporal layers of a network get the frames before and after."""

    def shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames (N, C, h, w) that a block can compute now, and the same frames shifted for its branch."""

    def squeeze(self, module: MotionSqueeze, x: Tensor) -> tuple[Tensor, MotionFeatures]:
        """Return the frames (N, C, h, w) whose motion features are known now, with these and the completed pairs."""


class ClipTimeline:
    """Frames are B whole clips of T = `num_segments` frames, folded to (B*T, C, h, w), each a sequence of its own."""

    def __init__(self, num_segments: int, edges: Edges) -> None:
        self.num_segments = num_segments
        self.edges = edges

    def shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All frames, and all of them shifted."""
        return x, temporal_shift(x, self.num_segments, self.edges)

    def squeeze(self, module: MotionSqueeze, x: Tensor) -> tuple[Tensor, MotionFeatures]:
        """All frames with their motion features."""
        return x, module(x, self.num_segments)


@dataclass(frozen=True, slots=True)
class Held:
    """What a temporal layer keeps of the open sequences, one row each; the rows are those of `OpenSequences`.

    A shifted block: frames (s, C, h, w) that wait for their successors, and the past slices of the frames before them.
    The MS module: frames that wait for their pairs, also embedded, and the motion features of the last pairs.
    """

    frames: Tensor
    before: Tensor
    embedded: Tensor | None = None


class PieceTimeline:
    """Frames are pieces of sequences side by side; what cannot be computed yet is held back, nothing is recomputed.

    Follows the plan of a batch layer by layer, in the order in which the network calls them. rows: turns row numbers of
    the plan into a tensor on the device. held: what the batch before left, unchanged; `kept` becomes what this one
    leaves.
    """

    def __init__(
        self, plan: BatchPlan, rows: Callable[[Int64Array], Tensor], held: Sequence[Held | None], edges: Edges
    ) -> None:
        self._steps = iter(zip(plan.layers, held, strict=True))
        self._rows = rows
        self._edges = edges
        self.kept: list[Held | None] = []

    def shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The frames whose successor is known, and the same frames shifted."""
        plan, held = next(self._steps)
        assert isinstance(plan, ShiftPlan)
        old = held.frames if held else None
        ready = self._gather(plan.ready, x, old)
        shifted = ready.clone()
        if len(ready):
            future, past = future_slice(shifted), past_slice(shifted)
            future[:-1] = future_slice(ready)[1:]
            past[1:] = past_slice(ready)[:-1]
            after = future_slice(self._gather(plan.after, x, old))
            before = past_slice(ready)[self._rows(plan.first)]
            if self._edges is Edges.ZEROS:
                after = after.index_fill(0, self._rows(plan.ended), 0)
                before.index_fill_(0, self._rows(plan.begun), 0)
            if len(plan.continued):
                assert held is not None
                before[self._rows(plan.continued)] = held.before[self._rows(plan.before)]
            future[self._rows(plan.last)] = after
            past[self._rows(plan.first)] = before
        self.kept.append(
            Held(
                self._keep(plan.held, x, old),
                self._keep(plan.kept_before, past_slice(ready), held.before if held else None),
            )
        )
        return ready, shifted

    def squeeze(self, module: MotionSqueeze, x: Tensor) -> tuple[Tensor, MotionFeatures]:
        """The frames whose pair is complete, and those that end a sequence, with the features of its last pair."""
        plan, held = next(self._steps)
        assert isinstance(plan, SqueezePlan)
        old = (held.frames, held.embedded, held.before) if held else (None, None, None)
        embedded = module.embed(x)
        first, second = (self._gather(rows, embedded, old[1]) for rows in (plan.first, plan.second))
        displacement, confidence, tied = module.match(first, second)
        features = module.transform(displacement, confidence, x.dtype)
        self.kept.append(
            Held(
                self._keep(plan.held, x, old[0]),
                self._keep(plan.kept_motion, features, old[2]),
                self._keep(plan.held, embedded, old[1]),
            )
        )
        motion = self._gather(plan.motion, features, old[2])
        return self._gather(plan.ready, x, old[0]), MotionFeatures(motion, displacement, confidence, tied)

    def _keep(self, plan: Gather, first: Tensor, second: Tensor | None) -> Tensor:
        kept = self._gather(plan, first, second)
        return kept.clone() if plan.all_first else kept  # the network adds to its tensors in place

    def _gather(self, plan: Gather, first: Tensor, second: Tensor | None) -> Tensor:
        if plan.all_first:
            return first
        if len(plan.places) == len(plan.index):  # also where `first` has no row
            return first[:0] if second is None else _rows_of(second, self._rows(plan.replacements))
        taken = _rows_of(first, self._rows(plan.index))
        if len(plan.places):
            assert second is not None
            taken[self._rows(plan.places)] = _rows_of(second, self._rows(plan.replacements))
        return taken


def _rows_of(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of (N, C, h, w), a copy in channels-last memory: each row is one block there."""
    return x.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
