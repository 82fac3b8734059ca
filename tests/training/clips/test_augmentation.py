"""Crops, flips and colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.clips.augmentation import Augmentation, Box, augmented, cropped, draw_augmentation, evaluation_boxes
from training.clips.config import ClipSettings

WHOLE = Box(0, 0, 1, 1)


def draws(width: float, height: float, settings: ClipSettings, count: int = 2000) -> list[Augmentation]:
    generator = np.random.default_rng(0)
    return [draw_augmentation(width, height, settings, generator, may_flip=True) for _ in range(count)]


@pytest.mark.parametrize(("width", "height"), [(340, 256), (256, 340), (100, 100), (1920.5, 90)])
def test_crops_have_sides_of_the_scales_and_lie_within_the_frame(width: float, height: float) -> None:
    settings, short = ClipSettings(), min(width, height)
    scales = np.array(settings.scales)
    seen = set()
    for draw in draws(width, height, settings):
        left, top, wide, high = draw.box
        across, down = (int(np.abs(scales * short - side).argmin()) for side in (wide * width, high * height))
        assert wide * width == pytest.approx(scales[across] * short)
        assert high * height == pytest.approx(scales[down] * short)
        assert abs(across - down) <= 1
        assert left >= 0
        assert top >= 0
        assert left + wide <= 1 + 1e-9
        assert top + high <= 1 + 1e-9
        seen.add((across, down))
    assert len(seen) == 10  # 4 of equal steps, 3 pairs of neighbours in both orders


def test_crops_lie_at_thirteen_places() -> None:
    settings = ClipSettings(scales=(0.5,))
    places = {(round(4 * draw.box.left / 0.5), round(4 * draw.box.top / 0.5)) for draw in draws(10, 10, settings)}
    assert places == {(x, y) for x in (0, 2, 4) for y in (0, 2, 4)} | {(x, y) for x in (1, 3) for y in (1, 3)}


def test_half_of_the_clips_are_flipped_and_none_that_may_not_be() -> None:
    flipped = [draw.flipped for draw in draws(10, 10, ClipSettings())]
    assert 900 < sum(flipped) < 1100
    assert not any(draw.flipped for draw in draws(10, 10, ClipSettings(flip=0)))
    generator = np.random.default_rng(0)
    kept = [draw_augmentation(10, 10, ClipSettings(), generator, may_flip=False) for _ in range(200)]
    assert not any(draw.flipped for draw in kept)
    assert [draw.box for draw in kept] == [draw.box for draw in draws(10, 10, ClipSettings(), 200)]  # else the same


def test_colours_change_by_at_most_their_strength() -> None:
    assert all(draw.colour is None for draw in draws(10, 10, ClipSettings(), 20))
    factors = np.array([draw.colour for draw in draws(10, 10, ClipSettings(colour=0.4))])
    assert factors.shape == (2000, 3)
    assert 0.6 <= factors.min() < 0.61
    assert 1.39 < factors.max() <= 1.4


def test_a_flip_mirrors_all_frames() -> None:
    clip = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).reshape(2, 4, 4, 3)
    found = augmented(clip, Augmentation(WHOLE, flipped=True))
    assert found.is_contiguous()
    assert torch.equal(found, clip.flip(2))
    assert torch.equal(augmented(clip, Augmentation(WHOLE)), clip)


def test_colours_of_factor_one_change_nothing_and_others_what_their_names_say() -> None:
    clip = torch.from_numpy(np.random.default_rng(0).integers(40, 160, (3, 8, 8, 3), dtype=np.uint8))
    assert torch.equal(augmented(clip, Augmentation(WHOLE, colour=(1, 1, 1))), clip)
    brighter = augmented(clip, Augmentation(WHOLE, colour=(1.5, 1, 1)))
    assert torch.allclose(brighter.float(), clip.float() * 1.5, atol=1)
    flat = augmented(clip, Augmentation(WHOLE, colour=(1, 0, 1)))
    assert flat.float().std() < 0.5
    grey = augmented(clip, Augmentation(WHOLE, colour=(1, 1, 0)))
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 0] == grey[..., 2]).all()
    white = augmented(torch.full_like(clip, 200), Augmentation(WHOLE, colour=(2, 1, 1)))
    assert (white == 255).all()


def test_boxes_of_evaluation() -> None:
    (centre,) = evaluation_boxes(340, 256, 1)
    assert centre.width * 340 == pytest.approx(224)
    assert centre.height * 256 == pytest.approx(224)
    assert centre.left * 340 == pytest.approx(58)
    wide = evaluation_boxes(340, 256, 3)
    assert [round(box.left * 340) for box in wide] == [0, 42, 84]
    assert all(box.width * 340 == pytest.approx(256) and box.height == 1 for box in wide)
    tall = evaluation_boxes(256, 340, 3)
    assert [round(box.top * 340) for box in tall] == [0, 42, 84]
    with pytest.raises(ValueError, match="expected 1 or 3 crops; got 2"):
        evaluation_boxes(340, 256, 2)


def test_a_crop_of_pixels_that_are_not_square_is_square_as_displayed() -> None:
    """720 x 576 pixels of 16:15 are displayed as 768 x 576."""
    (box,) = evaluation_boxes(720 * 16 / 15, 576, 1)
    part = box.of(np.zeros((576, 720, 3), np.uint8))
    assert part.shape[:2] == (504, 472)  # 472.5 stored pixels are displayed as wide as 504 lines are high


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (40, 60), (300, 200)])
def test_any_frame_is_cropped_to_the_size(shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for draw in draws(shape[1], shape[0], ClipSettings(), 100):
        found = cropped(frame, draw.box, 32)
        assert found.shape == (32, 32, 3)
        assert found.dtype == np.uint8


def test_a_crop_shows_its_part_of_the_frame() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[32:, :32] = 200
    assert (cropped(frame, Box(0, 0.5, 0.5, 0.5), 32) == 200).all()
    assert (cropped(frame, Box(0.5, 0.5, 0.5, 0.5), 32) == 0).all()
    assert abs(int(cropped(frame, WHOLE, 32).mean()) - 50) <= 1
