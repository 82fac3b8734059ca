"""From a native frame to the network's square input, and from its cells back to pixels of the original frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from schemas.config import Resize
from schemas.records import PixelGrid

Uint8Array = npt.NDArray[np.uint8]

_REFERENCE_HEIGHT, _REFERENCE_WIDTH, _REFERENCE_SIZE = 240, 320, 224
"""The paper crops 224 x 224 from frames of 240 x 320; other sizes keep that proportion."""


class Resizer:
    """Resizes native frames to (size, size, 3), bilinear with antialiasing, within one grey level of Pillow.

    Torch computes on uint8 in channels-last memory: no conversion, no copy, and the same result for either decoder.
    One instance serves frames of any resolution, since a file may change it.

    pixel_aspect: width over height of a pixel of the frames as displayed; `crop` and `letterbox` keep the displayed
    shape, the other modes use the whole frame whatever its shape.
    """

    def __init__(self, resize: Resize, size: int, pixel_aspect: float = 1.0) -> None:
        self.resize = resize
        self.size = size
        self.pixel_aspect = pixel_aspect

    def __call__(self, frame: Uint8Array) -> Uint8Array:
        """(H, W, 3) uint8, already rotated -> (size, size, 3) uint8."""
        resized: Uint8Array = self.together([frame])[0]
        return resized

    def together(self, frames: Sequence[Uint8Array]) -> Uint8Array:
        """Frames of one shape, each (H, W, 3) uint8, already rotated -> (n, size, size, 3) uint8."""
        for frame in frames:
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
                raise ValueError(f"expected a uint8 frame (H, W, 3); got {frame.dtype} {frame.shape}. Convert it first")
        size = self.size
        height, width = frames[0].shape[:2]
        new_height, new_width = _resized(self.resize, height, width * self.pixel_aspect, size)
        resized = interpolate(frames, new_height, new_width)
        top, left = (new_height - size) // 2, (new_width - size) // 2
        if self.resize is not Resize.LETTERBOX:
            return resized[:, top : top + size, left : left + size]
        canvas = np.zeros((len(frames), size, size, 3), np.uint8)
        canvas[:, -top : new_height - top, -left : new_width - left] = resized
        return canvas


def pixel_grid(width: int, height: int, resize: Resize, size: int, pixel_aspect: float = 1.0) -> PixelGrid:
    """Where the network's input lies in a frame of width x height stored pixels (after rotation), in those pixels."""
    new_height, new_width = _resized(resize, height, width * pixel_aspect, size)
    scale_x, scale_y = width / new_width, height / new_height
    left, top = (new_width - size) // 2, (new_height - size) // 2
    return PixelGrid(scale_x, scale_y, left * scale_x, top * scale_y)


def orient(frame: Uint8Array, rotation: int, mirrored: bool = False) -> Uint8Array:
    """Flip (H, W, 3) left to right if mirrored, then rotate it counter-clockwise by a multiple of 90 degrees.

    Returns contiguous memory, which resizing needs.
    """
    if rotation % 360 == 0 and not mirrored:
        return frame
    flipped = frame[:, ::-1] if mirrored else frame
    return np.ascontiguousarray(np.rot90(flipped, k=(rotation // 90) % 4))


def _resized(resize: Resize, height: float, width: float, size: int) -> tuple[int, int]:
    """Height and width of the whole frame after scaling, before it is cropped or padded. Input: the displayed shape."""
    match resize:
        case Resize.STRETCH:
            return size, size
        case Resize.CROP:
            short = min(height, width)
            return max(int(height * size // short), size), max(int(width * size // short), size)
        case Resize.REFERENCE:
            return round(_REFERENCE_HEIGHT * size / _REFERENCE_SIZE), round(_REFERENCE_WIDTH * size / _REFERENCE_SIZE)
        case Resize.LETTERBOX:
            long = max(height, width)
            return max(round(height * size / long), 1), max(round(width * size / long), 1)


def interpolate(frames: Sequence[Uint8Array], height: int, width: int) -> Uint8Array:
    """Resize frames of one shape, each (H, W, 3) uint8, to (n, height, width, 3), bilinear with antialiasing."""
    frame = frames[0]
    if frame.shape[:2] == (height, width):
        return np.stack(frames)
    if not frame.flags.writeable:  # torch warns about read-only memory, although it only reads
        frame = frame.copy()
    # Torch makes the batch: it tells channels-last memory by all strides, and numpy gives a new axis the stride 0. From
    # other memory torch returns planes, which takes twice as long, and copying these into pixels takes as long again.
    batch = torch.from_numpy(frame)[None] if len(frames) == 1 else torch.from_numpy(np.stack(frames))
    resized = F.interpolate(
        batch.permute(0, 3, 1, 2), size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )
    result: Uint8Array = resized.permute(0, 2, 3, 1).numpy()
    return result
