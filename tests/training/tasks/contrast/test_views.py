"""Which frames views take, how they are changed, and how they are told apart again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.clips.augmentation import Augmentation, Box
from training.tasks.contrast.config import ViewSettings
from training.tasks.contrast.views import Change, blurred, draw_change, draw_positions, num_frames, parted

SETTINGS = ViewSettings(size_px=32, segments=3, segment_frames=4, frame_stride=3)


@pytest.mark.parametrize("count", [2, 3, 5, 12, 30, 100, 1000])
def test_positions_are_those_of_their_parts(count: int) -> None:
    generator = np.random.default_rng(count)
    for _ in range(50):
        one, same, other, *clips = draw_positions(count, SETTINGS, generator, frames=True, clips=True)
        assert one.tolist() == same.tolist() and 0 <= min(one[0], other[0]) <= max(one[0], other[0]) < count
        assert count < 3 or one[0] * 3 // count != other[0] * 3 // count or abs(one[0] - other[0]) >= 1
        for clip in clips:
            assert clip.shape == (12,)
            for part, positions in enumerate(clip.reshape(3, 4)):
                first, last = part * count // 3, max((part + 1) * count // 3, 1)
                assert min(first, count - 1) <= positions.min() <= positions.max() < max(last, first + 1)
                steps = set(np.diff(positions).tolist())
                assert steps == {3} if last - first > 9 else max(steps) <= 3


def test_positions_of_views_differ_and_reach_all_of_a_part() -> None:
    generator, starts = np.random.default_rng(0), set[int]()
    for _ in range(200):
        query, key = draw_positions(60, SETTINGS, generator, frames=False, clips=True)
        starts |= {int(query[0]), int(key[0])}
    assert starts == set(range(11))  # of 20 frames, the last segment begins at the tenth from the end


def test_draw_change_keeps_within_its_settings() -> None:
    settings = ViewSettings(size_px=224, least_area=0.3, grey=0.25, blur=0.5, colour_share=0.8)
    generator = np.random.default_rng(1)
    changes = [draw_change(320, 180, settings, generator) for _ in range(2000)]
    for change in changes:
        box = change.augmentation.box
        assert box.left >= 0 and box.top >= 0 and box.left + box.width <= 1 + 1e-9 and box.top + box.height <= 1 + 1e-9
        assert box.width * box.height >= 0.3 - 1e-9
        assert box == Box(0, 0, 1, 1) or 0.74 < box.width * 320 / (box.height * 180) < 1.34
    blurs = [change.blur for change in changes if change.blur]
    assert 0.45 < len(blurs) / 2000 < 0.55 and min(blurs) >= 0.1 and max(blurs) <= 2.0
    assert 0.2 < sum(change.grey for change in changes) / 2000 < 0.3
    assert 0.75 < sum(change.augmentation.colour is not None for change in changes) / 2000 < 0.85
    assert 0.45 < sum(change.augmentation.flipped for change in changes) / 2000 < 0.55


def test_change_of_frames_is_the_same_for_all_of_them() -> None:
    generator = torch.Generator().manual_seed(0)
    frame = torch.randint(256, (1, 16, 16, 3), dtype=torch.uint8, generator=generator)
    changed = Change(Augmentation(Box(0, 0, 1, 1), flipped=True), grey=True, blur=0.8).of(frame.expand(3, 16, 16, 3))
    assert changed.dtype == torch.uint8 and changed.shape == (3, 16, 16, 3)
    assert bool((changed == changed[:1]).all()) and bool((changed == changed[..., :1]).all())


def test_blurred_is_a_gaussian_with_reflected_borders() -> None:
    frames = torch.randint(256, (2, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    reach, pixels = 3, frames.double().numpy()
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / 0.9) ** 2)
    weights /= weights.sum()
    padded = np.pad(pixels, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
    slow = np.zeros_like(pixels)
    for y in range(8):
        for x in range(8):
            window = padded[:, y : y + 2 * reach + 1, x : x + 2 * reach + 1]
            slow[:, y, x] = np.einsum("tyxc,y,x->tc", window, weights, weights)
    assert np.abs(blurred(frames, 0.9).double().numpy() - slow).max() <= 0.51
    assert blurred(frames[:, :2, :2], 3.0).shape == (2, 2, 2, 3)


@pytest.mark.parametrize(("frames", "clips", "count"), [(True, True, 27), (True, False, 3), (False, True, 24)])
def test_parted_gives_each_view_its_frames(frames: bool, clips: bool, count: int) -> None:
    assert num_frames(SETTINGS, frames=frames, clips=clips) == count
    numbers = torch.arange(2 * count).view(2, count, 1, 1, 1).expand(2, count, 4, 4, 3)
    views = parted(numbers, SETTINGS, of_frames=frames, of_clips=clips)
    assert (views.query_frame is not None) == frames and (views.query_clip is not None) == clips
    found = [view[1].reshape(-1, 48)[:, 0].tolist() for view in views if view is not None]
    assert [number for view in found for number in view] == list(range(count, 2 * count))
    if views.key_clip is not None:
        assert views.key_clip.shape == (2, 3, 4, 4, 4, 3)
