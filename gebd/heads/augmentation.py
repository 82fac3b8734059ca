"""Vary windows in time while a head learns: shifted, played faster, slower or backwards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gebd.dataset.samples import Batch
from gebd.dataset.store_videos import PAIR_TENSORS

_SHIFT = 0.1  # of a window's length, to either side


@dataclass(frozen=True, slots=True)
class TimeAugmentation:
    """Draws for every window a shift of up to a tenth of its length, a speed, and whether time runs backwards.

    stretch: the speed is exp(u), u uniform from -stretch to stretch. reverse: half of the windows run backwards. Frames
    are repeated or left out, not interpolated; displacement is scaled by the speed, and turned round where time is.
    Frames that a window does not have are not `valid`.
    """

    stretch: float
    reverse: bool

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """Return a batch of the same shape; drawn from `generator`, else from torch's random state."""
        if self.stretch == 0 and not self.reverse:
            return batch
        count, frames = batch.valid.shape
        device = batch.valid.device
        numbers = torch.arange(1, frames + 1, device=device)
        length = (numbers * batch.valid).amax(1, keepdim=True).float()  # padding follows the last valid frame
        shift, speed = ((2 * torch.rand(count, 1, generator=generator) - 1).to(device) for _ in range(2))
        speed = torch.exp(self.stretch * speed)
        middle = (length - 1) / 2
        steps = torch.arange(frames, device=device) - middle
        at = (steps * speed + middle + _SHIFT * length * shift).round().long()
        back = torch.zeros(count, 1, dtype=torch.bool, device=device)
        if self.reverse:
            back = (torch.rand(count, 1, generator=generator) < 0.5).to(device)
            at = torch.where(back, length.long() - 1 - at, at)
        inside = (at >= 0) & (at < length)
        at = at.clamp(0, frames - 1)
        # The pair that begins with a frame ends with it if time runs backwards.
        pairs = (at - back.long()).clamp_min(0)
        tensors = {name: _taken(rows, pairs if name in PAIR_TENSORS else at) for name, rows in batch.tensors.items()}
        if "displacement" in tensors:
            pace = torch.where(back, -speed, speed)
            tensors["displacement"] = tensors["displacement"] * pace[..., None, None, None]
        return replace(
            batch,
            tensors=tensors,
            valid=_taken(batch.valid, at) & inside,
            target_soft=None if batch.target_soft is None else _taken(batch.target_soft, at),
        )


def _taken(rows: Tensor, at: Tensor) -> Tensor:
    """Rows (B, T, ...) at indices (B, T)."""
    return rows[torch.arange(len(rows), device=rows.device)[:, None], at]
