"""Pixels that are not square: where their aspect is read from, and how it is used."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from extractor.video.containers.preflight import inspect_video
from extractor.video.decoders.backends import DecodingRequest
from extractor.video.decoders.decord_backend import decord_frames
from extractor.video.decoders.pyav_backend import pyav_frames
from extractor.video.transforms import pixel_grid
from schemas.config import Resize
from schemas.errors import FailureClass, VideoError
from tests.containers import patched
from tests.extractor.video.truth import events, kept
from tests.videos import write_video

WIDE = Fraction(16, 11)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "libx264"), (".mkv", "libx264"), (".ts", "libx264"), (".avi", "mpeg4"), (".mp4", "mpeg4")],
)
def test_pixel_aspect_is_read_and_turned(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", codec=codec, frames=4, pixel_aspect=WIDE)
    assert inspect_video(path).info.pixel_aspect == 16 / 11
    assert "pixel_aspect_ignored" not in inspect_video(path).info.flags


@pytest.mark.parametrize(("rotation", "aspect"), [(0, 16 / 11), (90, 11 / 16), (180, 16 / 11), (270, 11 / 16)])
def test_pixel_aspect_is_that_of_the_turned_frame(tmp_path: Path, rotation: int, aspect: float) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4, pixel_aspect=WIDE, rotation=rotation)
    assert inspect_video(path).info.pixel_aspect == aspect


def aspect_of_container(path: Path, width: int, height: int) -> Path:
    """Give the container another aspect than the codec's."""
    return patched(path, b"pasp", 0, width.to_bytes(4, "big") + height.to_bytes(4, "big"))


@pytest.mark.parametrize(
    ("stated", "expected", "ignored"),
    [
        ((3, 2), 1.5, False),
        ((0, 1), 16 / 11, False),
        ((1, 1), 1.0, False),
        ((1, 16), 1 / 16, False),
        ((17, 1), 1.0, True),
        ((1, 17), 1.0, True),
        ((2**31 - 1, 1), 1.0, True),
    ],
)
def test_container_comes_before_codec_and_absurd_aspects_are_ignored(
    tmp_path: Path, stated: tuple[int, int], expected: float, ignored: bool
) -> None:
    path = aspect_of_container(write_video(tmp_path / "a.mp4", frames=4, pixel_aspect=WIDE), *stated)
    info = inspect_video(path).info
    assert info.pixel_aspect == pytest.approx(expected)
    assert info.flags == (("pixel_aspect_ignored",) if ignored else ())


@pytest.mark.parametrize("pixel_aspect", [None, Fraction(1, 1)])
def test_square_pixels_are_square(tmp_path: Path, pixel_aspect: Fraction | None) -> None:
    assert inspect_video(write_video(tmp_path / "a.mp4", frames=4, pixel_aspect=pixel_aspect)).info.pixel_aspect == 1.0


def test_pixel_aspect_is_no_reason_to_distrust_decord(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=6, pixel_aspect=WIDE)
    found = inspect_video(path)
    wanted = DecodingRequest(path, found, np.arange(6), True)
    for one, other in zip(decord_frames(wanted), pyav_frames(wanted), strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    assert found.info.flags == ()


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("rotation", [0, 90])
def test_header_maps_the_input_to_stored_pixels_of_the_displayed_shape(
    tmp_path: Path, resize: Resize, rotation: int
) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4, pixel_aspect=Fraction(2), rotation=rotation)
    header = kept(events(path, resize=resize, size=48))[0]
    width, height, aspect = (128, 96, 2.0) if rotation == 0 else (96, 128, 0.5)
    assert header.info.displayed_size == (width, height)
    assert header.grid == pixel_grid(width, height, resize, 48, aspect)
    if resize in (Resize.CROP, Resize.LETTERBOX):  # what is square in the input is square as displayed
        assert header.grid.scale_x * aspect == pytest.approx(header.grid.scale_y, rel=0.02)
    else:
        assert header.grid == pixel_grid(width, height, resize, 48)


def test_frame_that_is_hundreds_of_times_as_long_as_wide_is_too_large(tmp_path: Path) -> None:
    """Cropping scales the short side up to the input, and the long one with it."""
    path = write_video(tmp_path / "a.mp4", frames=2, size=(16, 2048), codec="mpeg4")
    assert inspect_video(path).info.width == 2048
    with pytest.raises(VideoError, match="times as long as wide") as caught:
        inspect_video(aspect_of_container(write_video(path, size=(16, 2048), frames=2, pixel_aspect=WIDE), 16, 1))
    assert caught.value.failure is FailureClass.TOO_LARGE
