"""Resizing against Pillow, and the mapping from the network's input back to pixels of the original."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from extractor.video.transforms import Resizer, orient, pixel_grid
from schemas.config import Resize

SIZES = [(256, 340), (272, 640), (720, 1280), (95, 131), (131, 95), (224, 224), (40, 30)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pillow(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))


def expected(frame: np.ndarray, resize: Resize, size: int) -> np.ndarray:
    height, width = frame.shape[:2]
    if resize is Resize.STRETCH:
        return pillow(frame, size, size)
    if resize is Resize.REFERENCE:
        new_height, new_width = round(240 * size / 224), round(320 * size / 224)
    elif resize is Resize.CROP:
        scale = min(height, width)
        new_height, new_width = height * size // scale, width * size // scale
    else:
        scale = max(height, width)
        new_height, new_width = round(height * size / scale), round(width * size / scale)
        canvas = np.zeros((size, size, 3), np.uint8)
        top, left = (size - new_height + 1) // 2, (size - new_width + 1) // 2
        canvas[top : top + new_height, left : left + new_width] = pillow(frame, new_height, new_width)
        return canvas
    top, left = (new_height - size) // 2, (new_width - size) // 2
    return pillow(frame, new_height, new_width)[top : top + size, left : left + size]


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("size", [(height, width) for height, width in SIZES])
def test_resizer_is_within_a_grey_level_of_pillow(resize: Resize, size: tuple[int, int]) -> None:
    frame = noise(*size)
    result = Resizer(resize, 224)(frame)
    assert result.shape == (224, 224, 3)
    assert result.dtype == np.uint8
    assert np.abs(result.astype(int) - expected(frame, resize, 224)).max() <= 1


def test_resizer_takes_frames_that_may_not_be_written() -> None:
    frame = noise(90, 120)
    frame.flags.writeable = False
    assert Resizer(Resize.STRETCH, 64)(frame).shape == (64, 64, 3)


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("size", [(256, 340), (95, 131), (224, 224)])
def test_resizer_returns_the_same_for_frames_together_and_alone(resize: Resize, size: tuple[int, int]) -> None:
    frames = [np.roll(noise(*size), number, axis=0) for number in range(5)]
    frames[2].flags.writeable = False
    resizer = Resizer(resize, 224)
    together = resizer.together(frames)
    assert together.shape == (5, 224, 224, 3)
    for frame, resized in zip(frames, together, strict=True):
        assert np.array_equal(resizer(frame), resized)


@pytest.mark.parametrize("count", [1, 3])
def test_resizer_returns_pixels_and_not_planes(count: int) -> None:
    """Planes are the same values in another order of memory, and take as long to copy as resizing takes."""
    padded = np.zeros((256, 352, 3), np.uint8)[:, :340]  # rows with a gap, as FFmpeg returns them
    for frame in (noise(256, 340), padded):
        assert Resizer(Resize.STRETCH, 224).together([frame] * count).flags.c_contiguous


def test_resizer_refuses_what_is_not_a_frame() -> None:
    with pytest.raises(ValueError, match=r"expected a uint8 frame \(H, W, 3\); got float32"):
        Resizer(Resize.STRETCH, 64)(np.zeros((10, 10, 3), np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("pixel_aspect", [1.0, 16 / 11, 0.5])
@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (341, 257)])
def test_pixel_grid_finds_a_bright_block_of_the_original(
    resize: Resize, width: int, height: int, pixel_aspect: float
) -> None:
    frame = np.zeros((height, width, 3), np.uint8)
    top, left, side = height // 2 - 20, width // 2 + 6, 24
    frame[top : top + side, left : left + side] = 255
    result = Resizer(resize, 224, pixel_aspect)(frame)[..., 0].astype(float)
    grid = pixel_grid(width, height, resize, 224, pixel_aspect)
    centre_y = np.average(np.arange(224) + 0.5, weights=result.sum(axis=1))
    centre_x = np.average(np.arange(224) + 0.5, weights=result.sum(axis=0))
    assert grid.offset_x + grid.scale_x * centre_x == pytest.approx(left + side / 2, abs=0.5)
    assert grid.offset_y + grid.scale_y * centre_y == pytest.approx(top + side / 2, abs=0.5)


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixel_aspect", [16 / 11, 0.5, 4.0])
def test_resizer_of_pixels_that_are_not_square_keeps_the_displayed_shape(
    resize: Resize, size: tuple[int, int], pixel_aspect: float
) -> None:
    frame = noise(*size)
    result = Resizer(resize, 64, pixel_aspect)(frame)
    if resize in (Resize.STRETCH, Resize.REFERENCE):  # these use the whole frame whatever its shape
        assert np.array_equal(result, Resizer(resize, 64)(frame))
        return
    height, width = size[0], size[1] * pixel_aspect
    scale = 64 / (min if resize is Resize.CROP else max)(height, width)
    new_height, new_width = round(height * scale), round(width * scale)
    assert result.shape == (64, 64, 3)
    grid = pixel_grid(size[1], size[0], resize, 64, pixel_aspect)
    # cropping rounds down
    assert grid.scale_x == pytest.approx(size[1] / new_width, rel=1.5 / new_width)
    assert grid.scale_y == pytest.approx(size[0] / new_height, rel=1.5 / new_height)


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("size", SIZES)
def test_resizer_of_square_pixels_is_as_if_nothing_was_said(resize: Resize, size: tuple[int, int]) -> None:
    frame = noise(*size)
    assert np.array_equal(Resizer(resize, 224, 1.0)(frame), Resizer(resize, 224)(frame))
    assert pixel_grid(size[1], size[0], resize, 224, 1.0) == pixel_grid(size[1], size[0], resize, 224)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_orient_flips_before_it_turns(rotation: int) -> None:
    frame = noise(20, 30)
    turned = orient(frame, rotation, True)
    assert np.array_equal(turned, np.rot90(np.fliplr(frame), k=rotation // 90))
    assert turned.flags.c_contiguous


@pytest.mark.parametrize("rotation", [0, 90, 180, 270, -90])
def test_orient_turns_counter_clockwise(rotation: int) -> None:
    frame = noise(20, 30)
    turned = orient(frame, rotation)
    assert np.array_equal(turned, np.rot90(frame, k=rotation // 90 % 4))
    assert turned.flags.c_contiguous
