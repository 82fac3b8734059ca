from __future__ import annotations

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from gebd import Batch, Sample, collate
from schemas.errors import UsageError


def sample(length, raters=None, seed=0, pairs=False):
    rng = np.random.default_rng(seed)
    targets = None if raters is None else rng.random((raters, length), dtype=np.float32)
    tensors = {"frame": (3,), "stage3_2x2": (5, 2, 2)} | ({"displacement": (2, 4, 5)} if pairs else {})
    return Sample(
        tensors={name: rng.standard_normal((length, *row)).astype(np.float16) for name, row in tensors.items()},
        valid=rng.random(length) < 0.8,
        time_seconds=np.arange(length) / 10,
        pair_valid=rng.random(length) < 0.5 if pairs else None,
        target_hard=None if targets is None else (targets[0] > 0.5).astype(np.float32),
        target_soft=None if targets is None else targets[0],
        rater_targets=targets,
        rater_times=None if raters is None else ((0.5, 1.0),) + ((),) * (raters - 1),
        duration_seconds=length / 10,
        fps=25.0,
        video_id=f"v{seed}",
        slice_start_seconds=float(seed),
    )


def test_collate_pads_to_the_longest():
    samples = [sample(5, 3, 0, True), sample(8, 4, 1, True), sample(2, 1, 2, True)]
    batch = collate(samples)
    assert len(batch) == 3 and batch.video_id == ("v0", "v1", "v2")
    assert batch.features.shape == (3, 8, 3) and batch.features.dtype == torch.float32
    assert {name: tuple(rows.shape) for name, rows in batch.tensors.items()} == {
        "frame": (3, 8, 3),
        "stage3_2x2": (3, 8, 5, 2, 2),
        "displacement": (3, 8, 2, 4, 5),
    }
    assert batch.features is batch.tensors["frame"] and batch.displacement is batch.tensors["displacement"]
    assert batch.rater_targets.shape == (3, 4, 8)
    assert batch.rater_valid.tolist() == [[True] * 3 + [False], [True] * 4, [True] + [False] * 3]
    for row, one in enumerate(samples):
        count = len(one.valid)
        for name in (*one.tensors, "valid", "time_seconds", "pair_valid", "target_hard", "target_soft"):
            found = (batch.tensors[name] if name in one.tensors else getattr(batch, name))[row].numpy()
            expected = one.tensors[name] if name in one.tensors else getattr(one, name)
            np.testing.assert_array_equal(found[:count], expected.astype(found.dtype))
            assert not found[count:].any(), name
        np.testing.assert_array_equal(batch.rater_targets[row, : len(one.rater_targets), :count], one.rater_targets)
        assert batch.rater_times[row] == one.rater_times
    assert batch.slice_start_seconds.tolist() == [0.0, 1.0, 2.0]
    assert batch.time_seconds.dtype == batch.duration_seconds.dtype == torch.float64
    assert batch.confidence is None


def test_collate_without_annotations_has_no_targets():
    batch = collate([sample(5), sample(3)])
    absent = {field.name for field in fields(Batch) if getattr(batch, field.name) is None}
    targets = {"target_hard", "target_soft", "rater_targets", "rater_valid", "rater_times"}
    assert absent == targets | {"pair_valid"}
    assert batch.displacement is None and batch.confidence is None


def test_features_are_frame_and_motion_in_the_order_asked_for():
    rng = np.random.default_rng(0)
    tensors = {
        "stage4": rng.random((5, 7), dtype=np.float32),
        "motion": rng.random((5, 2), dtype=np.float32),
        "frame": rng.random((5, 3), dtype=np.float32),
    }
    one = replace(sample(5), tensors=tensors)
    expected = np.concatenate([tensors["motion"], tensors["frame"]], axis=1)
    np.testing.assert_array_equal(one.features, expected)
    np.testing.assert_array_equal(collate([one, one]).features[1].numpy(), expected)
    without = replace(one, tensors={"stage4": tensors["stage4"]})
    for of in (without, collate([without])):
        with pytest.raises(UsageError, match="expected frame or motion among the tensors; got stage4"):
            _ = of.features


def test_collate_refuses_samples_of_two_datasets_and_none():
    with pytest.raises(UsageError, match="same tensors"):
        collate([sample(5), sample(5, pairs=True)])
    with pytest.raises(UsageError, match="at least one"):
        collate([])


def test_batch_moves_with_all_its_tensors():
    batch = collate([sample(5, 2, pairs=True)])
    moved = batch.to("meta")
    assert moved.tensors.keys() == batch.tensors.keys()
    for value in (*moved.tensors.values(), *(getattr(moved, field.name) for field in fields(Batch))):
        assert not isinstance(value, torch.Tensor) or value.device.type == "meta"
    assert moved.video_id == batch.video_id and moved.rater_times == batch.rater_times


@pytest.mark.parametrize("length", [5, 20_000])  # small tensors go as bytes, large ones as tensors
def test_batch_survives_the_way_between_processes(length):
    batch = collate([sample(length, 2, pairs=True), sample(3, 1, pairs=True)])
    other = pickle.loads(pickle.dumps(batch))
    assert other.tensors.keys() == batch.tensors.keys()
    pairs = [(batch.tensors[name], other.tensors[name]) for name in batch.tensors]
    pairs += [(getattr(batch, field.name), getattr(other, field.name)) for field in fields(Batch)[1:]]
    for mine, theirs in pairs:
        if isinstance(mine, torch.Tensor):
            assert theirs.dtype == mine.dtype and torch.equal(theirs, mine)
            theirs.zero_()  # is writable, without a warning
        else:
            assert theirs == mine


def test_sample_cannot_be_changed():
    with pytest.raises(AttributeError):
        sample(3).fps = 30.0
    assert replace(sample(3), fps=30.0).fps == 30.0
