"""Means of frame features over clips while frames come in pieces, as numbers, without a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.records import BoolArray, Int64Array


@dataclass(frozen=True, slots=True)
class OpenClips:
    """The clips of an open sequence, and how many of its frames and clips came out."""

    ranges: Int64Array
    frames: int = 0
    done: int = 0
    begun: int = 0


@dataclass(frozen=True, slots=True)
class MeansPlan:
    """Sums of frame features over clips. C clips are touched by the M new frames.

    of_clip: (C, M) whether a frame belongs to a clip. continued, carried: which of the C have a sum from before, and
    its row. finished: which of the C are complete, with their `lengths`. kept: the sums to keep, rows of the C and,
    behind them, those from before.
    """

    of_clip: BoolArray
    continued: Int64Array
    carried: Int64Array
    finished: Int64Array
    lengths: Int64Array
    kept: Int64Array


def plan_means(
    clips: Sequence[OpenClips], at: Int64Array, counts: Int64Array, ended: BoolArray, gone: BoolArray
) -> tuple[MeansPlan, Int64Array, tuple[OpenClips, ...]]:
    """The plan, how many clips of each piece are complete, and the clips of the sequences that stay open."""
    open_before = np.array([one.begun - one.done for one in clips], np.int64)
    carried_from = np.cumsum(open_before) - open_before
    blocks: list[tuple[BoolArray, int]] = []
    continued, carried, finished, lengths = [], [], [], []
    done = np.zeros(len(at), np.int64)
    kept: dict[int, Int64Array] = {}
    after = list(clips)
    height = column = 0
    for k, (place, count, ends) in enumerate(zip(at.tolist(), counts.tolist(), ended.tolist(), strict=True)):
        one = clips[place]
        stop = one.frames + count
        begun = int(np.searchsorted(one.ranges[:, 0], stop))
        touched = one.ranges[one.done : begun]
        frames = np.arange(one.frames, stop)
        blocks.append(((frames >= touched[:, :1]) & (frames < touched[:, 1:]), column))
        complete = begun if ends else min(int(np.searchsorted(one.ranges[:, 1], stop, side="right")), begun)
        done[k] = max(0, complete - one.done)
        old = int(open_before[place])
        continued.append(height + np.arange(old))
        carried.append(carried_from[place] + np.arange(old))
        finished.append(height + np.arange(done[k]))
        lengths.append(np.minimum(touched[: done[k], 1], stop) - touched[: done[k], 0])
        kept[place] = height + np.arange(done[k], len(touched))
        after[place] = replace(one, frames=stop, done=one.done + int(done[k]), begun=begun)
        height += len(touched)
        column += count
    of_clip = np.zeros((height, column), np.bool_)
    row = 0
    for block, left in blocks:
        of_clip[row : row + block.shape[0], left : left + block.shape[1]] = block
        row += len(block)
    staying = np.flatnonzero(~gone).tolist()
    rows = [kept[i] if i in kept else height + carried_from[i] + np.arange(open_before[i]) for i in staying]
    plan = MeansPlan(
        of_clip,
        _joined(continued),
        _joined(carried),
        _joined(finished),
        _joined(lengths),
        _joined(rows),
    )
    return plan, done, tuple(after[i] for i in staying)


def _joined(parts: Sequence[Int64Array]) -> Int64Array:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
