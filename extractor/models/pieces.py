"""Batches of pieces: which rows each temporal layer reads, computes and holds back, as numbers, without a tensor.

A batch is ragged: stretches of several sequences side by side, each with what the layers held back of it before. Every
layer that looks forward holds a sequence's last frame until its successor comes. How many frames go in and out of each
layer follows from the lengths of the pieces alone, so all of it is planned here, and the device gets one table of row
numbers a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from extractor.models.clip_means import MeansPlan, OpenClips, plan_means
from schemas.records import BoolArray, Int64Array

WHOLE = np.array([[0, np.iinfo(np.int64).max]])
"""Ranges of a sequence whose one clip is all of it."""

_NONE = np.empty(0, np.int64)

TemporalLayers = tuple[tuple[bool, ...], tuple[bool, ...], tuple[bool, ...]]
"""Layers that join frames, in the order in which frames meet them; for each, whether it is the MS module.

In three parts: up to the end of stage 2, where the MS module sits, those of stage 3 and those of stage 4.
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """The next `frames` of a sequence, which the caller numbers; 0 only at its end. ended: no more follow.

    ranges: (c, 2) the clips of a sequence, first frame and one past the last; both columns ascend and clips may
    overlap. Looked at in a sequence's first piece only.
    """

    sequence: int
    frames: int
    ended: bool
    ranges: Int64Array = field(default_factory=lambda: WHOLE)


@dataclass(frozen=True, slots=True)
class Gather:
    """Rows of two tensors in one: `index` into the first; then those at `places` are replaced by rows of the second.

    all_first: the result is the first tensor itself.
    """

    index: Int64Array
    places: Int64Array
    replacements: Int64Array
    all_first: bool = False

    @classmethod
    def of(cls, rows: Int64Array, first: int) -> Gather:
        """From row numbers of the two tensors one after the other; the first has `first` rows."""
        (places,) = np.nonzero(rows >= first)
        index = np.where(rows < first, rows, 0)
        identical = not len(places) and len(rows) == first and bool((rows == np.arange(first)).all())
        return cls(index, places, rows[places] - first, identical)


@dataclass(frozen=True, slots=True)
class ShiftPlan:
    """A shifted block. N rows come in, M go on; K of the pieces have rows that go on.

    ready: the M rows, from x and the held frames. last, first: (K,) rows of M that end and begin a piece. after: (K,)
    what follows `last`, from x and the held frames; itself at the end of a sequence. ended, begun: which of the K end
    and begin their sequence. continued: which have a predecessor, and before: its row among the past slices kept.
    held, kept_before: what is kept for the next batch; the latter from the M rows and the past slices kept before.
    """

    ready: Gather
    last: Int64Array
    first: Int64Array
    after: Gather
    ended: Int64Array
    begun: Int64Array
    continued: Int64Array
    before: Int64Array
    held: Gather
    kept_before: Gather


@dataclass(frozen=True, slots=True)
class SqueezePlan:
    """The MS module. N rows come in, M go on, P pairs are matched.

    ready: the M rows. first, second: the rows of each pair. motion: whose motion features the M rows get, of the P
    pairs and those kept before. held: frames kept; kept_motion: motion features kept.
    """

    ready: Gather
    first: Gather
    second: Gather
    motion: Gather
    held: Gather
    kept_motion: Gather


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """All of a batch: one plan for each temporal layer, and what comes out of it for each piece.

    frames, stage2, stage3, pairs, clips: (K,) rows of each piece, in the order of the pieces. Those of stage 2 (motion
    too) and of stage 3 are known earlier than the other rows of their frames.
    """

    pieces: tuple[Piece, ...]
    layers: tuple[ShiftPlan | SqueezePlan, ...]
    means: MeansPlan
    frames: Int64Array
    stage2: Int64Array
    stage3: Int64Array
    pairs: Int64Array
    clips: Int64Array
    _after: _Bookkeeping
    _dropped: frozenset[int]


@dataclass(frozen=True, slots=True)
class _LayerRows:
    """Rows of a layer's held tensors by open sequence, -1 where it holds none."""

    held: Int64Array
    before: Int64Array  # the past slice kept; in the MS module the motion features kept


@dataclass(frozen=True, slots=True)
class _Bookkeeping:
    """The open sequences, and where each layer holds what of them."""

    sequences: tuple[int, ...] = ()
    layers: tuple[_LayerRows, ...] = ()
    clips: tuple[OpenClips, ...] = ()


class OpenSequences:
    """The sequences that have begun and not ended, in the temporal layers of one network."""

    def __init__(self, layers: TemporalLayers) -> None:
        self._squeezes = tuple(squeezes for part in layers for squeezes in part)
        self._stage2_layers, self._stage3_layers = len(layers[0]), len(layers[0]) + len(layers[1])
        self._now = _Bookkeeping(layers=(_LayerRows(_NONE, _NONE),) * len(self._squeezes))
        self._dropped: set[int] = set()

    def drop(self, sequence: int) -> None:
        """Forget a sequence that will not end; harmless if it is not open."""
        if sequence in self._now.sequences:
            self._dropped.add(sequence)

    def plan(self, pieces: Sequence[Piece]) -> BatchPlan:
        """Plan a batch, at most one piece of each sequence. Nothing changes before `advance`."""
        now, dropped = self._now, frozenset(self._dropped)
        known_sequences = set(now.sequences)
        new = [piece for piece in pieces if piece.sequence not in known_sequences]
        sequences = (*now.sequences, *(piece.sequence for piece in new))
        place = {sequence: i for i, sequence in enumerate(sequences)}
        at = np.array([place[piece.sequence] for piece in pieces], np.int64)
        ended = np.array([piece.ended for piece in pieces], np.bool_)
        gone = np.array([sequence in dropped for sequence in sequences], np.bool_)
        gone[at] |= ended
        batch = _Batch(at, ended, gone)
        counts = np.array([piece.frames for piece in pieces], np.int64)
        after_layers, pairs = [counts], np.zeros_like(counts)
        plans: list[ShiftPlan | SqueezePlan] = []
        rows: list[_LayerRows] = []
        known: dict[tuple[object, ...], tuple[ShiftPlan | SqueezePlan, Int64Array, _LayerRows]] = {}
        for squeezes, layer in zip(self._squeezes, now.layers, strict=True):
            layer = _LayerRows(_widened(layer.held, len(new)), _widened(layer.before, len(new)))
            # Most layers are in the same state, and share a plan.
            key = (squeezes, counts.tobytes(), layer.held.tobytes(), layer.before.tobytes())
            if key not in known:
                known[key] = batch.squeeze(counts, layer) if squeezes else batch.shift(counts, layer)
            plan, out, after = known[key]
            if squeezes:
                pairs = np.maximum(counts + (layer.held[at] >= 0) - 1, 0)
            plans.append(plan)
            rows.append(after)
            after_layers.append(out)
            counts = out
        clips = (*now.clips, *(OpenClips(piece.ranges) for piece in new))
        means, done, open_clips = plan_means(clips, at, counts, ended, gone)
        still_open = tuple(sequence for sequence, lost in zip(sequences, gone, strict=True) if not lost)
        left = _Bookkeeping(still_open, tuple(rows), open_clips)
        stage2, stage3 = after_layers[self._stage2_layers], after_layers[self._stage3_layers]
        return BatchPlan(tuple(pieces), tuple(plans), means, counts, stage2, stage3, pairs, done, left, dropped)

    def advance(self, plan: BatchPlan) -> None:
        """Take note that a planned batch went through the layers."""
        self._now = plan._after
        self._dropped -= plan._dropped


@dataclass(frozen=True, slots=True)
class _Batch:
    """What all layers share: the pieces' places among the open sequences, and which sequences end or are dropped."""

    at: Int64Array
    ended: BoolArray
    gone: BoolArray

    def shift(self, counts: Int64Array, layer: _LayerRows) -> tuple[ShiftPlan, Int64Array, _LayerRows]:
        total_in = int(counts.sum())
        held = layer.held[self.at]
        totals = counts + (held >= 0)
        ready = np.where(self.ended, totals, np.maximum(totals - 1, 0))
        rows = _consecutive(counts, held, ready, total_in)
        go_on = ready > 0
        last, first = (np.cumsum(ready) - 1)[go_on], (np.cumsum(ready) - ready)[go_on]
        newest = _newest(counts, held, total_in)
        after = np.where(self.ended[go_on], rows[last], newest[go_on])
        before = layer.before[self.at][go_on]
        kept, held_rows = self._kept(np.where(totals > 0, newest, -1), layer.held, total_in)
        ready_count = int(ready.sum())
        last_row = np.where(go_on, np.cumsum(ready) - 1, _moved(layer.before[self.at], ready_count))
        kept_before, before_rows = self._kept(last_row, layer.before, ready_count)
        plan = ShiftPlan(
            ready=Gather.of(rows, total_in),
            last=last,
            first=first,
            after=Gather.of(after, total_in),
            ended=np.flatnonzero(self.ended[go_on]),
            begun=np.flatnonzero(before < 0),
            continued=np.flatnonzero(before >= 0),
            before=before[before >= 0],
            held=Gather.of(kept, total_in),
            kept_before=Gather.of(kept_before, ready_count),
        )
        return plan, ready, _LayerRows(held_rows, before_rows)

    def squeeze(self, counts: Int64Array, layer: _LayerRows) -> tuple[SqueezePlan, Int64Array, _LayerRows]:
        total_in = int(counts.sum())
        held = layer.held[self.at]
        totals = counts + (held >= 0)
        pairs = np.maximum(totals - 1, 0)
        ready = np.where(self.ended, totals, pairs)
        whole = _consecutive(counts, held, totals, total_in)
        starts = np.cumsum(totals) - totals
        first = _ranges(starts, pairs)
        pair_count = int(pairs.sum())
        # The last frame of a sequence has no pair, and gets the features of the last one.
        final_pair = np.where(pairs > 0, np.cumsum(pairs) - 1, _moved(layer.before[self.at], pair_count))
        motion = _ranges(np.cumsum(pairs) - pairs, ready)
        has_end = self.ended & (ready > 0)
        motion[(np.cumsum(ready) - 1)[has_end]] = final_pair[has_end]
        newest = np.where(totals > 0, _newest(counts, held, total_in), -1)
        kept, held_rows = self._kept(newest, layer.held, total_in)
        kept_motion, motion_rows = self._kept(final_pair, layer.before, pair_count)
        plan = SqueezePlan(
            ready=Gather.of(_consecutive(counts, held, ready, total_in), total_in),
            first=Gather.of(whole[first], total_in),
            second=Gather.of(whole[first + 1], total_in),
            motion=Gather.of(motion, pair_count),
            held=Gather.of(kept, total_in),
            kept_motion=Gather.of(kept_motion, pair_count),
        )
        return plan, ready, _LayerRows(held_rows, motion_rows)

    def _kept(self, of_pieces: Int64Array, old: Int64Array, first: int) -> tuple[Int64Array, Int64Array]:
        """What a layer keeps of the sequences that stay open: (rows to gather, new row by open sequence or -1)."""
        rows = _moved(old, first)
        rows[self.at] = of_pieces
        rows = rows[~self.gone]
        present = rows >= 0
        return rows[present], np.where(present, np.cumsum(present) - 1, -1)


def _consecutive(counts: Int64Array, held: Int64Array, taken: Int64Array, total_in: int) -> Int64Array:
    """Rows of each piece's first `taken` frames, the held one before the new ones; held ones follow the new ones."""
    has_held = held >= 0
    rows = _ranges(np.cumsum(counts) - counts - has_held, taken)
    begins = (np.cumsum(taken) - taken)[has_held & (taken > 0)]
    rows[begins] = total_in + held[has_held & (taken > 0)]
    return rows


def _newest(counts: Int64Array, held: Int64Array, total_in: int) -> Int64Array:
    """Row of each piece's last frame; of the held one if none is new."""
    return np.where(counts > 0, np.cumsum(counts) - 1, total_in + held)


def _ranges(starts: Int64Array, lengths: Int64Array) -> Int64Array:
    """start, start + 1, ... of each range, one after the other."""
    shifts: Int64Array = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return np.arange(len(shifts)) + shifts


def _moved(rows: Int64Array, by: int) -> Int64Array:
    """Row numbers as those of a second tensor behind a first one of `by` rows; -1 stays."""
    return np.where(rows >= 0, rows + by, -1)


def _widened(rows: Int64Array, count: int) -> Int64Array:
    return np.concatenate([rows, np.full(count, -1)]) if count else rows
