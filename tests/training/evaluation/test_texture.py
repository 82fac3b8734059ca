"""Texture: gradients of known images, and the threshold."""

from __future__ import annotations

import torch

from training.evaluation.texture import texture, textured


def test_texture_of_ramps_is_their_slope() -> None:
    ramp = torch.arange(24).expand(16, 24) * 3
    pixels = ramp.unsqueeze(-1).expand(-1, -1, 3).byte()
    found = texture(torch.stack((pixels, torch.zeros_like(pixels))))
    assert found.shape == (2, 2, 3)
    torch.testing.assert_close(found[0, :, 1], torch.full((2,), 3.0))
    # A column at the border has a neighbour on one side only: half the slope in 1 of 8 columns.
    torch.testing.assert_close(found[0, :, 0], torch.full((2,), ((7 * 9 + 1.5**2) / 8) ** 0.5))
    assert found[1].eq(0).all()


def test_texture_weighs_colours_as_brightness_and_both_directions_alike() -> None:
    rows = torch.arange(16).view(16, 1).expand(16, 16) * 10
    green = torch.zeros(16, 16, 3, dtype=torch.uint8)
    green[..., 1] = rows
    torch.testing.assert_close(texture(green), texture(green.transpose(0, 1)).T)
    both = torch.zeros(24, 24, 3, dtype=torch.uint8)
    both[..., 1] = torch.arange(24).view(24, 1) * 3 + torch.arange(24) * 4
    torch.testing.assert_close(texture(both)[1, 1], torch.tensor(5 * 0.587))


def test_textured_tells_an_edge_from_flat_and_from_faint_noise() -> None:
    pixels = torch.full((1, 8, 24, 3), 100, dtype=torch.uint8)
    pixels[:, :, 12:] = 140  # an edge in the middle cell
    noise = torch.randn(8, 8, generator=torch.Generator().manual_seed(0)) * 1.5
    pixels[0, :, 16:] = (140 + noise).round().byte().unsqueeze(-1)
    assert textured(pixels).tolist() == [[[False, True, False]]]
