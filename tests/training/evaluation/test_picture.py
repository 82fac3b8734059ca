"""Pictures: colours for direction and length, in the pixels and aspect ratio of the original."""

from __future__ import annotations

import builtins
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.errors import UsageError
from schemas.records import PixelGrid
from training.evaluation.picture import Moment, direction_colours, draw_moments

RED, GREEN, BLUE, WHITE = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)


def moment(displacement: tuple[float, float] = (1.0, 0.0), scale: tuple[float, float] = (2.0, 1.0)) -> Moment:
    """A grey frame whose left half moves."""
    moved = np.zeros((2, 8, 8), np.float32)
    moved[:, :, :4] = np.reshape(displacement, (2, 1, 1))
    grid = PixelGrid(*scale, 0, 0)
    return Moment("a.mp4, 1.0 s", np.full((64, 64, 3), 90, np.uint8), moved, np.full((8, 8), 0.7), grid, 0.1)


def picture_of(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(BytesIO(path.read_bytes())) as image:
        return np.asarray(image.convert("RGB")) / 255


def test_direction_colours_turn_with_the_direction_and_fade_with_the_speed() -> None:
    turns = np.radians([0, 120, 240])  # clockwise on the screen, where y points down
    np.testing.assert_allclose(
        direction_colours(np.stack((np.cos(turns), np.sin(turns))), 1.0), (RED, GREEN, BLUE), atol=1e-6
    )
    found = direction_colours(np.array([[0.0, 0.5, 1.0, 9.0], [0.0, 0.0, 0.0, 0.0]]), 1.0)
    np.testing.assert_allclose(found, (WHITE, (1, 0.5, 0.5), RED, RED), atol=1e-6)


def test_displacement_px_is_in_pixels_of_the_original() -> None:
    found = moment((1.5, -1.0), scale=(2.0, 0.5)).displacement_px
    assert found[:, 0, 0].tolist() == [1.5 * 8 * 2, -1.0 * 8 * 0.5]
    assert found[:, 0, 7].tolist() == [0, 0]


def test_draw_moments_shows_frame_displacement_and_confidence(tmp_path: Path) -> None:
    draw_moments([moment(), moment((0.0, 2.0))], tmp_path / "a.png", "a caption")
    shown = picture_of(tmp_path / "a.png")
    height, width = shown.shape[:2]
    columns = [shown[:, width * n // 3 : width * (n + 1) // 3] for n in range(3)]
    grey = np.isclose(columns[0], 90 / 255, atol=0.01).all(-1)
    assert 0.25 < grey.mean() < 0.75
    # 1 cell x 8 px x 2 to the right and 2 cells x 8 px downward: the same length, with the legend at the next step.
    red = np.isclose(columns[1], direction_colours(np.array([16.0, 0.0]), 20), atol=0.01).all(-1)
    down = np.isclose(columns[1], direction_colours(np.array([0.0, 16.0]), 20), atol=0.01).all(-1)
    assert red[: height // 3].mean() > 0.1 and down[: height // 3].mean() < 0.01
    assert down[height // 3 :].mean() > 0.1
    viridis_at_0 = np.array([68, 1, 84]) / 255  # the confidence of all cells, 0.7, is the lowest
    assert np.isclose(columns[2], viridis_at_0, atol=0.02).all(-1).mean() > 0.3


def test_draw_moments_shows_special_characters_of_names_as_text(tmp_path: Path) -> None:
    odd = replace(moment(), title="a$\\frac$\x1b[2J, 1.0 s")
    draw_moments([odd], tmp_path / "a.png", "model\nweights$_^$\x07")
    assert (tmp_path / "a.png").exists()


def test_draw_moments_restores_the_aspect_ratio_of_a_stretched_frame(tmp_path: Path) -> None:
    draw_moments([moment(scale=(3.0, 1.5))], tmp_path / "a.png")
    shown = picture_of(tmp_path / "a.png")
    grey = np.isclose(shown, 90 / 255, atol=0.01).all(-1)
    high, wide = ((grey.sum(axis) > 20).sum() for axis in (1, 0))  # more than the edge of a letter
    assert wide / high == pytest.approx(2, rel=0.05)


def test_draw_moments_refuses_other_endings_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.png; got a\.jpg"):
        draw_moments([moment()], tmp_path / "a.jpg")
    with pytest.raises(UsageError, match=r"expected an existing folder; got .*none, which does not exist"):
        draw_moments([moment()], tmp_path / "none" / "a.png")


def test_draw_moments_without_matplotlib_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return there(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"pip install 'msnet-features\[plot\]'"):
        draw_moments([moment()], tmp_path / "a.png")
