"""Which frames make a clip, and which samples it has."""

from __future__ import annotations

import numpy as np
import pytest

from extractor.video.sampling import plan_item
from gebd.dataset.resampling import resample
from jobs.finetuning.stretches import Played, draw_instant, draw_stretch, inside, played_samples, take_frames
from schemas.config import Sampling
from schemas.records import Item


def _times(count: int, fps: float) -> np.ndarray:
    return np.arange(count) / fps


@pytest.mark.parametrize("fps", [10.0, 25.0, 29.97, 60.0])
def test_a_whole_video_as_it_is_has_the_frames_of_a_dense_extraction_and_its_samples(fps: float) -> None:
    own = _times(round(9.3 * fps), fps)
    plan = plan_item(own, len(own) / fps, Item("v"), sampling=Sampling.DENSE, rate_hz=10.0)
    taken = take_frames(own, len(own) / fps, Played(0.0), 200, 10.0)
    assert taken.positions.tolist() == plan.index.tolist()
    stored = resample(plan.time_seconds, 10.0)
    assert taken.samples.frame_row.tolist() == stored.position.tolist()
    np.testing.assert_allclose(taken.seconds, stored.time_seconds, atol=1e-9)


def test_a_slow_video_gives_each_frame_once_and_holds_it_between() -> None:
    own = _times(20, 4.0)
    taken = take_frames(own, 5.0, Played(0.0), 50, 10.0)
    assert taken.positions.tolist() == list(range(20))
    assert len(taken.seconds) > 40
    assert not taken.samples.pair_valid.all(), "a held frame begins no pair"


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("backwards", [False, True])
def test_played_samples_know_their_time_in_the_video(speed: float, backwards: bool) -> None:
    own = _times(250, 25.0)
    taken = take_frames(own, 10.0, Played(1.3, speed, backwards), 60, 10.0)
    rows = taken.samples.frame_row
    shown = taken.positions[::-1] if backwards else taken.positions
    fresh = ~taken.samples.held
    np.testing.assert_allclose(taken.seconds[fresh], own[shown][rows[fresh]], atol=1e-9)
    steps = np.diff(taken.seconds[fresh])
    assert (steps < 0).all() if backwards else (steps > 0).all()
    assert abs(np.abs(steps).mean() - speed / 10) < 0.01
    assert taken.samples.pair_row[0] == 0, "pairs are of the frames as shown"


def test_instants_outside_the_video_have_no_frame_and_two_are_left_at_least() -> None:
    own = _times(100, 10.0)
    assert take_frames(own, 10.0, Played(-2.0), 50, 10.0).positions.tolist() == list(range(30))
    assert take_frames(own, 10.0, Played(9.0), 50, 10.0).positions.tolist() == list(range(90, 100))
    assert len(take_frames(own, 10.0, Played(9.95), 50, 10.0).positions) == 2
    assert len(take_frames(own, 10.0, Played(30.0), 50, 10.0).positions) == 2


def test_stretches_stay_within_a_tenth_of_the_video_and_are_as_fast_as_asked() -> None:
    generator = np.random.default_rng(0)
    drawn = [draw_stretch(30.0, 10.0, 0.2, True, generator) for _ in range(500)]
    speeds = np.array([one.speed for one in drawn])
    starts = np.array([one.start_seconds for one in drawn])
    assert np.exp(-0.2) <= speeds.min() < 0.85 and 1.18 < speeds.max() <= np.exp(0.2)
    assert (starts >= -1.0 * speeds).all() and (starts + 10 * speeds <= 30 + 1.0 * speeds).all()
    assert 0.4 < np.mean([one.backwards for one in drawn]) < 0.6
    assert not any(draw_stretch(30.0, 10.0, 0.2, False, generator).backwards for _ in range(50))


def test_a_video_shorter_than_a_stretch_is_in_it_but_for_a_tenth() -> None:
    generator = np.random.default_rng(0)
    own = _times(60, 10.0)
    for _ in range(200):
        played = draw_stretch(6.0, 10.0, 0.0, False, generator)
        assert len(take_frames(own, 6.0, played, 100, 10.0).positions) >= 49


def test_instants_are_drawn_evenly_between_boundaries_and_others() -> None:
    generator = np.random.default_rng(0)
    positive = np.zeros(100, np.bool_)
    positive[[10, 11]] = True
    drawn = [draw_instant(positive, generator) for _ in range(400)]
    assert 0.42 < np.mean(positive[drawn]) < 0.58
    assert draw_instant(np.zeros(5, np.bool_), generator) < 5
    assert draw_instant(np.ones(5, np.bool_), generator) < 5


def test_frames_inside_a_stretch_of_a_longer_video() -> None:
    own = np.arange(-5, 20) / 10
    assert inside(own, None).all()
    assert own[inside(own, 1.0)].tolist() == [n / 10 for n in range(10)]


def test_samples_of_frames_in_windows() -> None:
    samples = played_samples(_times(120, 10.0), 10.0, 10.0, 5.0)
    starts, first, stop = samples.slices
    assert starts.tolist() == [0.0, 2.0] and first.tolist() == [0, 20] and stop.tolist() == [100, 120]
    assert samples.pair_row.tolist() == [*range(119), 118] and samples.pair_valid.tolist() == [True] * 119 + [False]
