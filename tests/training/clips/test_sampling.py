"""Which frames make a clip."""

from __future__ import annotations

import numpy as np
import pytest

from extractor.video.sampling import segment_positions
from training.clips.config import ClipSampling, ClipSettings
from training.clips.sampling import evaluation_positions, training_positions

SEGMENTS = ClipSettings()
DENSE = ClipSettings(sampling=ClipSampling.DENSE)


@pytest.mark.parametrize("settings", [SEGMENTS, DENSE])
@pytest.mark.parametrize("count", [2, 3, 7, 8, 9, 63, 64, 65, 300])
@pytest.mark.parametrize("num_frames", [1, 2, 8, 16])
def test_positions_ascend_within_the_video(settings: ClipSettings, count: int, num_frames: int) -> None:
    generator = np.random.default_rng(count)
    for _ in range(30):
        positions = training_positions(count, num_frames, settings, generator)
        assert positions.shape == (num_frames,)
        assert positions.dtype == np.int64
        assert positions.min() >= 0
        assert positions.max() < count
        assert (np.diff(positions) >= 0).all()
    for clips in (1, 3, 10):
        rows = evaluation_positions(count, num_frames, settings, clips)
        assert rows.shape == (clips, num_frames)
        assert 0 <= rows.min() <= rows.max() < count
        assert (np.diff(rows, axis=1) >= 0).all()


@pytest.mark.parametrize("count", [8, 20, 301])
def test_each_part_of_a_video_gives_one_frame_and_every_frame_is_drawn(count: int) -> None:
    generator = np.random.default_rng(0)
    edges = np.arange(9) * count // 8
    drawn = np.stack([training_positions(count, 8, SEGMENTS, generator) for _ in range(3000)])
    assert (drawn >= edges[:-1]).all()
    assert (drawn < edges[1:]).all()
    assert set(drawn.ravel().tolist()) == set(range(count))


def test_the_middle_of_each_part_is_taken_where_nothing_is_drawn() -> None:
    assert evaluation_positions(80, 8, SEGMENTS, 1).tolist() == [[5, 15, 25, 35, 45, 55, 65, 75]]
    assert np.array_equal(evaluation_positions(301, 8, SEGMENTS, 3), segment_positions(301, 8, 3))


def test_a_video_shorter_than_a_clip_repeats_its_last_frame() -> None:
    generator = np.random.default_rng(0)
    assert training_positions(3, 8, SEGMENTS, generator).tolist() == [0, 1, 2, 2, 2, 2, 2, 2]


def test_dense_clips_have_the_stride_of_their_span_and_start_anywhere() -> None:
    generator = np.random.default_rng(0)
    starts = set()
    for _ in range(2000):
        positions = training_positions(100, 8, DENSE, generator)
        assert np.diff(positions).tolist() == [8] * 7
        starts.add(int(positions[0]))
    assert starts == set(range(100 - 64 + 1))


def test_dense_clips_of_a_short_video_go_on_at_its_start_in_ascending_order() -> None:
    assert training_positions(20, 8, DENSE, np.random.default_rng(0)).tolist() == sorted(8 * n % 20 for n in range(8))
    assert evaluation_positions(20, 8, DENSE, 2).tolist() == [sorted(8 * n % 20 for n in range(8))] * 2


def test_ten_dense_clips_begin_at_even_distances() -> None:
    rows = evaluation_positions(300, 8, DENSE, 10)
    assert rows[:, 0].tolist() == [int(place) for place in np.linspace(0, 236, 10)]
    assert evaluation_positions(300, 8, DENSE, 1)[0, 0] == 118


def test_the_same_generator_draws_the_same() -> None:
    one, other = (training_positions(300, 8, SEGMENTS, np.random.default_rng((1, 2, 3))) for _ in range(2))
    assert np.array_equal(one, other)
