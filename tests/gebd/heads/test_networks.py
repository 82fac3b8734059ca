from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from gebd.heads.networks.base import MOTION_WIDTH, Head, describe_motion
from gebd.heads.networks.building import build_head
from gebd.heads.networks.contrast import ContrastHead
from gebd.heads.networks.motion_contrast import MotionContrast
from gebd.heads.networks.over_time import means_around
from gebd.heads.networks.spec import HeadName, HeadSpec
from gebd.heads.networks.temporal import TemporalHead

FRAME, MAPS = ("frame", (6,)), ("stage3_2x2", (5, 2, 2))
PAIRS = (("displacement", (2, 8, 8)), ("confidence", (1, 8, 8)))
SPEC = HeadSpec(HeadName.TEMPORAL, (FRAME, *PAIRS), context_frames=3, width=8, dropout=0.2)
ALONE = replace(SPEC, tensors=(FRAME,))
EVERY = [replace(SPEC, name=name, tensors=(FRAME, *pairs)) for name in HeadName for pairs in (PAIRS, ())]
EVERY += [replace(SPEC, name=HeadName.SIMILARITY, tensors=tensors) for tensors in ((FRAME, MAPS, *PAIRS), (MAPS,))]
Inputs = tuple[dict[str, torch.Tensor], torch.Tensor]


def inputs(spec: HeadSpec, frames: int = 20, batch: int = 2) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(batch, frames, *shape, generator=generator) for name, shape in spec.tensors}
    if "confidence" in tensors:
        tensors["confidence"] = tensors["confidence"].sigmoid()
    return tensors, torch.ones(batch, frames, dtype=torch.bool)


def made(spec: HeadSpec) -> Head:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return build_head(spec).eval()


def padded(values: torch.Tensor, frames: int, fill: float) -> torch.Tensor:
    return torch.cat([values, values.new_full((len(values), frames, *values.shape[2:]), fill)], 1)


@pytest.mark.parametrize("spec", EVERY)
def test_padding_changes_no_score(spec: HeadSpec) -> None:
    head = made(spec)
    tensors, valid = inputs(spec)
    longer = {name: padded(rows, 7, 9.0) for name, rows in tensors.items()}
    found = head(longer, padded(valid, 7, False))[:, :20]
    torch.testing.assert_close(found, head(tensors, valid), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", EVERY)
def test_every_weight_learns(spec: HeadSpec) -> None:
    head = build_head(spec).train()
    head(*inputs(spec)).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in head.parameters())


@pytest.mark.parametrize("spec", EVERY)
def test_window_without_valid_frames_is_no_nan(spec: HeadSpec) -> None:
    tensors, valid = inputs(spec)
    valid[1] = False
    assert bool(made(spec)(tensors, valid).isfinite().all())


def test_noise_is_added_in_training_alone() -> None:
    head = made(replace(ALONE, dropout=0.0))
    head.input_noise = 1.0
    tensors, valid = inputs(ALONE)
    assert torch.equal(head(tensors, valid), head(tensors, valid))
    head.train()
    assert not torch.equal(head(tensors, valid), head(tensors, valid))


def test_contrast_head_is_linear_in_the_means_before_and_after() -> None:
    head = made(replace(ALONE, name=HeadName.CONTRAST))
    assert isinstance(head, ContrastHead)
    tensors, valid = inputs(head.spec)
    features = tensors["frame"]
    valid[0, 8] = False
    found = head(tensors, valid)
    for b, t in ((0, 5), (0, 9), (0, 0), (1, 19), (1, 1)):
        means = []
        for side in (range(t - 3, t), range(t + 1, t + 4)):
            there = [features[b, k] for k in side if 0 <= k < 20 and valid[b, k]]
            means.append(torch.stack(there).mean(0) if there else torch.zeros(6))
        torch.testing.assert_close(found[b, t], head.classifier(torch.cat(means))[0])


def test_temporal_head_does_not_see_what_all_frames_have_in_common() -> None:
    head = made(ALONE)
    tensors, valid = inputs(head.spec)
    moved = {"frame": tensors["frame"] + 3.0}
    torch.testing.assert_close(head(moved, valid), head(tensors, valid), rtol=1e-4, atol=1e-5)


def test_appearance_sees_what_all_frames_have_in_common() -> None:
    head = made(replace(ALONE, appearance=4))
    tensors, valid = inputs(head.spec)
    assert not torch.allclose(head({"frame": tensors["frame"] + 3.0}, valid), head(tensors, valid), atol=1e-3)


def test_corner_is_highest_at_a_change() -> None:
    head = made(ALONE)
    assert isinstance(head, TemporalHead)
    values = torch.where(torch.arange(20)[None, :, None] < 10, 1.0, -1.0) * torch.ones(1, 1, 6)
    corner = head.likeness[0](values, torch.ones(1, 20, 1))[0, :, -1].detach()  # of the whole context
    assert set(corner[3:17].topk(2).indices.tolist()) == {6, 7}  # 9 and 10: the frame itself is of neither side
    assert float(corner.max()) > 2


def test_means_around_equal_a_loop() -> None:
    values, valid = torch.randn(2, 12, 3, 2), torch.rand(2, 12) < 0.7
    before, after, there = means_around(values, valid, 3)
    for b in range(2):
        for t in range(12):
            sides = [
                [values[b, k] for k in side if 0 <= k < 12 and valid[b, k]]
                for side in (range(t - 3, t), range(t, t + 3))
            ]
            for found, side in zip((before, after), sides, strict=True):
                mean = torch.stack(side).mean(0) if side else torch.zeros(3, 2)
                torch.testing.assert_close(found[b, t], mean, rtol=1e-4, atol=1e-5)
            assert there[b, t] == float(all(sides))


def test_motion_contrast_is_highest_where_motion_turns_round() -> None:
    displacement = torch.ones(1, 20, 2, 14, 14)
    displacement[:, 10:] = -1.0
    maps = MotionContrast((4,), 8)._maps(
        displacement, torch.ones(1, 20, 1, 14, 14), torch.ones(1, 20, dtype=torch.bool)
    )
    apart = maps[0, :, 3].mean((1, 2))  # behind speed, deviation and confidence
    assert int(apart.argmax()) == 10 and float(apart[:6].max()) < 0.05


def test_motion_is_weighted_by_confidence() -> None:
    generator = torch.Generator().manual_seed(2)
    displacement = torch.randn(1, 3, 2, 8, 8, generator=generator)
    confidence = torch.rand(1, 3, 1, 8, 8, generator=generator)
    confidence[..., :2, :2] = 0
    found = describe_motion(displacement, confidence)
    assert found.shape == (1, 3, MOTION_WIDTH)
    displacement[..., :2, :2] = 50.0
    torch.testing.assert_close(describe_motion(displacement, confidence), found)
    part = displacement[0, 1, :, 2:4, 0:2], confidence[0, 1, :, 2:4, 0:2]
    mean = (part[0] * part[1]).sum((1, 2)) / part[1].sum()
    torch.testing.assert_close(found[0, 1, [4, 20]], mean)  # second row, first column, of x and of y


def test_motion_of_the_whole_frame_is_not_deviation() -> None:
    displacement = torch.ones(1, 1, 2, 8, 8) * torch.tensor([3.0, 4.0]).view(2, 1, 1)
    speed, deviation = describe_motion(displacement, torch.ones(1, 1, 1, 8, 8))[0, 0, -2:].expm1().tolist()
    assert (speed, deviation) == pytest.approx((5.0, 0.0), abs=1e-5)


@pytest.mark.parametrize("name", HeadName)
def test_channels_that_never_change_count_nothing(name: HeadName) -> None:
    head = made(replace(ALONE, name=name))
    standard = next(iter(head.standards))
    head.standard(standard).fit(torch.zeros(6), torch.tensor([0.0, 1, 1, 1, 1, 1]))
    tensors, valid = inputs(head.spec)
    other = tensors["frame"].clone()
    other[..., 0] = 1e6
    torch.testing.assert_close(head({"frame": other}, valid), head(tensors, valid))


@pytest.mark.parametrize("name", HeadName)
def test_tensor_that_is_missing_or_of_another_shape_is_named(name: HeadName) -> None:
    head = made(replace(SPEC, name=name))
    tensors, valid = inputs(SPEC)
    with pytest.raises(ValueError, match="expected frame"):
        head(tensors | {"frame": torch.zeros(2, 20, 7)}, valid)
    del tensors["displacement"]
    with pytest.raises(ValueError, match="expected displacement"):
        head(tensors, valid)


@pytest.mark.parametrize("name", [HeadName.CONTRAST, HeadName.TEMPORAL])
def test_heads_of_vectors_ask_for_one(name: HeadName) -> None:
    with pytest.raises(ValueError, match="expected frame or motion"):
        build_head(replace(SPEC, name=name, tensors=(MAPS,)))


@pytest.mark.parametrize("spec", EVERY)
def test_spec_comes_back_from_its_content(spec: HeadSpec) -> None:
    assert HeadSpec.of(spec.content()) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"context_frames": 10**6},
        {"width": 0},
        {"dropout": 1.0},
        {"tensors": ()},
        {"tensors": (("frame", (10**9,)),)},
        {"tensors": (("frame", (0,)),)},
        {"tensors": (("frame", ()),)},
        {"tensors": (FRAME,) * 100},
    ],
)
def test_spec_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected a head of"):
        replace(SPEC, **change)


@pytest.mark.parametrize(
    "tensors",
    [
        (FRAME, FRAME),
        (FRAME, PAIRS[0]),
        (FRAME, PAIRS[1]),
        (PAIRS[0],),
        (PAIRS[0], ("confidence", (1, 4, 4))),
        (("displacement", (3, 8, 8)), PAIRS[1]),
        (("displacement", (2,)), ("confidence", (1,))),
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(tensors: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(SPEC, name=HeadName.SIMILARITY, tensors=tensors)
