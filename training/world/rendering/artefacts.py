"""Effects of light, lens, sensor and codec on frames. None of them moves a point or changes the ground truth.

Every nuisance is drawn for a fraction of the clips, and only those cost time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.world.draw import Draw
from training.world.timing import Fades


class Nuisances:
    """Nuisances for `clips` clips of `times` frames; `strength` scales the fraction of clips that each kind affects.

    Everything that spans frames is drawn at construction, so that frames can be processed a few at a time.
    """

    def __init__(self, clips: int, times: int, strength: float, draw: Draw) -> None:
        self._draw = draw

        def some(share: float) -> Tensor:
            return draw.chance((clips,), min(1.0, share * strength))

        def sized(share: float, low: float, high: float) -> Tensor:
            return draw.log_uniform((clips,), low, high) * some(share)

        self._shutter = sized(0.2, 0.1, 0.25)
        self._light = sized(0.5, 0.03, 0.3)
        self._walks = torch.stack([_walk(clips, times, draw) for _ in range(5)], dim=2)
        self._sweep = sized(0.2, 0.1, 0.45)
        self._sweep_wave = draw.log_uniform((clips,), 2.0, 9.0)
        self._sweep_turn = draw.uniform((3, clips), 0.0, 2 * math.pi)
        flashed = draw.integers((clips, 1), 0, times - 1) == torch.arange(times, device=draw.device)
        self._flash = flashed * sized(0.06, 0.2, 0.6)[:, None]
        self._blur = sized(0.3, 0.4, 1.6)
        self._noise = sized(0.55, 0.004, 0.06)
        self._compression = sized(0.4, 0.01, 0.15)

    def apply(self, frames: Tensor, displacement: Tensor, span: slice) -> Tensor:
        """Apply the nuisances to frames (B, T', 3, H, W), in [0, 1], of the times `span`.

        displacement (B, T' or T' - 1, 2, H, W), px: direction and length of motion blur.
        """
        time = torch.arange(span.start, span.stop, device=frames.device)

        def sweep(part: Tensor, rows: Tensor) -> Tensor:
            return _sweep_light(part, time, self._sweep[rows], self._sweep_wave[rows], self._sweep_turn[:, rows])

        open_time = self._shutter
        frames = _on(frames, open_time, lambda part, rows: motion_blur(part, displacement[rows], open_time[rows]))
        frames = _on(frames, self._light, lambda part, rows: _light(part, self._walks[rows, span], self._light[rows]))
        frames = _on(frames, self._sweep, sweep)
        frames = frames + self._flash[:, span, None, None, None]
        frames = _on(frames, self._blur, lambda part, rows: blur(part, self._blur[rows]))
        frames = _on(frames, self._noise, lambda part, rows: _add_noise(part, self._noise[rows], self._draw))
        frames = frames.clamp_(0.0, 1.0)
        return _on(frames, self._compression, lambda part, rows: compress(part, self._compression[rows]))


def apply_fades_(frames: Tensor, fades: Fades) -> None:
    """Apply the transitions between scenes to frames (B, T, 3, H, W) in place; `fades` is on the CPU."""
    places = (fades.ghost > 0).nonzero().tolist()
    # Frozen frames are blended themselves, so all of them are copied before the first change.
    frozen = {
        (clip, ghost): frames[clip, ghost].clone()
        for clip, ghost in {(clip, int(fades.ghost_frame[clip, frame])) for clip, frame in places}
    }
    for clip, frame in places:
        ghost = frozen[clip, int(fades.ghost_frame[clip, frame])]
        frames[clip, frame].lerp_(ghost, float(fades.ghost[clip, frame]))
    for clip, frame in (fades.level < 1).nonzero().tolist():
        tone, level = float(fades.tone[clip, frame]), float(fades.level[clip, frame])
        frames[clip, frame].sub_(tone).mul_(level).add_(tone)


def _on(frames: Tensor, sizes: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Replace the clips whose size is not 0 by `change(frames[rows], rows)`."""
    rows = sizes.nonzero()[:, 0]
    if len(rows) == 0:
        return frames
    if len(rows) == len(frames):
        return change(frames, rows)
    return frames.index_copy(0, rows, change(frames[rows], rows))


def motion_blur(frames: Tensor, displacement: Tensor, open_time: Tensor) -> Tensor:
    """Average three samples along the displacement of each pixel: a shutter open for twice `open_time` (B,) frames."""
    times, (height, width) = frames.shape[1], frames.shape[-2:]
    if displacement.shape[1] < times:
        displacement = torch.cat((displacement, displacement[:, -1:]), dim=1)
    path = displacement.flatten(0, 1).permute(0, 2, 3, 1) * open_time.repeat_interleave(times).view(-1, 1, 1, 1)
    path = path * path.new_tensor([2 / (width - 1), 2 / (height - 1)])
    x = torch.linspace(-1, 1, width, device=frames.device).expand(height, -1)
    y = torch.linspace(-1, 1, height, device=frames.device)[:, None].expand(-1, width)
    here = torch.stack((x, y), dim=-1)
    flat = frames.flatten(0, 1)
    before = F.grid_sample(flat, here - path, padding_mode="border", align_corners=True)
    after = F.grid_sample(flat, here + path, padding_mode="border", align_corners=True)
    return before.add_(after).add_(flat).mul_(1 / 3).view_as(frames)


def _walk(clips: int, times: int, draw: Draw) -> Tensor:
    """Smooth curves (clips, times) that start at 0 and reach a size of about 1 after 8 frames."""
    slope = draw.normal((clips, 1)) / 8
    wave = draw.log_uniform((clips, 1), 0.1, 1.5)
    phase = draw.uniform((clips, 1), 0, 2 * math.pi)
    time = torch.arange(times, device=draw.device)[None]
    # A drift that levels off, plus an oscillation around it.
    return 8 * slope * (time / 8).tanh() + 0.4 * ((wave * time + phase).sin() - phase.sin())


def _light(frames: Tensor, walks: Tensor, size: Tensor) -> Tensor:
    """Let brightness, contrast and colour drift by `walks` (B, T, 5) times `size` (B,)."""
    walks = walks * size[:, None, None]
    brightness, contrast = walks[..., :1], walks[..., 1:2].clamp(-0.6, 1.0)
    factor = 1 + (brightness + 0.3 * walks[..., 2:]).clamp(-0.7, 1.0)  # (B, T, 3)
    middle = frames.mean((-3, -2, -1))[..., None]
    gain = 1 + 0.5 * contrast
    return torch.addcmul((middle * (factor - gain))[..., None, None], frames, gain[..., None, None])


def _sweep_light(frames: Tensor, time: Tensor, size: Tensor, wave: Tensor, turn: Tensor) -> Tensor:
    """Move a broad wave of light or shade over the scene, independent of the motion in it.

    size, wave (radians per longer side of the frame): (B,). turn (3, B): direction, phase, and the angle whose sine is
    the speed.
    """
    height, width = frames.shape[-2:]
    direction, phase, pace = (angle.view(-1, 1, 1, 1) for angle in turn)
    x = torch.arange(width, device=frames.device).view(1, 1, 1, -1) / max(height, width)
    y = torch.arange(height, device=frames.device).view(1, 1, -1, 1) / max(height, width)
    along = wave.view(-1, 1, 1, 1) * (direction.cos() * x + direction.sin() * y)
    field = (along + 0.5 * pace.sin() * time.view(1, -1, 1, 1) + phase).sin()
    lit: Tensor = 1 + size.view(-1, 1, 1, 1) * field
    return frames * lit[:, :, None]


def _add_noise(frames: Tensor, size: Tensor, draw: Draw) -> Tensor:
    """Add grey Gaussian noise of standard deviation `size` (B,), independent in every frame."""
    clips, times, _, height, width = frames.shape
    return torch.addcmul(frames, draw.normal((clips, times, 1, height, width)), size.view(-1, 1, 1, 1, 1))


_BLUR_REACH = 4


def blur(frames: Tensor, sigma_px: Tensor) -> Tensor:
    """Gaussian blur of (B, T, 3, H, W) by sigma_px (B,), at most 1.7: the kernel has a radius of 4 pixels.

    Sums shifted images, which on a CPU is several times faster than a single-channel convolution.
    """
    offsets = torch.arange(_BLUR_REACH + 1, device=frames.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma_px[:, None] ** 2))
    kernel = (kernel / (2 * kernel.sum(-1, keepdim=True) - 1)).view(-1, _BLUR_REACH + 1, 1, 1, 1)
    for axis in (3, 4):
        extent = frames.shape[axis]
        pad = [0, 0, _BLUR_REACH, _BLUR_REACH] if axis == 3 else [_BLUR_REACH, _BLUR_REACH, 0, 0]
        padded = F.pad(frames.flatten(0, 1), pad, mode="replicate")
        padded = padded.view(*frames.shape[:2], *padded.shape[1:])
        total = padded.narrow(axis, _BLUR_REACH, extent) * kernel[:, :1]
        for offset in range(1, _BLUR_REACH + 1):
            both = padded.narrow(axis, _BLUR_REACH - offset, extent) + padded.narrow(axis, _BLUR_REACH + offset, extent)
            total.addcmul_(both, kernel[:, offset : offset + 1])
        frames = total
    return frames


_CHROMA = ((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))


def compress(frames: Tensor, step: Tensor) -> Tensor:
    """Quantise 8 x 8 cosine transforms of luma and chroma, as codecs do; step (B,) is the step at low frequencies."""
    clips, times, _, height, width = frames.shape
    to_chroma = torch.tensor(_CHROMA, device=frames.device)
    planes = torch.einsum("dc,btchw->btdhw", to_chroma, frames)
    planes = F.pad(planes.flatten(0, 1), (0, -width % 8, 0, -height % 8), mode="replicate")
    down, across = planes.shape[-2] // 8, planes.shape[-1] // 8
    blocks = planes.view(-1, 3, down, 8, across, 8).transpose(-3, -2)  # (BT, 3, h, w, 8, 8)
    k = torch.arange(8, device=frames.device)
    basis = ((2 * k[None] + 1) * k[:, None] * math.pi / 16).cos() * 0.5
    basis[0] *= math.sqrt(0.5)
    spectrum = basis @ blocks @ basis.T
    coarse = 1 + 0.6 * (k[:, None] + k[None]).float()
    coarse = torch.stack((coarse, 2 * coarse, 2 * coarse))[None, :, None, None]
    coarse = coarse * step.repeat_interleave(times).view(-1, 1, 1, 1, 1, 1)
    blocks = basis.T @ ((spectrum / coarse).round() * coarse) @ basis
    planes = blocks.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)[..., :height, :width]
    frames = torch.einsum("dc,bchw->bdhw", torch.linalg.inv(to_chroma), planes)
    return frames.view(clips, times, 3, height, width).clamp(0.0, 1.0)
