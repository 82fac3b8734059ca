from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gebd.heads.networks import (
    MOTION_WIDTH,
    ContrastHead,
    Head,
    HeadName,
    HeadSpec,
    TemporalHead,
    build_head,
    describe_motion,
)

SPEC = HeadSpec(HeadName.TEMPORAL, in_channels=6, context_frames=3, uses_motion=True, width=8, dropout=0.2)
EVERY = [replace(SPEC, name=name, uses_motion=motion) for name in HeadName for motion in (True, False)]


def inputs(spec: HeadSpec, frames: int = 20, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, frames, spec.in_channels, generator=generator)
    motion = torch.randn(batch, frames, MOTION_WIDTH, generator=generator) if spec.uses_motion else None
    return features, torch.ones(batch, frames, dtype=torch.bool), motion


def made(spec: HeadSpec) -> Head:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return build_head(spec).eval()


def padded(values: torch.Tensor, frames: int, fill: float) -> torch.Tensor:
    return torch.cat([values, values.new_full((len(values), frames, *values.shape[2:]), fill)], 1)


@pytest.mark.parametrize("spec", EVERY)
def test_padding_changes_no_score(spec: HeadSpec) -> None:
    head = made(spec)
    features, valid, motion = inputs(spec)
    longer = padded(features, 7, 99.0), padded(valid, 7, False), None if motion is None else padded(motion, 7, 99.0)
    torch.testing.assert_close(head(*longer)[:, :20], head(features, valid, motion))


@pytest.mark.parametrize("spec", EVERY)
def test_every_weight_learns(spec: HeadSpec) -> None:
    head = build_head(spec).train()
    head(*inputs(spec)).sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in head.parameters())


def test_contrast_head_is_linear_in_the_means_before_and_after() -> None:
    head = made(replace(SPEC, name=HeadName.CONTRAST, uses_motion=False))
    assert isinstance(head, ContrastHead)
    features, valid, _ = inputs(head.spec)
    valid[0, 8] = False
    found = head(features, valid)
    for b, t in ((0, 5), (0, 9), (0, 0), (1, 19), (1, 1)):
        means = []
        for side in (range(t - 3, t), range(t + 1, t + 4)):
            there = [features[b, k] for k in side if 0 <= k < 20 and valid[b, k]]
            means.append(torch.stack(there).mean(0) if there else torch.zeros(6))
        torch.testing.assert_close(found[b, t], head.classifier(torch.cat(means))[0])


def test_temporal_head_does_not_see_what_all_frames_have_in_common() -> None:
    head = made(replace(SPEC, uses_motion=False))
    features, valid, _ = inputs(head.spec)
    offset = torch.full((1, 1, 6), 3.0)
    torch.testing.assert_close(head(features + offset, valid), head(features, valid), rtol=1e-4, atol=1e-5)
    looking = made(replace(SPEC, uses_motion=False, appearance=4))
    assert not torch.allclose(looking(features + offset, valid), looking(features, valid), atol=1e-3)


def test_corner_is_highest_at_a_change() -> None:
    head = made(replace(SPEC, uses_motion=False))
    assert isinstance(head, TemporalHead)
    values = torch.where(torch.arange(20)[None, :, None] < 10, 1.0, -1.0) * torch.ones(1, 1, 6)
    corner = head.likeness[0](values, torch.ones(1, 20, 1))[0, :, -1].detach()  # of the whole context
    assert set(corner[3:17].topk(2).indices.tolist()) == {6, 7}  # 9 and 10: the frame itself is of neither side
    assert float(corner.max()) > 2


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


def test_channels_that_never_change_count_nothing() -> None:
    head = made(replace(SPEC, uses_motion=False))
    head.features.fit(torch.zeros(6), torch.tensor([0.0, 1, 1, 1, 1, 1]))
    features, valid, _ = inputs(head.spec)
    other = features.clone()
    other[..., 0] = 1e6
    torch.testing.assert_close(head(other, valid), head(features, valid))


def test_head_that_uses_motion_asks_for_it() -> None:
    features, valid, _ = inputs(SPEC)
    with pytest.raises(ValueError, match="expected motion"):
        made(SPEC)(features, valid)


def test_spec_comes_back_from_its_content() -> None:
    assert HeadSpec.of(SPEC.content()) == SPEC


@pytest.mark.parametrize("change", [{"context_frames": 10**6}, {"width": 0}, {"in_channels": 10**9}, {"dropout": 1.0}])
def test_spec_out_of_bounds_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="within bounds"):
        replace(SPEC, **change)
