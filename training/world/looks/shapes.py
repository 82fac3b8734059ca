"""The bank of sprite outlines: signed distances in the shape's own coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from training.world.draw import Draw

SHAPE_REACH = 1.2
"""Largest extent of a shape from its middle, in radii."""

SHAPE_PX = 96
"""Side of a shape's tile, in texels."""

SHAPE_EXTENT = 1.3
"""A tile covers [-SHAPE_EXTENT, SHAPE_EXTENT] of a shape with radius 1; its border lies outside every shape."""


def shape_bank(count: int, draw: Draw) -> Tensor:
    """Signed distances (count, 1, SHAPE_PX, SHAPE_PX) to the outline, in radii: negative inside, positive outside.

    A bilinearly sampled distance, unlike a mask, stays sharp at every magnification.
    """
    families: tuple[tuple[Callable[[Tensor, Tensor, int, Draw], Tensor], float], ...] = (
        (_superellipses, 0.3),
        (_stars, 0.2),
        (_blobs, 0.25),
        (_figures, 0.25),
    )
    line = torch.linspace(-SHAPE_EXTENT, SHAPE_EXTENT, SHAPE_PX, device=draw.device)
    made: list[Tensor] = []
    done, due = 0, 0.0
    for family, share in families:
        due += share * count
        now = round(due) - done
        if now > 0:
            angle = draw.uniform((now, 1, 1), 0, 2 * math.pi)
            x = angle.cos() * line[None, None, :] + angle.sin() * line[None, :, None]
            y = angle.cos() * line[None, :, None] - angle.sin() * line[None, None, :]
            made.append(family(x, y, now, draw))
            done += now
    distance = _as_distance(_punch(torch.cat(made), draw))
    # No shape may reach the tile's border, because border values extend beyond the tile.
    radius = torch.hypot(line[None, :], line[:, None])
    return torch.maximum(distance, radius - SHAPE_REACH).unsqueeze(1)


def _as_distance(level: Tensor) -> Tensor:
    """Divide levels by their slope, which turns them into distances near the outline: all edges are equally sharp."""
    step = 2 * SHAPE_EXTENT / (SHAPE_PX - 1)
    slope_y, slope_x = torch.gradient(level, spacing=step, dim=(-2, -1))
    return level / torch.hypot(slope_x, slope_y).clamp(0.4, 4.0)


def _superellipses(x: Tensor, y: Tensor, count: int, draw: Draw) -> Tensor:
    """Discs, ellipses, rounded boxes and bars."""
    aspect = draw.log_uniform((count, 1, 1), 0.25, 1.0)
    power = draw.log_uniform((count, 1, 1), 1.6, 8.0)
    level = ((x.abs() + 1e-4) ** power + ((y / aspect).abs() + 1e-4) ** power) ** (1 / power)
    return (level - 0.95) * (0.4 + 0.6 * aspect)


def _stars(x: Tensor, y: Tensor, count: int, draw: Draw) -> Tensor:
    """Polygons and stars of 3 to 8 points."""
    points = draw.integers((count, 1, 1), 3, 8)
    sector = 2 * math.pi / points
    inner = draw.uniform((count, 1, 1), 0.35, 1.0)
    angle = torch.atan2(y, x).remainder(sector)
    angle = torch.minimum(angle, sector - angle)  # from a tip (0) to a notch (sector / 2)
    radius = torch.hypot(x, y)
    # The edge runs from the tip (1, 0) to the notch at half a sector; the cross product gives the distance to it.
    notch_radius = inner * (sector / 2).cos()
    notch_x, notch_y = notch_radius * (sector / 2).cos(), notch_radius * (sector / 2).sin()
    edge_x, edge_y = notch_x - 1, notch_y
    px, py = radius * angle.cos() - 1, radius * angle.sin()
    distance = (px * edge_y - py * edge_x) / torch.hypot(edge_x, edge_y).clamp_min(1e-3)
    # Beyond a tip, the distance to the edge's line grows slowly: without a limit, soft tips would grow whiskers.
    return torch.maximum(distance, radius - 1)


def _blobs(x: Tensor, y: Tensor, count: int, draw: Draw) -> Tensor:
    """Outlines whose radius is a short Fourier series of the angle."""
    angle, radius = torch.atan2(y, x), torch.hypot(x, y)
    outline = torch.zeros_like(radius)
    for harmonic in range(2, 7):
        phase = draw.uniform((count, 1, 1), 0, 2 * math.pi)
        outline = outline + draw.normal((count, 1, 1)) / harmonic * (harmonic * angle + phase).cos()
    outline = outline / outline.abs().amax((-2, -1), keepdim=True).clamp_min(1e-3)
    depth = draw.uniform((count, 1, 1), 0.1, 0.4)
    return (radius - (1 - depth) - depth * outline) * 0.8


def _figures(x: Tensor, y: Tensor, count: int, draw: Draw) -> Tensor:
    """A trunk, a head and limbs: overlapping capsules, some of them thin."""
    figure = torch.full_like(x, 4.0)
    limbs = 6
    for limb in range(limbs):
        angle = draw.uniform((count, 1, 1), 0, 2 * math.pi)
        length = draw.uniform((count, 1, 1), 0.4, 0.85)
        width = draw.log_uniform((count, 1, 1), 0.05, 0.16)
        if limb == 0:
            width = draw.uniform((count, 1, 1), 0.2, 0.4)
        start = draw.uniform((count, 2, 1, 1), -0.15, 0.15)
        along_x, along_y = angle.cos(), angle.sin()
        px, py = x - start[:, 0], y - start[:, 1]
        place = (px * along_x + py * along_y).clamp_min(0.0).minimum(length)
        distance = torch.hypot(px - place * along_x, py - place * along_y) - width
        absent = draw.chance((count, 1, 1), 0.3) if limb > 1 else torch.zeros(1, dtype=torch.bool, device=x.device)
        figure = torch.where(absent, figure, torch.minimum(figure, distance))
    return figure


def _punch(distance: Tensor, draw: Draw) -> Tensor:
    """Turn an eighth of the shapes into rings and some into fences, which show what lies behind."""
    count = len(distance)
    kind = draw.uniform((count, 1, 1))
    thickness = draw.uniform((count, 1, 1), 0.08, 0.25)
    ring = (distance + thickness).abs() - thickness
    line = torch.linspace(-SHAPE_EXTENT, SHAPE_EXTENT, SHAPE_PX, device=distance.device)
    pitch = draw.uniform((count, 1, 1), 0.3, 0.6)
    bars = (line.view(1, 1, -1).remainder(pitch) - pitch / 2).abs() - pitch * draw.uniform((count, 1, 1), 0.15, 0.35)
    fence = torch.maximum(distance, bars)
    return torch.where(kind < 0.12, ring, torch.where(kind < 0.2, fence, distance))
