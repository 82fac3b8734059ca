"""Families of textures, each a function (count, size, draw) -> (count, 3, size, size) float32, roughly in [0, 1].

Textures made of waves, noise and discs are periodic, so that a layer can repeat them without a seam. Fractals are not:
their seam is one more edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from training.world.draw import Draw

Family = Callable[[int, int, Draw], Tensor]


def _colours(count: int, tones: int, draw: Draw) -> Tensor:
    """(count, tones, 3): tones over the whole range of brightness, most with low saturation, as in photographs."""
    grey = draw.uniform((count, tones, 1), 0.03, 0.97)
    chroma = draw.normal((count, tones, 3)) * draw.log_uniform((count, 1, 1), 0.02, 0.35)
    return (grey + chroma - chroma.mean(-1, keepdim=True)).clamp(0.0, 1.0)


def _paint(field: Tensor, draw: Draw, tones: int = 4) -> Tensor:
    """Colour a field (n, s, s) in [0, 1] by a ramp through random tones: (n, 3, s, s)."""
    palette = _colours(len(field), tones, draw)
    place = field.clamp(0.0, 1.0) * (tones - 1)
    steps = torch.arange(tones, device=field.device)
    weights = (1 - (place[..., None] - steps).abs()).clamp_min(0.0)  # (n, s, s, tones)
    return torch.einsum("nhwt,ntc->nchw", weights, palette)


def _frequencies(size: int, draw: Draw) -> Tensor:
    """Radial frequency (size, size // 2 + 1) in cycles per tile, with 1 in place of 0."""
    fy = torch.fft.fftfreq(size, 1 / size, device=draw.device)[:, None]
    fx = torch.fft.rfftfreq(size, 1 / size, device=draw.device)[None]
    return torch.hypot(fy, fx).clamp_min(1.0)


def _noise(count: int, channels: int, size: int, slope: Tensor, draw: Draw) -> Tensor:
    """Noise (count, channels, size, size) of mean 0 and deviation 1 with amplitude 1 / f^slope; slope (count,)."""
    radius = _frequencies(size, draw)
    spectrum = torch.fft.rfft2(draw.normal((count, channels, size, size)))
    spectrum = spectrum * radius ** -slope.view(-1, 1, 1, 1)
    spectrum[..., 0, 0] = 0
    noise: Tensor = torch.fft.irfft2(spectrum, s=(size, size))
    return noise / noise.std((-2, -1), keepdim=True).clamp_min(1e-6)


def _grid(size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """x (1, size) and y (size, 1) in [0, 1)."""
    line = torch.arange(size, device=draw.device) / size
    return line[None], line[:, None]


def _wave(count: int, size: int, lowest: float, highest: float, draw: Draw) -> Tensor:
    """Phase (count, size, size), in cycles, of plane waves with whole cycles per tile, bent by smooth noise."""
    x, y = _grid(size, draw)
    angle = draw.uniform((count, 1, 1), 0, 2 * math.pi)
    cycles = draw.log_uniform((count, 1, 1), lowest, highest)
    bend = _noise(count, 1, size, torch.full((count,), 2.5, device=draw.device), draw)[:, 0]
    amount = draw.uniform((count, 1, 1), 0.0, 0.6) * draw.chance((count, 1, 1), 0.5)
    return (cycles * angle.cos()).round() * x + (cycles * angle.sin()).round() * y + amount * bend


def spectral_noise(count: int, size: int, draw: Draw) -> Tensor:
    """Noise with amplitude 1 / f^b, b from 0.6 (busy) to 2 (clouds); photographs have b around 1."""
    slope = draw.uniform((count,), 0.6, 2.0)
    noise = _noise(count, 3, size, slope, draw)
    shared = draw.uniform((count, 1, 1, 1), 0.5, 1.0)
    mixed = shared * noise[:, :1] + (1 - shared) * noise
    contrast = draw.log_uniform((count, 1, 1, 1), 0.06, 0.32)
    return _colours(count, 1, draw).view(count, 3, 1, 1) * 0.5 + 0.25 + contrast * mixed


def dead_leaves(count: int, size: int, draw: Draw, leaves: int = 110) -> Tensor:
    """Discs, ellipses and boxes of all sizes on top of each other: edges and occlusion as in photographs."""
    x, y = _grid(size, draw)
    image = _paint(_noise(count, 1, size, draw.uniform((count,), 1.0, 2.0), draw)[:, 0] * 0.3 + 0.5, draw)
    # Areas follow a power law; large ones come first, or they would cover everything.
    radius = draw.log_uniform((count, leaves), 0.015, 0.22).sort(-1, descending=True).values
    radius = radius * draw.log_uniform((count, 1), 0.6, 1.3)
    centre, colour = draw.uniform((count, leaves, 2)), _colours(count, leaves, draw)
    angle, aspect = draw.uniform((count, leaves), 0, math.pi), draw.log_uniform((count, leaves), 0.35, 1.0)
    boxy = draw.chance((count, leaves), 0.35)
    for i in range(leaves):
        dx = (x - centre[:, i, 0, None, None] + 0.5).remainder(1.0) - 0.5
        dy = (y - centre[:, i, 1, None, None] + 0.5).remainder(1.0) - 0.5
        cosine, sine = angle[:, i, None, None].cos(), angle[:, i, None, None].sin()
        along = (cosine * dx + sine * dy).abs()
        across = (cosine * dy - sine * dx).abs() / aspect[:, i, None, None]
        distance = torch.where(boxy[:, i, None, None], torch.maximum(along, across), torch.hypot(along, across))
        cover = ((radius[:, i, None, None] - distance) * size + 0.5).clamp(0.0, 1.0)[:, None]
        image = torch.lerp(image, colour[:, i, :, None, None].expand_as(image), cover)
    grain = _noise(count, 1, size, draw.uniform((count,), 0.3, 1.2), draw)
    return image + grain * draw.uniform((count, 1, 1, 1), 0.0, 0.08)


def _stripes(count: int, size: int, draw: Draw) -> Tensor:
    """Straight or bent bars of several widths, with edges from sharp to soft."""
    phase = _wave(count, size, 3, size / 10, draw) if size >= 40 else _wave(count, size, 2, 4, draw)
    duty = draw.uniform((count, 1, 1), 0.25, 0.75)
    sharpness = draw.log_uniform((count, 1, 1), 2.0, 12.0)
    triangle = (phase.remainder(1.0) - 0.5).abs() * 2
    return _paint(torch.sigmoid((triangle - duty) * sharpness), draw, tones=2)


def _gratings(count: int, size: int, draw: Draw) -> Tensor:
    """One to three superimposed sine waves."""
    field = torch.zeros(count, size, size, device=draw.device)
    for i in range(3):
        share = draw.uniform((count, 1, 1)) * (1.0 if i == 0 else draw.chance((count, 1, 1), 0.6))
        field = field + share * (2 * math.pi * _wave(count, size, 2, max(3, size // 9), draw)).sin()
    return _paint(0.5 + 0.3 * field, draw, tones=2)


def _fractal(count: int, size: int, draw: Draw) -> Tensor:
    """Escape times of Julia sets in random windows."""
    x, y = _grid(size, draw)
    scale = draw.log_uniform((count, 1, 1), 0.4, 2.4)
    turn = draw.uniform((count, 1, 1), 0, 2 * math.pi)
    shift = draw.uniform((count, 2, 1, 1), -0.4, 0.4)
    px, py = scale * (x - 0.5) + shift[:, 0], scale * (y - 0.5) + shift[:, 1]
    z_re, z_im = px * turn.cos() - py * turn.sin(), px * turn.sin() + py * turn.cos()
    angle = draw.uniform((count, 1, 1), 0, 2 * math.pi)
    # Just outside the main cardioid, where Julia sets are dust and spirals rather than blobs.
    c_re = (0.5 * angle.cos() - 0.25 * (2 * angle).cos()) * 1.05
    c_im = (0.5 * angle.sin() - 0.25 * (2 * angle).sin()) * 1.05
    escape = torch.zeros(count, size, size, device=draw.device)
    for _ in range(28):
        z_re, z_im = z_re * z_re - z_im * z_im + c_re, 2 * z_re * z_im + c_im
        magnitude = z_re * z_re + z_im * z_im
        escape = escape + torch.exp(-magnitude)  # a smooth count avoids bands of constant grey
        z_re, z_im = z_re.clamp(-4, 4), z_im.clamp(-4, 4)
    low, high = escape.amin((-2, -1), keepdim=True), escape.amax((-2, -1), keepdim=True)
    return _paint((escape - low) / (high - low).clamp_min(1e-6), draw, tones=6)


def _ridges(count: int, size: int, draw: Draw) -> Tensor:
    """Octaves of folded noise: creases, veins, terrain."""
    field = torch.zeros(count, size, size, device=draw.device)
    for octave in range(4):
        slope = torch.full((count,), 2.6 - 0.4 * octave, device=draw.device)
        field = field + (1 - _noise(count, 1, size, slope, draw)[:, 0].abs()) * 0.55**octave
    return _paint(0.5 + 0.25 * field, draw, tones=5)


def _cells(count: int, size: int, draw: Draw, points: int = 48) -> Tensor:
    """Distances to the nearest and second nearest of scattered points: stones, scales, foam."""
    x, y = _grid(size, draw)
    nearest = torch.full((count, size, size), 4.0, device=draw.device)
    second, tint = nearest.clone(), nearest.clone()
    centre, value = draw.uniform((count, points, 2, 1, 1)), draw.uniform((count, points, 1, 1))
    for i in range(points):
        dx = (x - centre[:, i, 0] + 0.5).remainder(1.0) - 0.5
        dy = (y - centre[:, i, 1] + 0.5).remainder(1.0) - 0.5
        distance = torch.hypot(dx, dy)
        closer = distance < nearest
        second = torch.where(closer, nearest, torch.minimum(second, distance))
        nearest, tint = torch.where(closer, distance, nearest), torch.where(closer, value[:, i], tint)
    groove = ((second - nearest) * draw.uniform((count, 1, 1), 12, 60)).clamp(0.0, 1.0)
    dome = 1 - nearest * draw.uniform((count, 1, 1), 0.0, 3.0)
    return _paint(groove * (0.25 + 0.75 * tint) * dome, draw, tones=4)


def _bricks(count: int, size: int, draw: Draw) -> Tensor:
    """Rows of blocks with joints: walls, windows, keyboards, checkers."""
    x, y = _grid(size, draw)
    rows, columns = draw.integers((count, 1, 1), 3, 18), draw.integers((count, 1, 1), 2, 14)
    row = (y * rows).floor()
    along = x * columns + draw.uniform((count, 1, 1)) * draw.chance((count, 1, 1), 0.6) * row.remainder(2.0)
    tone = ((along.floor().remainder(columns) * 12.9898 + row * 78.233).sin() * 43758.5453).remainder(1.0)
    joint = draw.uniform((count, 1, 1), 0.02, 0.3)
    edge = 0.5 - torch.maximum((along.remainder(1.0) - 0.5).abs(), ((y * rows).remainder(1.0) - 0.5).abs())
    mortar = ((edge - joint / 2) * size / rows + 0.5).clamp(0.0, 1.0)
    image = _paint((0.3 + 0.7 * tone) * mortar, draw, tones=4)
    grain = _noise(count, 1, size, draw.uniform((count,), 0.4, 1.2), draw)
    return image + grain * draw.uniform((count, 1, 1, 1), 0.0, 0.08)


def _gradients(count: int, size: int, draw: Draw) -> Tensor:
    """Slow changes of tone only: skies, walls, skin."""
    return _paint(0.5 + 0.25 * _noise(count, 1, size, draw.uniform((count,), 2.5, 3.5), draw)[:, 0], draw, tones=3)


def _flat(count: int, size: int, draw: Draw) -> Tensor:
    """One tone with faint grain."""
    grain = _noise(count, 1, size, draw.uniform((count,), 0.0, 1.5), draw)
    tone = _colours(count, 1, draw).view(count, 3, 1, 1)
    return tone + grain * draw.log_uniform((count, 1, 1, 1), 0.001, 0.03)


FAMILIES: tuple[tuple[Family, float], ...] = (
    (spectral_noise, 0.20),
    (dead_leaves, 0.34),
    (_fractal, 0.06),
    (_ridges, 0.08),
    (_cells, 0.08),
    (_bricks, 0.06),
    (_stripes, 0.05),
    (_gratings, 0.03),
    (_gradients, 0.05),
    (_flat, 0.05),
)
"""Every family with its fraction of a bank."""
