"""Motion of layers: the maps from layer coordinates to the screen, their inverses, and the classes of motion.

A point u of a layer appears on the screen at x = A D(u) + c, in pixels, x right and y down. A is linear (rotation,
zoom, shear), c is the layer's centre, D a deformation by two crossed waves. Every part has a closed-form inverse, so
displacement is exact up to float32 rounding; nothing is searched or estimated.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.world.config import Motion


def linear_map(angle: Tensor, log_zoom: Tensor, shear: Tensor) -> Tensor:
    """(..., 2, 2): shear along x, then zoom, then rotation by `angle` radians, clockwise on the screen."""
    zoom = log_zoom.exp()
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    first = torch.stack((cosine, cosine * shear - sine), dim=-1)
    second = torch.stack((sine, sine * shear + cosine), dim=-1)
    return torch.stack((first, second), dim=-2)


def invert(matrix: Tensor) -> Tensor:
    """Invert (..., 2, 2) by the adjugate."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    adjugate = torch.stack((torch.stack((d, -b), -1), torch.stack((-c, a), -1)), -2)
    return adjugate / (a * d - b * c)[..., None, None]


def deform(x: Tensor, y: Tensor, amplitude: Tensor, wave: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """D: bend x by a wave along y, then y by a wave along the new x.

    Each step shifts one coordinate by a function of the other, so subtracting the shift inverts it at any amplitude.
    amplitude (px) and wave (radians a px) broadcast with x and y; phase (2, ...) holds the phases of both waves.
    """
    x = x + amplitude * (wave * y + phase[0]).sin()
    y = y + amplitude * (wave * x + phase[1]).sin()
    return x, y


def undeform(x: Tensor, y: Tensor, amplitude: Tensor, wave: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """The exact inverse of `deform`."""
    y = y - amplitude * (wave * x + phase[1]).sin()
    x = x - amplitude * (wave * y + phase[0]).sin()
    return x, y


def classify(shift: Tensor, change: Tensor, bend_px: Tensor, reach_px: Tensor, still_px: float) -> Tensor:
    """Classify the strongest part of a layer's motion: int64 (...), values of `Motion`.

    shift (..., 2): displacement of the layer's middle, px. change (..., 2, 2): the linear map from one frame to the
    next, A' A^-1. bend_px (...): displacement by the deformation. reach_px (...): distance from the middle at which
    rotation, zoom and shear are converted to pixels, to compare them with the shift. Motion below still_px is STILL.
    """
    turn = (change[..., 1, 0] - change[..., 0, 1]) / 2 * reach_px
    grow = ((change[..., 0, 0] + change[..., 1, 1]) / 2 - 1) * reach_px
    shear = torch.hypot(change[..., 0, 0] - change[..., 1, 1], change[..., 0, 1] + change[..., 1, 0]) / 2 * reach_px
    speed = torch.hypot(shift[..., 0], shift[..., 1])
    sector = (torch.atan2(shift[..., 1], shift[..., 0]) / (math.pi / 4)).round().long().remainder(8)
    names = torch.stack(
        (
            Motion.EAST + sector,
            torch.where(turn > 0, int(Motion.CLOCKWISE), int(Motion.COUNTERCLOCKWISE)),
            torch.where(grow > 0, int(Motion.GROW), int(Motion.SHRINK)),
            torch.full_like(sector, Motion.SHEAR),
            torch.full_like(sector, Motion.DEFORM),
        )
    )
    sizes = torch.stack((speed, turn.abs(), grow.abs(), shear, bend_px))
    largest, which = sizes.max(dim=0)
    name = names.gather(0, which[None])[0]
    return torch.where(largest < still_px, int(Motion.STILL), name)
