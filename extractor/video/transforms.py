"""From a native frame to the network's square input, and back from its cells to pixels of the original."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from schemas.config import Resize
from schemas.records import PixelGrid

__all__ = ["Resizer", "orient", "pixel_grid"]

Uint8Array = npt.NDArray[np.uint8]

_REFERENCE_HEIGHT, _REFERENCE_WIDTH, _REFERENCE_SIZE = 240, 320, 224
"""The paper's frames are 240 x 320 before 224 x 224 is cut out of them; other sizes keep that proportion."""


class Resizer:
    """Resizes native frames to (size, size, 3), bilinear with antialiasing, each output within a grey level of PIL's.

    The arithmetic is torch's on uint8 in channels-last memory: no conversion, no copy, and it is the same whichever
    decoder the frame came from. One instance serves frames of any resolution, as a file may change it.

    pixel_aspect: width over height of a pixel of the frames as displayed; `crop` and `letterbox` keep the displayed
    shape, the others see the whole frame whatever its shape.
    """

    def __init__(self, resize: Resize, size: int, pixel_aspect: float = 1.0) -> None:
        self.resize = resize
        self.size = size
        self.pixel_aspect = pixel_aspect

    def __call__(self, frame: Uint8Array) -> Uint8Array:
        """(H, W, 3) uint8, already rotated -> (size, size, 3) uint8."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame of shape (H, W, 3) and uint8 was expected, not {frame.shape} {frame.dtype}")
        size = self.size
        height, width = frame.shape[:2]
        new_height, new_width = _resized(self.resize, height, width * self.pixel_aspect, size)
        resized = _interpolate(frame, new_height, new_width)
        top, left = (new_height - size) // 2, (new_width - size) // 2
        if self.resize is not Resize.LETTERBOX:
            return resized[top : top + size, left : left + size]
        canvas = np.zeros((size, size, 3), np.uint8)
        canvas[-top : new_height - top, -left : new_width - left] = resized
        return canvas


def pixel_grid(width: int, height: int, resize: Resize, size: int, pixel_aspect: float = 1.0) -> PixelGrid:
    """Where the network's input lies in a frame of width x height stored pixels (after rotation), in those pixels."""
    new_height, new_width = _resized(resize, height, width * pixel_aspect, size)
    scale_x, scale_y = width / new_width, height / new_height
    left, top = (new_width - size) // 2, (new_height - size) // 2
    return PixelGrid(scale_x, scale_y, left * scale_x, top * scale_y)


def orient(frame: Uint8Array, rotation: int, mirrored: bool = False) -> Uint8Array:
    """Flip (H, W, 3) left to right where it is mirrored, then turn it counter-clockwise by a multiple of 90 degrees.

    Returns contiguous memory, as resizing wants it.
    """
    if rotation % 360 == 0 and not mirrored:
        return frame
    flipped = frame[:, ::-1] if mirrored else frame
    return np.ascontiguousarray(np.rot90(flipped, k=(rotation // 90) % 4))


def _resized(resize: Resize, height: float, width: float, size: int) -> tuple[int, int]:
    """Height and width to which a whole frame of this displayed shape is scaled, before it is cropped or padded."""
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


def _interpolate(frame: Uint8Array, height: int, width: int) -> Uint8Array:
    if frame.shape[:2] == (height, width):
        return frame
    if not frame.flags.writeable:  # torch warns about memory that it could write to, although it only reads
        frame = frame.copy()
    batch = torch.from_numpy(frame).permute(2, 0, 1)[None]  # (1, 3, H, W) in channels-last memory
    resized = F.interpolate(batch, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    result: Uint8Array = resized[0].permute(1, 2, 0).numpy()
    return result
