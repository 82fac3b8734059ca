"""Textures, shapes, times and nuisances, each by itself."""

from itertools import pairwise

import pytest
import torch

from training.world.config import Boundary, WorldConfig
from training.world.draw import Draw
from training.world.looks.patterns import FAMILIES
from training.world.looks.shapes import shape_bank
from training.world.looks.textures import texture_bank
from training.world.rendering.artefacts import Nuisances, apply_fades_, blur, compress, motion_blur
from training.world.timing import Fades, plan_boundaries, plan_fades, remaining_frames


@pytest.mark.parametrize("family", [family for family, _ in FAMILIES], ids=lambda family: family.__name__)
def test_family_makes_finite_and_varied_textures(family):
    made = family(3, 64, Draw(0))
    assert made.shape == (3, 3, 64, 64)
    assert bool(torch.isfinite(made).all())
    assert not torch.allclose(made[0], made[1])
    assert torch.equal(made, family(3, 64, Draw(0)))


def test_texture_bank_has_photographs_spectra():
    bank = texture_bank(48, 128, Draw(1))
    assert bank.shape == (48, 3, 128, 128)
    assert 0 <= float(bank.min()) < float(bank.max()) <= 1
    power = torch.fft.rfft2(bank.mean(1) - bank.mean((1, 2, 3)).view(-1, 1, 1)).abs().square().mean(0)
    radius = torch.hypot(torch.fft.fftfreq(128, 1 / 128)[:, None], torch.fft.rfftfreq(128, 1 / 128)[None])
    rings = torch.tensor([float(power[(radius >= low) & (radius < 2 * low)].mean()) for low in (2, 4, 8, 16, 32)])
    slope = (rings[1:] / rings[:-1]).log2().mean()
    # Power of photographs falls as 1 / f^2, give or take a half.
    assert -2.8 < float(slope) < -1.2


def test_texture_bank_holds_flat_and_busy_textures():
    detail = texture_bank(48, 64, Draw(2)).diff(dim=-1).abs().mean((1, 2, 3))
    assert float(detail.min()) < 0.005
    assert float(detail.max()) > 0.05


def test_shape_bank_ends_within_its_tiles():
    distance = shape_bank(40, Draw(3))
    assert distance.shape == (40, 1, 96, 96)
    border = torch.cat((distance[..., 0, :], distance[..., -1, :], distance[..., :, 0], distance[..., :, -1]), -1)
    assert float(border.min()) > 0.05
    area = (distance <= 0).float().mean((1, 2, 3))
    assert float(area.min()) > 0.005
    assert float(area.max()) < 0.7


def test_shape_bank_holds_distances_close_to_the_outlines():
    distance = shape_bank(200, Draw(3))
    slope_y, slope_x = torch.gradient(distance, spacing=2 * 1.3 / 95, dim=(-2, -1))
    slope = torch.hypot(slope_x, slope_y)[distance.abs() < 0.03]
    assert 0.9 < float(slope.median()) < 1.1
    assert 0.4 < float(slope.quantile(0.05)) < float(slope.quantile(0.95)) < 1.5


def test_plan_boundaries_keeps_its_distances():
    config = WorldConfig(num_frames=60, boundaries=(1, 6), min_stretch_frames=7)
    kinds = plan_boundaries(config, 300, Draw(4))
    counts = (kinds != 0).sum(1)
    assert set(counts.tolist()) == {1, 2, 3, 4, 5, 6}
    assert set(kinds.unique().tolist()) == set(range(7))
    for row in kinds:
        edges = [0, *row.nonzero()[:, 0].tolist(), 60]
        assert min(b - a for a, b in pairwise(edges)) >= 7


def test_plan_boundaries_of_a_clip_without_room_has_none():
    config = WorldConfig(num_frames=5, boundaries=(1, 3), min_stretch_frames=3)
    assert int(plan_boundaries(config, 4, Draw(0)).sum()) == 0


def test_remaining_frames_counts_to_the_next_boundary_of_its_kinds():
    kinds = torch.tensor([[0, 0, Boundary.CUT, 0, Boundary.SPEED, 0]])
    assert remaining_frames(kinds, (Boundary.CUT, Boundary.SPEED)).tolist() == [[2, 1, 2, 1, 2, 1]]
    assert remaining_frames(kinds, (Boundary.CUT,)).tolist() == [[2, 1, 4, 3, 2, 1]]


def test_plan_fades_is_darkest_at_the_boundary():
    kinds = torch.zeros(40, 12, dtype=torch.int64)
    kinds[:, 6] = Boundary.FADE
    fades = plan_fades(kinds, 3, Draw(5))
    through_black = (fades.level < 1).any(1)
    assert 5 < int(through_black.sum()) < 35
    assert bool((fades.level[through_black, 5:7] == 0).all())
    assert not bool(fades.seen[through_black, 5:7].any())
    dissolves = (fades.ghost > 0).any(1)
    assert bool((through_black ^ dissolves).all())
    assert bool((fades.ghost_frame[dissolves, 5] == 6).all())
    assert bool((fades.ghost_frame[dissolves, 6] == 5).all())
    assert bool((fades.ghost < 0.5).all())
    assert bool(fades.seen[:, [0, 1, 2, 9, 10, 11]].all())


def test_apply_fades_blends_frames_as_they_were():
    frames = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(1, 4, 3, 2, 2).clone() / 4
    one, zero = torch.ones(1, 4), torch.zeros(1, 4)
    ghost, ghost_frame = torch.tensor([[0.0, 0.25, 0.25, 0.0]]), torch.tensor([[0, 2, 1, 0]])
    apply_fades_(frames, Fades(one, zero, ghost, ghost_frame))
    assert torch.allclose(frames[0, :, 0, 0, 0], torch.tensor([0.0, 0.3125, 0.4375, 0.75]))
    level = torch.tensor([[1.0, 0.5, 1.0, 0.0]])
    apply_fades_(frames, Fades(level, one, zero, ghost_frame * 0))
    assert torch.allclose(frames[0, :, 0, 0, 0], torch.tensor([0.0, 0.65625, 0.4375, 1.0]))


def test_blur_is_a_gaussian_and_keeps_plain_frames():
    plain = torch.full((2, 1, 3, 12, 14), 0.4)
    assert torch.allclose(blur(plain, torch.tensor([0.5, 1.6])), plain, atol=1e-6)
    spike = torch.zeros(1, 1, 3, 21, 21)
    spike[..., 10, 10] = 1
    spread = blur(spike, torch.tensor([1.0]))[0, 0, 0]
    assert float(spread.sum()) == pytest.approx(1.0, abs=1e-5)
    line = torch.arange(21.0) - 10
    assert float((spread.sum(0) * line**2).sum()) == pytest.approx(1.0, abs=0.02)


def test_compress_is_finer_with_smaller_steps():
    frames = texture_bank(4, 64, Draw(6))[:, None, :, :45, :50]  # no whole number of blocks
    coarse, fine = (compress(frames, torch.full((4,), step)) for step in (0.1, 1e-4))
    assert coarse.shape == frames.shape
    assert float((fine - frames).abs().max()) < 4e-3
    assert 0.002 < float((coarse - frames).abs().mean()) < 0.1
    plain = torch.full((1, 1, 3, 16, 16), 0.5)
    assert float((compress(plain, torch.tensor([0.1])) - 0.5).abs().max()) < 0.03


def test_motion_blur_follows_the_displacement():
    frames = torch.zeros(1, 2, 3, 9, 9)
    frames[..., 4] = 1
    assert torch.allclose(motion_blur(frames, torch.zeros(1, 1, 2, 9, 9), torch.tensor([0.25])), frames, atol=1e-5)
    right = torch.zeros(1, 1, 2, 9, 9)
    right[:, :, 0] = 4
    blurred = motion_blur(frames, right, torch.tensor([0.25]))[0, 0, 0, 4]
    assert torch.allclose(blurred, torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 0]) / 3, atol=1e-5)


def test_nuisances_of_no_strength_do_nothing():
    frames = Draw(7).uniform((3, 4, 3, 16, 16))
    calm = Nuisances(3, 4, 0.0, Draw(8))
    assert torch.equal(calm.apply(frames.clone(), torch.zeros(3, 3, 2, 16, 16), slice(0, 4)), frames)


def test_nuisances_touch_some_clips_and_stay_in_range():
    frames = Draw(7).uniform((24, 4, 3, 16, 16), 0.2, 0.8)
    made = Nuisances(24, 4, 1.0, Draw(8)).apply(frames.clone(), torch.ones(24, 3, 2, 16, 16), slice(0, 4))
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    touched = ((made - frames).abs() > 1e-6).flatten(1).any(1)
    assert 12 < int(touched.sum()) <= 24
