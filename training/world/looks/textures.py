"""The bank of textures for a world's layers."""

from __future__ import annotations

import torch
from torch import Tensor

from training.world.draw import Draw
from training.world.looks.patterns import FAMILIES, spectral_noise

_MIXED_SHARE = 0.2
_TEXTURES_AT_A_TIME = 16  # limits the memory of a bank on a small machine


def texture_bank(count: int, size: int, draw: Draw) -> Tensor:
    """`count` textures of every family, (count, 3, size, size) float32 in [0, 1].

    `FAMILIES` gives the fractions of the families; their order does not matter, because layers draw at random. A fifth
    are patchworks of two textures, which have regions of different statistics with edges between them.
    """
    mixed = round(count * _MIXED_SHARE)
    plain = _plain(count - mixed, size, draw)
    if mixed == 0:
        return _balance(plain, draw)
    one = plain[draw.integers((mixed,), 0, len(plain) - 1)]
    other = plain[draw.integers((mixed,), 0, len(plain) - 1)].roll((size // 3, size // 5), (-2, -1))
    region = spectral_noise(mixed, size, draw).mean(1, keepdim=True)
    region = region - region.mean((-2, -1), keepdim=True)
    region = region / region.std((-2, -1), keepdim=True).clamp_min(1e-6)
    blend = torch.sigmoid((region + draw.uniform((mixed, 1, 1, 1), -0.7, 0.7)) * 12)
    return _balance(torch.cat((plain, torch.lerp(one, other, blend))), draw)


def _plain(count: int, size: int, draw: Draw) -> Tensor:
    """`count` textures, each of one family."""
    total = sum(share for _, share in FAMILIES)
    made: list[Tensor] = []
    done, due = 0, 0.0
    for family, share in FAMILIES:
        due += share / total * count
        while done < round(due):
            now = min(_TEXTURES_AT_A_TIME, round(due) - done)
            made.append(family(now, size, draw))
            done += now
    return torch.cat(made)


def _balance(textures: Tensor, draw: Draw) -> Tensor:
    """Reduce the contrast of half of the textures, because much of what cameras see has low contrast."""
    count = len(textures)
    mean = textures.mean((-3, -2, -1), keepdim=True)
    keep = torch.where(draw.chance((count, 1, 1, 1), 0.5), draw.uniform((count, 1, 1, 1), 0.25, 1.0), 1.0)
    return (mean + (textures - mean) * keep).clamp(0.0, 1.0)
