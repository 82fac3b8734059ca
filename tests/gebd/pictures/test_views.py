from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gebd import (
    Annotations,
    VideoAnnotation,
    compare_with_baselines,
    head_config,
    plot_comparison,
    plot_run,
    plot_video,
    train_head,
)
from gebd.metric.tracks import Track
from gebd.pictures.plots import VideoTimeline, plot_timeline, thumbnail_times
from gebd.pictures.views import motion_energy, stored_id
from schemas.errors import UsageError
from tests.gebd.boundary_stores import make_videos

BLUE = (0, 0x72, 0xB2)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture - colour).sum(-1) < 12).sum())


def timeline(**changes: object) -> VideoTimeline:
    times = np.arange(50) / 10
    shown = VideoTimeline("a.mp4", 5.0, Track(times, np.exp(-((times - 2) ** 2) * 20)))
    return replace(shown, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a$\\frac$.mp4", "cost $5 or $6_", "a\x1b[2J\nb\udcff", "\\$x^2$"])
def test_names_are_neither_formulas_nor_control_characters_in_a_picture(name: str, tmp_path: Path) -> None:
    path = plot_timeline(timeline(video_id=name), tmp_path / "a.svg")
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    truth = Annotations([VideoAnnotation("a", 5.0, ((2.0,),), fps=25.0)])
    path = plot_comparison(compare_with_baselines({"a": [2.0]}, truth, name=name, resamples=2), tmp_path / "b.svg")
    assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_timeline_shows_what_it_is_given(tmp_path: Path) -> None:
    plain = pixels(plot_timeline(timeline(), tmp_path / "plain.png"))
    red = np.full((40, 60, 3), (200, 30, 90), np.uint8)
    full = pixels(
        plot_timeline(
            timeline(
                motion=Track(np.arange(5.0), np.ones(5)),
                predicted_seconds=[2.0],
                rater_seconds=((1.9,), (), (2.1, 4.0)),
                frames=[(time, red) for time in (1.0, 3.0)],
            ),
            tmp_path / "full.png",
        )
    )
    assert full.shape[0] > plain.shape[0] + 200 and full.shape[1] == plain.shape[1]
    assert count(plain, BLUE) > 200
    shown = count(full, (200, 30, 90))
    assert count(plain, (200, 30, 90)) == 0 and shown > 10_000
    columns = np.flatnonzero((np.abs(full - (200, 30, 90)).sum(-1) < 12).any(0))
    rows = np.flatnonzero((np.abs(full - (200, 30, 90)).sum(-1) < 12).any(1))
    assert len(columns) / 2 / len(rows) == pytest.approx(1.5, rel=0.05)  # the aspect of the picture


def drawn(path: Path) -> str:
    """The text of an SVG whose letters are text."""
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        return plot_timeline(timeline(threshold=0.4, predicted_seconds=[2.0]), path).read_text()


def test_the_threshold_of_a_score_is_drawn(tmp_path: Path) -> None:
    assert "threshold 0.4" in drawn(tmp_path / "level.svg")
    level = pixels(plot_timeline(timeline(threshold=0.4), tmp_path / "level.png"))
    plain = pixels(plot_timeline(timeline(), tmp_path / "plain.png"))
    dark = [(picture.sum(-1) < 300).sum(1) for picture in (plain, level)]
    assert (dark[1] > dark[0] + 400).sum() in (1, 2)  # a dashed line from side to side
    assert plot_timeline(timeline(score=Track(np.zeros(0), np.zeros(0)), threshold=0.5), tmp_path / "a.png")


def test_intervals_of_many_methods_have_rows_of_their_own(tmp_path: Path) -> None:
    truth = Annotations([VideoAnnotation(f"{n}", 10.0, ((n / 2, 5.0),)) for n in range(1, 20)])
    half = {f"{n}": [n / 2 if n % 2 else 9.9] for n in range(1, 20)}
    found = compare_with_baselines(half, truth, training=truth, resamples=50)
    picture = pixels(plot_comparison(found, tmp_path / "many.png"))
    alone = compare_with_baselines({"1": [0.5]}, Annotations([truth["1"]]), resamples=50)
    single = pixels(plot_comparison(alone, tmp_path / "one.png"))
    rows = [np.flatnonzero((np.abs(one[:, 620:] - BLUE).sum(-1) < 12).any(1)) for one in (picture, single)]
    assert 0 < np.ptp(rows[0]) < 30 and 0 < np.ptp(rows[1]) < 30  # the method's: one row, its mark and its interval
    wide = [int((np.abs(one[:, 620:] - BLUE).sum(-1) < 12).any(0).sum()) for one in (picture, single)]
    assert wide[0] > wide[1] + 20  # an interval, and none


def test_thumbnails_fill_the_width_without_touching() -> None:
    times = thumbnail_times(12.0, 4 / 3)
    assert 5 <= len(times) <= 8 and times[0] == pytest.approx(12.0 - times[-1])
    assert len(thumbnail_times(1.0, 100.0)) == 1


def test_comparison_is_drawn(tmp_path: Path) -> None:
    _, truth = make_videos(tmp_path / "store", 6)
    found = compare_with_baselines({name: list(video.rater_seconds[0]) for name, video in truth.items()}, truth)
    picture = pixels(plot_comparison(found, tmp_path / "f1.png"))
    line = (np.abs(picture - BLUE).sum(-1) < 12).sum(1)
    assert line.max() > 400  # perfect predictions: a line across the left part of the picture ...
    assert line.argmax() < picture.shape[0] * 0.2  # ... at the top


def test_video_and_run_are_drawn_from_their_files(tmp_path: Path) -> None:
    store, truth = make_videos(tmp_path / "store", 8)
    train_head(store, truth, tmp_path / "run", head_config(max_epochs=1, width=8))
    named = Annotations([replace(truth["v03.mp4"], video_id="v03")])
    for name, options in {
        "detector.png": {},
        "head.svg": {"run": tmp_path / "run", "annotations": named},
        "given.pdf": {"predictions": {"v03.mp4": [1.0]}, "annotations": named},
    }.items():
        assert plot_video(store, "v03.mp4", tmp_path / name, **options).stat().st_size > 5000  # type: ignore[arg-type]
    assert plot_run(tmp_path / "run", tmp_path / "run.png").stat().st_size > 5000
    with pytest.raises(UsageError, match=r"expected predictions for .v03\.mp4.; got none"):
        plot_video(store, "v03.mp4", tmp_path / "a.png", predictions={"v04.mp4": []})
    with pytest.raises(UsageError, match="together"):
        plot_run(tmp_path / "run", tmp_path / "a.png", annotations=truth)


def test_motion_energy_is_the_speed_in_cells_a_second(tmp_path: Path) -> None:
    store, _ = make_videos(tmp_path / "store", 2, shards=1, noise=0.0)
    energy, duration = motion_energy(store, "v01.mp4")
    arrays = store.video("v01.mp4")
    lengths = np.linalg.norm(arrays["displacement"].astype(float), axis=1)  # alike in all cells of a pair
    assert duration == 8.0 and energy is not None
    np.testing.assert_allclose(energy.time_seconds, np.arange(79) / 10 + 0.05)
    np.testing.assert_allclose(energy.scores, lengths.mean((1, 2)) * 10, rtol=2e-3)


def test_stored_id_takes_both_names(tmp_path: Path) -> None:
    store, truth = make_videos(tmp_path / "store", 2, shards=1)
    named = Annotations([replace(truth["v01.mp4"], video_id="v01")])
    assert stored_id(store, "v01.mp4", None) == stored_id(store, "v01", named) == "v01.mp4"
    with pytest.raises(UsageError, match="got 'v01'"):
        stored_id(store, "v01", None)


@pytest.mark.parametrize("name", ["picture", "picture.jpg", "nowhere/picture.png"])
def test_places_that_cannot_be_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a name ending in|does not exist"):
        plot_timeline(timeline(), tmp_path / name)


def test_missing_matplotlib_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'msnet-features\[plot\]'"):
        plot_timeline(timeline(), tmp_path / "a.png")
