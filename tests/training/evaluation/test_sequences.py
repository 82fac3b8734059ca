"""Labelled sequences: the requested number, with the world's labels, and a baseline from pixels."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from training.evaluation.passes import to_pixels
from training.evaluation.sequences import boundary_world, label_sequences, pixel_differences, sample_clips
from training.world import Boundary, World, WorldConfig

CONFIG = WorldConfig(height=32, width=48, textures=6, shapes=6, texture_px=64)


def test_sample_clips_yields_the_batches_of_the_world_and_the_rest() -> None:
    world = World(CONFIG, seed=1)
    batches = list(sample_clips(world, 5, 2))
    assert [len(clips.frames) for clips in batches] == [2, 2, 1]
    torch.testing.assert_close(batches[2].frames, world.sample(2, 2).frames[:1])
    assert batches[2].boundary.shape == (1, 8)


def test_label_sequences_has_features_and_labels_of_each_clip() -> None:
    clips = World(CONFIG, seed=2).sample(0, 3)
    pixels = pixel_differences(to_pixels(clips.frames))
    found = label_sequences(clips, {"mean": clips.frames.mean((3, 4)), "pixels": pixels})
    assert [len(sequence) for sequence in found] == [8, 8, 8]
    for i, sequence in enumerate(found):
        torch.testing.assert_close(sequence.features["mean"], clips.frames[i].mean((2, 3)))
        assert sequence.features["pixels"].shape == (8, 196)
        assert list(sequence.boundary_frames) == (clips.boundary[i] != Boundary.NONE).nonzero().flatten().tolist()
        assert sequence.actor_motion.equal(clips.actor_motion[i]) and sequence.camera_motion.equal(
            clips.camera_motion[i]
        )


@pytest.mark.parametrize("seed", [0, 1])
def test_boundary_world_has_ten_seconds_and_one_to_six_boundaries(seed: int) -> None:
    clips = boundary_world(CONFIG, seed).sample(0, 4)
    assert clips.frames.shape[:2] == (4, 100)
    for i in range(4):
        frames = [0, *(frame for frame, _ in clips.boundaries(i)), 100]
        assert 3 <= len(frames) <= 8
        assert min(b - a for a, b in pairwise(frames)) >= 8


def test_pixel_differences_are_those_to_the_next_frame() -> None:
    pixels = torch.zeros(2, 3, 28, 42, 3, dtype=torch.uint8)
    pixels[1, 1, :2, :3] = 9  # one part of the grid, in all channels
    pixels[1, 2, :2, :3, 0] = 255
    found = pixel_differences(pixels)
    assert found.shape == (2, 3, 196)
    assert found[0].eq(0).all() and found[1, :, 1:].eq(0).all()
    assert found[1, :, 0].tolist() == [9.0, 88.0, 88.0]  # (246 + 9 + 9) / 3
