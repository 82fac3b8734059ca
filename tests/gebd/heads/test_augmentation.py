from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from gebd.dataset.samples import Batch, Sample, collate
from gebd.heads.augmentation import TimeAugmentation

LENGTHS = (40, 30)


def batch() -> Batch:
    """Frames whose feature is their number, and pairs that move by one cell a frame."""
    samples = []
    for length in LENGTHS:
        number = np.arange(length, dtype=np.float32)
        samples.append(
            Sample(
                tensors={
                    "frame": number[:, None],
                    "displacement": np.ones((length, 2, 2, 2), np.float32),
                    "confidence": number[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32),
                },
                valid=np.ones(length, np.bool_),
                time_seconds=number.astype(np.float64) / 10,
                pair_valid=np.ones(length, np.bool_),
                target_hard=np.zeros(length, np.float32),
                target_soft=number / 100,
                rater_targets=None,
                rater_times=None,
                duration_seconds=length / 10,
                fps=10.0,
                video_id="v",
                slice_start_seconds=0.0,
            )
        )
    return collate(samples)


def drawn(augment: TimeAugmentation, seed: int) -> Batch:
    return augment(batch(), torch.Generator().manual_seed(seed))


def test_damaged_frames_inside_a_window_make_it_no_shorter() -> None:
    given = batch()
    given.valid[:, 5:15] = False
    seen = set()
    for seed in range(40):
        out = TimeAugmentation(0.0, True)(given, torch.Generator().manual_seed(seed))
        seen |= set(out.tensors["frame"][1, out.valid[1], 0].tolist())
    assert seen == {*map(float, range(5)), *map(float, range(15, LENGTHS[1]))}
    backwards = (TimeAugmentation(0.0, True)(given, torch.Generator().manual_seed(seed)) for seed in range(40))
    ends = [
        out.tensors["frame"][1, 0, 0].item() for out in backwards if out.tensors["displacement"][1, 20, 0, 0, 0] < 0
    ]
    assert max(ends) == LENGTHS[1] - 1


def test_nothing_asked_changes_nothing() -> None:
    given = batch()
    assert TimeAugmentation(0.0, False)(given) is given


def test_tensors_and_targets_move_together() -> None:
    for seed in range(20):
        found = drawn(TimeAugmentation(0.3, True), seed)
        assert found.target_soft is not None
        at = found.tensors["frame"][..., 0]
        torch.testing.assert_close(found.target_soft[found.valid], at[found.valid] / 100)


def test_frames_that_a_window_does_not_have_are_not_valid() -> None:
    shorter = 0
    for seed in range(20):
        found = drawn(TimeAugmentation(0.3, True), seed)
        for b, length in enumerate(LENGTHS):
            at = found.tensors["frame"][b, found.valid[b], 0]
            assert float(at.min()) >= 0 and float(at.max()) < length
            assert found.valid[b].sum() >= length // 2
            shorter += int(found.valid[b].sum()) < length
    assert shorter > 10


def test_time_runs_both_ways_at_different_speeds() -> None:
    paces = []
    for seed in range(40):
        found = drawn(TimeAugmentation(0.3, True), seed)
        at = found.tensors["frame"][0, found.valid[0], 0]
        paces.append(float(at[-1] - at[0]) / (len(at) - 1))
    assert min(paces) < -1.2 and max(paces) > 1.2 and min(map(abs, paces)) < 0.85
    forward = TimeAugmentation(0.3, False)
    assert all(bool((drawn(forward, seed).tensors["frame"][0, :, 0].diff() >= 0).all()) for seed in range(10))


def test_displacement_follows_the_pace_and_the_direction() -> None:
    for seed in range(20):
        found = drawn(TimeAugmentation(0.3, True), seed)
        at = found.tensors["frame"][0, found.valid[0], 0]
        pace = float(at[-1] - at[0]) / (len(at) - 1)
        moves = found.tensors["displacement"][0, found.valid[0]]
        assert float(moves.min()) == float(moves.max())
        assert abs(float(moves.max()) - pace) < 0.1


def test_a_pair_lies_between_the_same_frames_when_time_runs_backwards() -> None:
    backwards = [drawn(TimeAugmentation(0.0, True), seed) for seed in range(20)]
    seen = 0
    for found in backwards:
        at = found.tensors["frame"][0, :, 0]
        if at[found.valid[0]].diff().min() >= 0:
            continue
        seen += 1
        pair = found.tensors["confidence"][0, :, 0, 0, 0]  # the number of the frame with which a pair began
        inside = found.valid[0] & (at > 0)
        torch.testing.assert_close(pair[inside], at[inside] - 1)
    assert seen > 5


def test_batch_without_targets_stays_without() -> None:
    given = replace(batch(), target_soft=None)
    assert TimeAugmentation(0.3, True)(given, torch.Generator().manual_seed(0)).target_soft is None
